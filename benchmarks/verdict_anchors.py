"""The rules one would think of first, as anchors beside the label bet: each says a word after every outcome."""

from __future__ import annotations

from math import erf, lgamma, log, sqrt
from typing import Literal, Protocol

Arm = Literal["fixed", "control"]


class Trial(Protocol):
    """What every candidate offers."""

    def add(self, arm: Arm, unit: object, failed: bool, fraction: float | None = None) -> str: ...


class _Counts:
    def __init__(self, fraction: float = 0.5) -> None:
        self.k, self.n = [0, 0], [0, 0]

    def add(self, arm: Arm, unit: object, failed: bool, fraction: float | None = None) -> str:
        a = int(arm == "fixed")
        self.k[a] += failed
        self.n[a] += 1
        return self.word(a, failed) if all(self.n) else "no_data"

    def word(self, a: int, failed: bool) -> str:
        raise NotImplementedError


class PeekedZ(_Counts):
    """A one-sided two-sample z-test at 5 % after every outcome, from five per arm on."""

    def word(self, a: int, failed: bool) -> str:
        (k0, k1), (n0, n1) = self.k, self.n
        p = (k0 + k1) / (n0 + n1)
        if min(n0, n1) < 5 or p in {0.0, 1.0}:
            return "undecided"
        z = (k0 / n0 - k1 / n1) / sqrt(p * (1 - p) * (1 / n0 + 1 / n1))
        return "verified" if z > 1.645 else "worse" if z < -1.645 else "undecided"


def _kt(k: float, n: float) -> float:
    return lgamma(k + 0.5) + lgamma(n - k + 0.5) - lgamma(n + 1) - 1.1447298858494002


class BayesFactor(_Counts):
    """One-sided beta-binomial Bayes factor above 20 on raw outcome counts."""

    def word(self, a: int, failed: bool) -> str:
        (k0, k1), (n0, n1) = self.k, self.n
        b = _kt(k0, n0) + _kt(k1, n1) - _kt(k0 + k1, n0 + n1)
        if b < 1:
            return "undecided"
        p, q = (k0 + 0.5) / (n0 + 1), (k1 + 0.5) / (n1 + 1)
        lower = 0.5 * (1 + erf((p - q) / sqrt(p * (1 - p) / (n0 + 2) + q * (1 - q) / (n1 + 2)) / sqrt(2)))
        if b + log(2 * lower + 1e-12) > log(20):
            return "verified"
        return "worse" if b + log(2 * (1 - lower) + 1e-12) > log(20) else "undecided"


class TenClean(_Counts):
    """Ten clean fixed outcomes in a row."""

    run = 0

    def word(self, a: int, failed: bool) -> str:
        self.run = self.run if not a else 0 if failed else self.run + 1
        return "verified" if self.run >= 10 else "undecided"

"""What happens to a useless fix: streams of outcomes, drawn before any label."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

Row = tuple[str, bool, float]  # unit, failed, fraction in force when the unit started
World = Callable[[random.Random, int], Iterator[Row]]

OPEN = 8  # sessions at a time
LONGEST = 200


def coin(p: float) -> World:
    """Independent failures at rate p, one outcome a unit."""

    def rows(rng: random.Random, n: int) -> Iterator[Row]:
        for i in range(n):
            yield f"u{i}", rng.random() < p, 0.5

    return rows


def bursts(p: float, length: float) -> World:
    """A shared hidden bad state of this mean length: 90 % fail in it, 2 % outside; p in the mean."""
    share = (p - 0.02) / 0.88

    def rows(rng: random.Random, n: int) -> Iterator[Row]:
        bad = rng.random() < share
        for i in range(n):
            yield f"u{i}", rng.random() < (0.9 if bad else 0.02), 0.5
            bad = rng.random() >= 1 / length if bad else rng.random() < share / (1 - share) / length

    return rows


def rates(rate: Callable[[float], float], fraction: Callable[[float], float] = lambda _: 0.5) -> World:
    """A rate, and a fraction, that move with the share of the run that is over."""

    def rows(rng: random.Random, n: int) -> Iterator[Row]:
        for i in range(n):
            yield f"u{i}", rng.random() < rate(i / n), fraction(i / n)

    return rows


def sessions(p: float, length: Callable[[random.Random], float], spread: float) -> World:
    """Units of several outcomes, eight open at a time, each with its own rate around p: correlation spread/(1+spread)."""

    def new(rng: random.Random, i: int) -> list[Any]:
        own = rng.betavariate(p / spread, (1 - p) / spread)
        return [f"s{i}", max(1, min(LONGEST, round(length(rng)))), own]

    def rows(rng: random.Random, n: int) -> Iterator[Row]:
        count, open_ = OPEN, [new(rng, i) for i in range(OPEN)]
        for _ in range(n):
            slot = rng.randrange(OPEN)
            unit = open_[slot]
            yield unit[0], rng.random() < unit[2], 0.5
            unit[1] -= 1
            if unit[1] <= 0:
                open_[slot] = new(rng, count)
                count += 1

    return rows


def mean(outcomes: float) -> Callable[[random.Random], float]:
    """Lengths with this mean, exponential."""
    return lambda rng: rng.expovariate(1 / outcomes)


def heavy(rng: random.Random) -> float:
    """Lengths without a variance."""
    return rng.paretovariate(1.2)


def any_length(rng: random.Random) -> float:
    """From 1 to 50, each magnitude as likely."""
    return 50 ** rng.random()


def staged(rows_of: World, fraction: Callable[[float], float]) -> World:
    """The same world under a ramp: a unit keeps the fraction it started with."""

    def rows(rng: random.Random, n: int) -> Iterator[Row]:
        began: dict[str, float] = {}
        for i, (unit, failed, _) in enumerate(rows_of(rng, n)):
            yield unit, failed, began.setdefault(unit, fraction(i / n))

    return rows


def tenth(rows_of: World) -> World:
    """The same world at a 10 % canary."""
    return staged(rows_of, lambda _: 0.1)


def cautious(t: float) -> float:
    """`verify.ramp: [0.1, 0.5]`."""
    return 0.1 if t < 0.2 else 0.5


def three_steps(t: float) -> float:
    """A ramp that goes on to nine tenths."""
    return 0.1 if t < 0.2 else 0.5 if t < 0.5 else 0.9


OUTAGE_ENDS = rates(lambda t: 0.6 if t < 0.15 else 0.05)
OUTAGE_BEGINS = rates(lambda t: 0.05 if t < 0.15 else 0.5)
TWO_OUTAGES = rates(lambda t: 0.7 if 0.1 < t < 0.25 or 0.5 < t < 0.6 else 0.03)
NIGHT = rates(lambda t: 0.4 if int(t * 10) % 2 else 0.05)

WORLDS: dict[str, World] = {
    "independent .02": coin(0.02),
    "independent .05": coin(0.05),
    "independent .2": coin(0.2),
    "independent .4": coin(0.4),
    "independent .6": coin(0.6),
    "shared bursts 1.2": bursts(0.2, 1.2),
    "shared bursts 3": bursts(0.2, 3),
    "shared bursts 6": bursts(0.2, 6),
    "shared bursts 12": bursts(0.2, 12),
    "outage ends": OUTAGE_ENDS,
    "outage begins": OUTAGE_BEGINS,
    "two outages": TWO_OUTAGES,
    "drift .5 to .02": rates(lambda t: 0.5 - 0.48 * t),
    "drift .05 to .4": rates(lambda t: 0.05 + 0.35 * t),
    "day and night": NIGHT,
    "sessions of 4": sessions(0.3, mean(4), 0.5),
    "sessions of 20": sessions(0.3, mean(20), 1.0),
    "sessions of 50": sessions(0.3, mean(50), 1.0),
    "sessions of 1 to 50": sessions(0.2, any_length, 2.0),
    "sessions, heavy tail": sessions(0.3, heavy, 0.8),
    "10 % canary": tenth(coin(0.2)),
    "10 % canary, bursts 12": tenth(bursts(0.2, 12)),
    "10 % canary, outage ends": tenth(OUTAGE_ENDS),
    "10 % canary, sessions": tenth(sessions(0.3, any_length, 1.0)),
    "ramp .1 to .5": staged(coin(0.2), cautious),
    "ramp, outage ends at it": staged(rates(lambda t: 0.6 if t < 0.2 else 0.05), cautious),
    "ramp, sessions": staged(sessions(0.3, any_length, 1.0), cautious),
    "ramp .1 to .5 to .9": staged(rates(lambda t: 0.6 * (1 - t)), three_steps),
}

"""A change that cannot be split: the share of failures that are the treated source's, before and after it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, Self

from rsi.stats.clustering import MAX_EFFECT, MIN_SERIES, Autocorrelation, UnitClustering
from rsi.stats.compare import not_significantly_above
from rsi.stats.terms import TERMINAL, StatsInputError, Verdict, unit_key

Group = Literal["treated", "untouched"]
Phase = Literal["before", "after"]
GROUPS: Final = ("treated", "untouched")
PHASES: Final = ("before", "after")
STATE_VERSION: Final = 1

DECIDE_AT: Final = math.log(20.0)
"""Log of the one-sided Bayes factor that decides, either way: worst measured false verdicts 2.6 %."""
ASK_ABOVE: Final = 1.0
"""Log Bayes factor below which the data rather speak for "no change", so equivalence is what is asked."""
TRAFFIC_NOISE: Final = 1.5
"""Traffic is corrected for only if it changed by more standard errors than this: correcting noise costs power."""
COUPLED_BELOW: Final = 1.1
"""Label clustering up to which the sources share their outages; above, the largest clustering deflates."""
UNKNOWN_CLUSTERING: Final = 3.0
"""Deflation while fewer than 12 failures were seen before the change."""
LABEL_LAGS: Final = 8
STREAM_LAGS: Final = 10
SAME_WITHIN: Final = 0.357
"""Log of 1.43: a failure ratio inside (0.7, 1.43) is no difference …"""
SAME_SURE: Final = 2.33
"""… when its 98 % interval is."""
CURED: Final = 0.1
"""What of the treated failures a change that helps leaves; whether the test can decide is asked for such a one …"""
AGAIN: Final = 5.0
"""… and so many times the outcomes before: with two untouched failures (six, where their bursts are unknown) it can."""
ROSE_BY: Final = 0.2
"""By how much a rate has to rise for the alarm, whatever its significance …"""
ROSE_AFTER: Final = 30
"""… after so many outcomes of either group …"""
ROSE_ALPHA: Final = 1e-5
"""… beyond this chance: it is looked at all the time and the looks are not priced; docs/verdicts.md has figures."""
STILL_ALPHA: Final = 0.05
"""An untouched rate that rose beyond this chance moved as well; so it did with a quarter of the treated rise."""
STILL_SHARE: Final = 0.25
LOG_PI: Final = math.log(math.pi)
PROBABILITY_FLOOR: Final = 1e-12


@dataclass(frozen=True, slots=True)
class _Failures:
    """Failures of the four cells, comparable: corrected for traffic, deflated for clustering."""

    treated_before: float
    treated_after: float
    untouched_before: float
    untouched_after: float


class BeforeAfterTrial:
    """Asks whether the treated source's share of all failures changed, against sources that nobody touched.

    A world that gets better or worse for everyone moves no share. Each side is corrected for its own traffic, and
    counts are deflated if failures came clustered before the change. There is no randomisation here: an outage of
    the treated source alone that ends just at the change is "verified" by this and by any other rule.
    """

    METHOD: ClassVar[str] = "failure share against untouched sources, corrected for traffic, deflated for clustering"
    CANNOT_EXCLUDE: ClassVar[str] = (
        "that something which hit the treated source alone began or ended together with the change"
    )

    def __init__(self) -> None:
        self._verdict: Verdict = "no_data"
        self._outcomes = dict.fromkeys(((g, p) for g in GROUPS for p in PHASES), 0)
        self._failures = dict(self._outcomes)
        self._labels = Autocorrelation(LABEL_LAGS)
        self._streams = {group: Autocorrelation(STREAM_LAGS) for group in GROUPS}
        self._clusters = {group: UnitClustering() for group in GROUPS}
        self._deflation: float | None = None

    @property
    def verdict(self) -> Verdict:
        """The word of the last look."""
        return self._verdict

    def counts(self, group: Group, phase: Phase) -> tuple[int, int]:
        """(failures, outcomes) of one cell."""
        return self._failures[group, phase], self._outcomes[group, phase]

    def add(self, group: Group, phase: Phase, unit: object, failed: bool) -> Verdict:
        """Take one final task outcome and return the verdict after it; `no_data` until all four cells have one.

        Args:
            group: the source that was changed, or one that was not.
            phase: before or after the change.
            unit: session, run or id; compared by its text.
            failed: whether the task failed.

        Raises:
            StatsInputError: an unknown group or phase.
        """
        if group not in GROUPS:
            raise StatsInputError(f'group: expected "treated" or "untouched", got {group!r}', field="group")
        if phase not in PHASES:
            raise StatsInputError(f'phase: expected "before" or "after", got {phase!r}', field="phase")
        if self._verdict in TERMINAL:
            return self._verdict
        self._outcomes[group, phase] += 1
        self._failures[group, phase] += bool(failed)
        if phase == "before":
            self._learn(group, unit, bool(failed))
            return self._verdict
        if all(self._outcomes.values()):
            self._verdict = self._word()
        return self._verdict

    def _learn(self, group: Group, unit: object, failed: bool) -> None:
        """Clustering is learnt before the change only: after it, the effect itself would look like clustering."""
        self._deflation = None
        if failed:
            self._labels.see(group == "treated")
        self._streams[group].see(failed)
        self._clusters[group].see(unit_key(unit), failed)

    def deflation(self) -> float:
        """By how much counts are divided, 1 to 15."""
        if self._deflation is None:
            labels = self._labels.signed_effect(UNKNOWN_CLUSTERING)
            units = max(cluster.effect() for cluster in self._clusters.values())
            streams = max(stream.positive_effect() for stream in self._streams.values())
            worst = units if labels <= COUPLED_BELOW else min(MAX_EFFECT, max(labels, units, streams))
            self._deflation = max(1.0, worst)
        return self._deflation

    def can_decide(self) -> bool:
        """Whether failures before the change, of both groups, are enough for a change that helps to be seen at all.

        They do not become more: where this says no, `undecided` is for ever. Of what came after it nothing is read.
        """
        treated, untouched = (self._failures[group, "before"] / self.deflation() for group in GROUPS)
        if not (treated and untouched):
            return False
        return _word_of(_Failures(treated, CURED * AGAIN * treated, untouched, AGAIN * untouched)) == "verified"

    def spread(self) -> float:
        """Design effect of the treated rate before the change: 1 to 15; 3 while too few failures were seen."""
        if self._labels.n < MIN_SERIES:
            return UNKNOWN_CLUSTERING
        effects = [self._streams[group].positive_effect() for group in GROUPS]
        return max(1.0, *effects, *(cluster.effect() for cluster in self._clusters.values()))

    def rose(self, *, alone: bool = False) -> bool:
        """Whether the treated *rate* rose massively while the untouched one stood still: an alarm, and no share.

        For where no share can be had: untouched sources that never fail. One-sided score test, variances inflated by
        `spread`. An outage of the treated source alone raises it just as well.

        Args:
            alone: there is no untouched source any more to look at.
        """
        (k1, n1), (k0, n0) = self.counts("treated", "after"), self.counts("treated", "before")
        if min(n1, n0) < ROSE_AFTER:
            return False
        rise, d = k1 / n1 - k0 / n0, self.spread()
        if rise < ROSE_BY or not_significantly_above(k1, n1, k0, n0, d, d, ROSE_ALPHA):
            return False
        return alone or self._stood_still(rise)

    def _stood_still(self, rise: float) -> bool:
        (k1, n1), (k0, n0) = self.counts("untouched", "after"), self.counts("untouched", "before")
        if min(n1, n0) < ROSE_AFTER:
            return False
        return k1 / n1 - k0 / n0 < STILL_SHARE * rise and not_significantly_above(k1, n1, k0, n0, alpha=STILL_ALPHA)

    def _comparable(self) -> _Failures:
        before, after = self._outcomes["untouched", "before"], self._outcomes["untouched", "after"]
        traffic = (self._outcomes["treated", "after"] / after) / (self._outcomes["treated", "before"] / before)
        noise = math.sqrt(sum(1.0 / n for n in self._outcomes.values()))
        if abs(math.log(traffic)) < TRAFFIC_NOISE * noise:
            traffic = 1.0
        d = self.deflation()
        return _Failures(
            treated_before=self._failures["treated", "before"] / d,
            treated_after=self._failures["treated", "after"] / d,
            untouched_before=self._failures["untouched", "before"] / d / max(1.0, traffic),
            untouched_after=self._failures["untouched", "after"] / d * min(1.0, traffic),
        )

    def _word(self) -> Verdict:
        word = _word_of(self._comparable())
        return "undecided" if word == "verified" and not self.can_decide() else word

    def to_dict(self) -> dict[str, Any]:
        """Everything needed to go on exactly; JSON-safe, no unit's text."""
        return {
            "kind": "before_after",
            "version": STATE_VERSION,
            "verdict": self._verdict,
            "outcomes": list(self._outcomes.values()),
            "failures": list(self._failures.values()),
            "labels": self._labels.to_list(),
            "streams": [self._streams[group].to_list() for group in GROUPS],
            "clusters": [self._clusters[group].to_dict() for group in GROUPS],
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """The trial that `to_dict` described; it continues identically.

        Raises:
            StatsInputError: not such a description, or of another version.
        """
        if (state.get("kind"), state.get("version")) != ("before_after", STATE_VERSION):
            raise StatsInputError(
                f"trial state: expected kind before_after, version {STATE_VERSION}, got {state.get('kind')!r}, "
                f"{state.get('version')!r}; start a new trial",
                field="version",
            )
        try:
            return cls._restored(state)
        except (KeyError, TypeError, ValueError) as error:
            raise StatsInputError(f"trial state: cannot be read ({error!r}); start a new trial") from error

    @classmethod
    def _restored(cls, state: Mapping[str, Any]) -> Self:
        trial = cls()
        trial._verdict = state["verdict"]
        trial._outcomes = dict(zip(trial._outcomes, state["outcomes"], strict=True))
        trial._failures = dict(zip(trial._failures, state["failures"], strict=True))
        trial._labels = Autocorrelation.from_list(state["labels"])
        for group, stream, cluster in zip(GROUPS, state["streams"], state["clusters"], strict=True):
            trial._streams[group] = Autocorrelation.from_list(stream)
            trial._clusters[group] = UnitClustering.from_dict(cluster)
        return trial


def _word_of(cells: _Failures) -> Verdict:
    if cells.treated_before + cells.untouched_before <= 0 or cells.treated_after + cells.untouched_after <= 0:
        return "undecided"
    factor = _log_bayes_factor(cells)
    if factor <= ASK_ABOVE:
        return "no_difference" if _equivalent(cells) else "undecided"
    fell = _probability_share_fell(cells)
    if factor + math.log(2.0 * fell + PROBABILITY_FLOOR) > DECIDE_AT:
        return "verified"
    return "worse" if factor + math.log(2.0 * (1.0 - fell) + PROBABILITY_FLOOR) > DECIDE_AT else "undecided"


def _log_marginal(k: float, n: float) -> float:
    """Log of the beta-binomial marginal under Jeffreys' prior (Krichevsky-Trofimov)."""
    return math.lgamma(k + 0.5) + math.lgamma(n - k + 0.5) - math.lgamma(n + 1.0) - LOG_PI


def _log_bayes_factor(cells: _Failures) -> float:
    """Two shares against one share, for both directions together."""
    before, after = cells.treated_before + cells.untouched_before, cells.treated_after + cells.untouched_after
    apart = _log_marginal(cells.treated_before, before) + _log_marginal(cells.treated_after, after)
    return apart - _log_marginal(cells.treated_before + cells.treated_after, before + after)


def _probability_share_fell(cells: _Failures) -> float:
    """Posterior probability that the treated share of failures is lower after, by a normal approximation."""
    a, b = cells.treated_before + 0.5, cells.untouched_before + 0.5
    c, d = cells.treated_after + 0.5, cells.untouched_after + 0.5
    variance = a * b / ((a + b) ** 2 * (a + b + 1.0)) + c * d / ((c + d) ** 2 * (c + d + 1.0))
    z = (a / (a + b) - c / (c + d)) / math.sqrt(variance)
    return 0.5 * (1.0 + math.erf(z / math.sqrt(2.0)))


def _equivalent(cells: _Failures) -> bool:
    """Whether the 98 % interval of the log failure ratio lies inside (0.7, 1.43)."""
    a, b = cells.treated_before + 0.5, cells.untouched_before + 0.5
    c, d = cells.treated_after + 0.5, cells.untouched_after + 0.5
    ratio = math.log(c * b / (d * a))
    half = SAME_SURE * math.sqrt(1.0 / a + 1.0 / b + 1.0 / c + 1.0 / d)
    return abs(ratio) + half < SAME_WITHIN

"""Health: how often tasks succeed now, with an interval, and when that is an alarm.

A decayed Beta posterior per (source, task) and per source; what it remembers, and when it forgets at once, is
`rsi.analyze.memory`. Silence beyond a day widens the interval, so that a source nobody hears of becomes `unknown`, not
healthy. False alarms, detection and coverage: `benchmarks/health.py`, figures in `docs/design/034-health.md`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Connection

from rsi import clock
from rsi.analyze import memory
from rsi.analyze.memory import DAY_S, FADE, PRIOR, Bursts, Counts
from rsi.config import Config, SourceConfig
from rsi.model import Health, HealthState, Outcome, Severity
from rsi.stats import beta_cdf, beta_interval
from rsi.store import health as stored
from rsi.store.health import HealthRow, Scope
from rsi.store.impact import SEVERITY_WEIGHT

LEVEL: Final = 0.95
#: An interval wider than this says nothing.
TOO_WIDE: Final = 0.5
#: From this effective n on no interval is wider than `TOO_WIDE` (widest at a mean of one half).
_NARROW_FROM: Final = 15.0
#: The fast path: a run of failures whose chance, were the source exactly at its SLO, is below this; at least 5.
FAST_CHANCE: Final = 1e-5
FAST_RUN: Final = 5
#: … for a whole memory of up to so many outcomes (1,400 a day). More traffic has more runs, and needs longer ones: at
#: a million a day, five of 5 % in a row come by chance every third day.
FAST_HELD: Final = 2_000.0
_ROUNDING: Final = 1e-9
_RUN_SHARE: Final = 0.5  # half a failure or more keeps a run going
#: Grades from here up are fine, 1 is a failure, in between is linear: 3 is a third of a failure.
GOOD_GRADE: Final = 4.0


EMPTY: Final[Mapping[Scope, float]] = MappingProxyType({})


class FinalTask(NamedTuple):
    """One final task: what it was and how much of a failure, in [0, 1]."""

    source: str
    task: str
    ts: float
    failure: float
    fingerprint: int | None


class Alarm(msgspec.Struct, frozen=True):
    """A scope became unhealthy, or is no longer. `task` '' is the source over all its tasks."""

    source: str
    task: str
    entered: bool
    state: HealthState
    health_score: float
    lo: float
    hi: float
    n: float
    slo: float
    fast: bool
    at: float


class Step(NamedTuple):
    """The rows as they are after some outcomes, and the alarms that went on or off."""

    rows: list[HealthRow]
    alarms: list[Alarm]


def failure_of(outcome: Outcome, severity: Severity | None) -> float:
    """How much of a failure a final task is: its severity's weight, or what its grade takes away."""
    if outcome.failed:
        return SEVERITY_WEIGHT[severity] if severity is not None else 1.0
    if outcome.quality is None:
        return 0.0
    return min(1.0, max(0.0, (GOOD_GRADE - outcome.quality) / (GOOD_GRADE - 1.0)))


def advance(
    before: Mapping[Scope, HealthRow], tasks: Iterable[FinalTask], config: Config, known: Mapping[Scope, float] = EMPTY
) -> Step:
    """Count final tasks in arrival order, then judge every scope that was touched, once.

    `known` are scopes (and when they were heard of, epoch seconds) that move nothing, as backfill does: they get a row
    without evidence, so that they are shown as unknown.
    """
    counting = {scope: _Counting(_blank(scope, at)) for scope, at in known.items() if scope not in before}
    for task in tasks:
        for scope in ((task.source, task.task), (task.source, "")):
            held = counting.get(scope)
            if held is None:
                held = counting[scope] = _Counting(before.get(scope) or _blank(scope, task.ts))
            held.count(task)
    rows, alarms = [], []
    for held in counting.values():
        row = held.row()
        judged, alarm = _judge(row, config.slo(row.source))
        rows.append(judged)
        if alarm is not None:
            alarms.append(alarm)
    return Step(rows, alarms)


def _blank(scope: Scope, at: float) -> HealthRow:
    return HealthRow(*scope, 0.0, 0.0, at, 0, None, "unknown", 0.0, 0.0, 0.0, 0.0)


class _Counting:
    """A row while outcomes are counted into it: this is the one loop that every success goes through."""

    __slots__ = (
        "at",
        "before",
        "failed",
        "failures",
        "joined",
        "last_fingerprint",
        "run",
        "squares",
        "succeeded",
        "successes",
    )

    def __init__(self, row: HealthRow) -> None:
        self.before, self.at = row, row.at
        self.failures, self.successes, self.squares = row.failures, row.successes, row.squares
        self.failed, self.succeeded = row.recent_failures, row.recent_successes
        self.joined = row.joined
        self.run, self.last_fingerprint = row.run_of_failures, row.last_fingerprint

    def count(self, task: FinalTask) -> None:
        gap = task.ts - self.at
        if gap > DAY_S:
            self._fall_silent(gap)
        fade = memory.fade(gap, self.failures + self.successes)
        if gap > 0.0:
            self.at = task.ts
        failure = task.failure
        self.failures = self.failures * fade + failure
        self.successes = self.successes * fade + 1.0 - failure
        self.squares = self.squares * fade * fade + 1.0
        self.joined *= fade
        self.failed = self.failed * FADE + failure
        self.succeeded = self.succeeded * FADE + 1.0 - failure
        if failure >= _RUN_SHARE:
            if self.run:
                self.joined += failure
            self.run += 1
            self.last_fingerprint = task.fingerprint if task.fingerprint is not None else self.last_fingerprint
        else:
            self.run, self.last_fingerprint = 0, None

    def _fall_silent(self, gap: float) -> None:
        """Squared weights shrink as the weights do: effective outcomes are lost, not only weight."""
        left = memory.silence(gap, memory.whole(self.failures, self.successes, self.squares).n)
        self.failures *= left
        self.successes *= left
        self.squares *= left
        self.joined *= left
        left = max(left, memory.silence(gap, 0.0))
        self.failed *= left
        self.succeeded *= left

    def row(self) -> HealthRow:
        """As it is now; its state is still the one before."""
        return self.before._replace(
            failures=self.failures,
            successes=self.successes,
            at=self.at,
            run_of_failures=self.run,
            last_fingerprint=self.last_fingerprint,
            squares=self.squares,
            recent_failures=self.failed,
            recent_successes=self.succeeded,
            joined=self.joined,
        )


def counts(row: HealthRow, now: float) -> Counts:
    """A row's evidence at `now` (epoch seconds)."""
    found = memory.whole(row.failures, row.successes, row.squares).over(_bursts(row).effect)
    left = memory.silence(now - row.at, found.n)
    return Counts(found.failures * left, found.successes * left)


def _bursts(row: HealthRow) -> Bursts:
    return memory.bursts(row.failures, row.failures + row.successes, row.joined, row.run_of_failures)


def run_needed(slo: float, held: float = 0.0, again: float = 0.0) -> int:
    """Failures in a row that need no further evidence.

    Args:
        slo: the success rate that is asked for.
        held: what the whole memory holds, by weight.
        again: the chance of a failure right after another, where they come in bursts.
    """
    chance = FAST_CHANCE * min(1.0, FAST_HELD / held) if held > 0.0 else FAST_CHANCE
    first, next_ = 1.0 - slo, max(1.0 - slo, again)
    return max(FAST_RUN, 1 + math.ceil(math.log(chance / first) / math.log(next_) - _ROUNDING))


def _is_fast(row: HealthRow, slo: float) -> bool:
    if row.run_of_failures < FAST_RUN:
        return False
    return row.run_of_failures >= run_needed(slo, row.failures + row.successes, _bursts(row).again)


def _forget(row: HealthRow, slo: float) -> HealthRow:
    """The row, or what is recent of it where the rest is of another time.

    It is where the recent outcomes contradict the rest; and where the rest hides that they are surely below the SLO,
    all failing, or surely above it again: then the score says what the state says.
    """
    looks = memory.share_of_looks(row.failures + row.successes)
    if looks >= 1.0:
        return row
    squares = memory.squares_of(row.recent_failures + row.recent_successes)
    effect = _bursts(row).effect
    recent = memory.whole(row.recent_failures, row.recent_successes, squares).over(effect)
    rest = memory.whole(row.failures, row.successes, row.squares).over(effect)
    if _is_hidden(recent, rest, slo, looks, fast=_is_fast(row, slo)) or memory.contradicts(recent, rest.mean, looks):
        joined = row.joined * row.recent_failures / row.failures if row.failures > 0.0 else 0.0
        return row._replace(
            failures=row.recent_failures, successes=row.recent_successes, squares=squares, joined=joined
        )
    return row


def _is_hidden(recent: Counts, rest: Counts, slo: float, looks: float, *, fast: bool) -> bool:
    if recent.mean >= slo and not fast:
        return rest.mean < slo and _surely_above(recent, slo, looks)
    return (fast or _surely_below(recent, slo, looks)) and not _surely_below(rest, slo)


def _judge(row: HealthRow, slo: float) -> tuple[HealthRow, Alarm | None]:
    fast = _is_fast(row, slo)
    row = _forget(row, slo)
    found = counts(row, row.at)
    state = _state(found, slo, fast=fast, was=row.state)
    judged = row._replace(state=state)
    if (state == "unhealthy") == (row.state == "unhealthy"):
        return judged, None
    lo, hi = beta_interval(found.failures, found.successes, LEVEL, PRIOR)
    alarm = Alarm(row.source, row.task, state == "unhealthy", state, found.mean, lo, hi, found.n, slo, fast, row.at)
    return judged, alarm


def _state(found: Counts, slo: float, *, fast: bool, was: str) -> HealthState:
    """Unhealthy: the whole interval lies below the SLO, or a fast run; it stays so until the mean is back."""
    if found.n <= 0.0 or (found.n < _NARROW_FROM and _width(found) > TOO_WIDE):
        return "unknown"
    if fast:
        return "unhealthy"
    if found.mean >= slo:
        return "healthy"
    return "unhealthy" if was == "unhealthy" or _surely_below(found, slo) else "degraded"


def _surely_below(found: Counts, slo: float, looks: float = 1.0) -> bool:
    """Whether the interval's upper end is below the SLO, without computing that end."""
    return _chance_below(found, slo) > 1.0 - (1.0 - LEVEL) / 2.0 * looks


def _surely_above(found: Counts, slo: float, looks: float) -> bool:
    return _chance_below(found, slo) < (1.0 - LEVEL) / 2.0 * looks


def _chance_below(found: Counts, slo: float) -> float:
    return beta_cdf(slo, found.successes + PRIOR, found.failures + PRIOR)


def _width(found: Counts) -> float:
    lo, hi = beta_interval(found.failures, found.successes, LEVEL, PRIOR)
    return hi - lo


def read(conn: Connection, config: Config, now: float, source: str | None = None) -> Health:
    """Health over everything or of one source, as of `now` (epoch seconds).

    `sources` maps a name to `{health_score, lo, hi, n, state, slo, tasks: {name: …}}`. The overall state is judged
    against the sources' SLOs weighted by their evidence. A source that was never heard of is `unknown`.
    """
    rows = stored.load(conn, sources=None if source is None else [source])
    names = sorted({row.source for row in rows.values()})
    parts = {name: _source(name, rows, config, now) for name in names}
    whole = [(config.slo(name), rows[name, ""]) for name in names if (name, "") in rows]
    figures = _figures([counts(row, now) for _, row in whole], _weighted_slo(whole, now), _was(whole))
    figures.pop("slo")
    return Health(**figures, as_of=clock.iso(now), sources=parts)


def _source(name: str, rows: Mapping[Scope, HealthRow], config: Config, now: float) -> dict[str, Any]:
    slo = config.slo(name)
    tasks = {task: _one(row, slo, now) for (owner, task), row in sorted(rows.items()) if owner == name and task}
    row = rows.get((name, "")) or _blank((name, ""), now)
    return {**_one(row, slo, now), "tasks": tasks}


def _one(row: HealthRow, slo: float, now: float) -> dict[str, Any]:
    return _figures([counts(row, now)], slo, row.state, fast=_is_fast(row, slo))


def _figures(found: Sequence[Counts], slo: float, was: str, *, fast: bool = False) -> dict[str, Any]:
    total = Counts(sum(part.failures for part in found), sum(part.successes for part in found))
    lo, hi = beta_interval(total.failures, total.successes, LEVEL, PRIOR) if total.n > 0.0 else (0.0, 1.0)
    state: HealthState = _state(total, slo, fast=fast, was=was)
    score = total.mean if total.n > 0.0 else None
    return {"health_score": score, "lo": lo, "hi": hi, "n": total.n, "state": state, "slo": slo}


def _weighted_slo(whole: Sequence[tuple[float, HealthRow]], now: float) -> float:
    weights = [(slo, counts(row, now).n) for slo, row in whole]
    total = sum(n for _, n in weights)
    return sum(slo * n for slo, n in weights) / total if total > 0.0 else SourceConfig().slo


def _was(whole: Sequence[tuple[float, HealthRow]]) -> str:
    """The state that a single source brings along; several have none together."""
    return whole[0][1].state if len(whole) == 1 else "unknown"

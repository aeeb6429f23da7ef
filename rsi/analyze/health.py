"""Health: how often tasks succeed now, with an interval, and when that is an alarm.

A decayed Beta posterior per (source, task) and per source. Each final task outcome weighs half as much after
`HALF_LIFE` further ones; silence beyond `PATIENCE_S` halves all evidence every `PATIENCE_S`, so that a source nobody
hears of becomes `unknown`, not healthy. Weights like these carry more information than their sum says: n outcomes
weighted w have the variance of (Σw)²/Σw² equal ones (Kish 1965), and the interval is made from that effective n; with
the bare sum it is too wide (99.6 % coverage instead of 95 %).

Measured (tests/analyze/test_health.py in short, 8 outcomes a day, SLO .9): .02 false alarms in 30 days at 5 % failures,
50 % failures found after 10 outcomes (median; p90 17), all failing after 5 at most, intervals cover 94-97 % from 20
outcomes on. Letting time decay from the first hour on as well gave .37 false alarms: at 8 a day it forgets faster than
it learns.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Connection

from rsi import clock
from rsi.config import Config, SourceConfig
from rsi.model import Health, HealthState, Outcome, Severity
from rsi.stats import beta_cdf, beta_interval
from rsi.store import health as stored
from rsi.store.health import HealthRow, Scope
from rsi.store.impact import SEVERITY_WEIGHT

#: Outcomes after which one counts half.
HALF_LIFE: Final = 20.0
_FADE: Final = 0.5 ** (1.0 / HALF_LIFE)
#: Silence that costs nothing, and the half-life of evidence beyond it, seconds.
PATIENCE_S: Final = 86_400.0
LEVEL: Final = 0.95
PRIOR: Final = 0.5  # Jeffreys
#: An interval wider than this says nothing.
TOO_WIDE: Final = 0.5
#: From this effective n on no Jeffreys interval is wider than `TOO_WIDE` (widest at a mean of one half).
_NARROW_FROM: Final = 15.0
#: The fast path: a run of failures whose chance, were the source exactly at its SLO, is below this; at least 5.
FAST_CHANCE: Final = 1e-5
FAST_RUN: Final = 5
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
    return HealthRow(*scope, 0.0, 0.0, at, 0, None, "unknown")


class _Counting:
    """A row while outcomes are counted into it: this is the one loop that every success goes through."""

    __slots__ = ("at", "before", "failures", "last_fingerprint", "run", "successes")

    def __init__(self, row: HealthRow) -> None:
        self.before, self.at = row, row.at
        self.failures, self.successes = row.failures, row.successes
        self.run, self.last_fingerprint = row.run_of_failures, row.last_fingerprint

    def count(self, task: FinalTask) -> None:
        fade = _FADE
        if task.ts > self.at:
            fade *= _silence(task.ts - self.at)
            self.at = task.ts
        self.failures = self.failures * fade + task.failure
        self.successes = self.successes * fade + 1.0 - task.failure
        if task.failure >= _RUN_SHARE:
            self.run += 1
            self.last_fingerprint = task.fingerprint if task.fingerprint is not None else self.last_fingerprint
        else:
            self.run, self.last_fingerprint = 0, None

    def row(self) -> HealthRow:
        """As it is now; its state is still the one before."""
        return self.before._replace(
            failures=self.failures,
            successes=self.successes,
            at=self.at,
            run_of_failures=self.run,
            last_fingerprint=self.last_fingerprint,
        )


def _silence(seconds: float) -> float:
    return 1.0 if seconds <= PATIENCE_S else 0.5 ** ((seconds - PATIENCE_S) / PATIENCE_S)


class Counts(NamedTuple):
    """Failures and successes on the scale of effective outcomes; they may be added up over sources."""

    failures: float
    successes: float

    @property
    def n(self) -> float:
        """Effective outcomes."""
        return self.failures + self.successes

    @property
    def mean(self) -> float:
        """Posterior mean of the success rate."""
        return (self.successes + PRIOR) / (self.n + 2 * PRIOR)


def counts(row: HealthRow, now: float) -> Counts:
    """A row's evidence at `now` (epoch seconds).

    With fade λ and k outcomes Σw = (1-λᵏ)/(1-λ), so the scale Σw/Σw² = (1+λ)/(1+λᵏ) follows from Σw alone; what
    silence took away looks like fewer outcomes, which errs towards a wider interval.
    """
    still = _silence(now - row.at)
    failures, successes = row.failures * still, row.successes * still
    scale = (1.0 + _FADE) / max(1.0, 2.0 - (1.0 - _FADE) * (failures + successes))
    return Counts(failures * scale, successes * scale)


def run_needed(slo: float) -> int:
    """Failures in a row that need no further evidence."""
    return max(FAST_RUN, math.ceil(math.log(FAST_CHANCE) / math.log(1.0 - slo)))


def _judge(row: HealthRow, slo: float) -> tuple[HealthRow, Alarm | None]:
    found = counts(row, row.at)
    fast = row.run_of_failures >= run_needed(slo)
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
    if found.mean >= slo:
        return "healthy"
    return "unhealthy" if fast or was == "unhealthy" or _surely_below(found, slo) else "degraded"


def _surely_below(found: Counts, slo: float) -> bool:
    """Whether the interval's upper end is below the SLO, without computing that end."""
    above = 1.0 - beta_cdf(slo, found.successes + PRIOR, found.failures + PRIOR)
    return above < (1.0 - LEVEL) / 2.0


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
    return _figures([counts(row, now)], slo, row.state, fast=row.run_of_failures >= run_needed(slo))


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

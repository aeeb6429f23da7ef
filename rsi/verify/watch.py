"""Feeding a trial: which outcomes count, in which arm, and what is dropped, visibly.

Intention to treat: every unit that was assigned counts, whether or not the fix acted. The arm is recomputed here from
salt and unit; what the agent says about it is only compared.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection

from rsi import policy
from rsi.model import Arm, FixRef, Outcome
from rsi.stats import SAMPLED_KEPT, ConcurrentTrial, StatsInputError, is_due
from rsi.store import clients, trials
from rsi.store.arms import ArmCounts
from rsi.store.fixes import FixRow, number
from rsi.store.trials import LABELS_KEPT, Counts, Stage, StageCounts, Trial, Unit
from rsi.verify import guards, units, washout
from rsi.verify.guards import Categorize, Guards

ANY: Final = "*"
AT_ONCE: Final = 1_000
"""Units that are read and told in one piece."""
GUARDS: Final = "guards"
"""Where in the test's state the side effects are kept."""
DECLARED: Final = "allowance"
"""Where in a fix's evidence its rule's own allowance is."""
CLIENT_SEEN_S: Final = 86_400.0
"""A client seen within a day has a retry reserve of its own (`client_ttl`, contract §7)."""
SAME_FRACTION: Final = 1e-9
"""Fractions cross the wire as JSON numbers; nobody rounds them, so this only forgives representation."""


def in_trial(outcome: Outcome) -> bool:
    """Whether an outcome can matter to a trial: a task that began or ended, in an experiment, not backfill."""
    return bool(outcome.fixes) and outcome.kind == "task" and not outcome.backfill


def feed(
    conn: Connection,
    fixes: Mapping[int, FixRow],
    outcomes: Iterable[Outcome],
    now: float,
    category: Categorize = guards.by_rules,
) -> list[int]:
    """Count outcomes in the open trials they belong to; the numbers of the fixes whose trial changed.

    Run it in the transaction that moves the watermark: then nothing is fed twice or never. `category` says what a
    failed outcome is, for the guard on failures of other categories; a home with rules of its own passes its own.
    """
    by_fix: dict[int, list[tuple[Outcome, FixRef]]] = {}
    for outcome in outcomes:
        if in_trial(outcome):
            for ref in outcome.fixes:
                key = _number(ref.id)
                if key in fixes:
                    by_fix.setdefault(key, []).append((outcome, ref))
    fed = []
    for key, entries in by_fix.items():
        trial = trials.get(conn, key)
        if trial is not None and trial.kind != "closed":
            names = [units.name(outcome, fixes[key].knob) for outcome, _ in entries]
            _Feeding(conn, fixes[key], trial, [name for name in names if name], now, category).take(entries)
            fed.append(key)
    return fed


def silence(
    conn: Connection, fixes: Mapping[int, FixRow], running: Mapping[int, Trial], silent_after: float, now: float
) -> list[int]:
    """Units that started more than `silent_after` seconds ago and never ended have failed, in both arms alike."""
    gone: dict[int, list[Unit]] = {}
    for key, unit in trials.silent(conn, running.keys() & fixes.keys(), now - silent_after):
        gone.setdefault(key, []).append(unit)
    for key, lost in gone.items():
        _Feeding(conn, fixes[key], running[key], [], now).fall_silent(lost)
    return list(gone)


def load(conn: Connection, trial: Trial) -> ConcurrentTrial:
    """The streaming test of a trial as it was left.

    Raises:
        StatsInputError: its state was written by another version of the test.
    """
    state = trials.state(conn, trial.fix)
    return ConcurrentTrial.from_dict(state) if state else ConcurrentTrial(fraction=trial.share)


def load_guards(conn: Connection, fix: FixRow) -> Guards:
    """The side effects of a fix's open trial as they were left; new ones where none can be read."""
    found = trials.state(conn, fix.id).get(GUARDS)
    try:
        if found is not None:
            return Guards.from_dict(found)
    except StatsInputError:
        pass  # of another version: they begin again, as a trial's test does
    return Guards(guards.allowance(fix.knob, fix.evidence.get(DECLARED) or {}))


def _number(ref: str) -> int:
    return number(ref) if ref[1:].isascii() and ref[1:].isdigit() and ref.startswith("f") and len(ref) < 19 else 0  # noqa: PLR2004 - SQLite's integers


class _Tally:
    """`Counts`, while they grow."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self.plain: dict[str, int] = {}
        self.arms: dict[Arm, dict[str, float]] = {"fixed": {}, "control": {}}
        self.labels: list[str] = []
        self.sampled: list[str] = []
        self._sampled_at = counts.sampled_at
        self._told = {one.stage: one for one in counts.told}
        self._longest = counts.longest

    def count(self, name: str) -> None:
        self.plain[name] = self.plain.get(name, 0) + 1

    def add(self, arm: Arm, **more: float) -> None:
        sums = self.arms[arm]
        for name, value in more.items():
            sums[name] = sums.get(name, 0) + value

    def tell(self, unit: Unit, at: float) -> None:
        """Of outcomes that wait in a unit, which are of the time `at`, for the comparison of stages."""
        arm = unit.arm if unit.f else "control"
        if arm == "control":
            self._label(unit, at)
        told = self._told.get(unit.stage) or StageCounts(unit.stage, began=at)
        if washout.settles(told, at, self._longest, without=not unit.f):
            settling, began = told.settling + unit.outcomes, min(told.began, at)
            self._told[unit.stage] = msgspec.structs.replace(told, settling=settling, began=began)
            return
        sums = {
            arm: getattr(told, arm) + unit.outcomes,
            f"{arm}_failed": getattr(told, f"{arm}_failed") + unit.failures,
        }
        self._told[unit.stage] = msgspec.structs.replace(washout.counted(told, at), **sums)

    def _label(self, unit: Unit, at: float) -> None:
        """The failures of a session are spread over its outcomes: in which order they came nobody kept."""
        n, k = unit.outcomes, unit.failures
        labels = ["1" if (nth + 1) * k // n > nth * k // n else "0" for nth in range(n)]
        self.labels += labels
        if is_due(at, self._sampled_at):
            self.sampled.append(labels[-1])
            self._sampled_at = at

    def took(self, seconds: float) -> None:
        """How long a task of the fixed arm took."""
        self._longest = min(washout.MOST_SETTLE_S, max(self._longest, seconds))

    def total(self) -> Counts:
        values: dict[str, Any] = {name: getattr(self._counts, name) + more for name, more in self.plain.items()}
        values["fixed"] = _plus(self._counts.fixed, self.arms["fixed"])
        values["control"] = _plus(self._counts.control, self.arms["control"])
        values["told"] = tuple(self._told[stage] for stage in sorted(self._told))
        values["longest"] = self._longest
        values["labels"] = (self._counts.labels + "".join(self.labels))[-LABELS_KEPT:]
        values["sampled"] = (self._counts.sampled + "".join(self.sampled))[-SAMPLED_KEPT:]
        values["sampled_at"] = self._sampled_at
        return msgspec.structs.replace(self._counts, **values)


def _plus(sums: ArmCounts, more: Mapping[str, float]) -> ArmCounts:
    return msgspec.structs.replace(sums, **{name: getattr(sums, name) + value for name, value in more.items()})


class _Feeding:
    """One trial during one transaction."""

    def __init__(  # noqa: PLR0917 - what a transaction is about, in the order of its use
        self,
        conn: Connection,
        fix: FixRow,
        trial: Trial,
        names: Sequence[str],
        now: float,
        category: Categorize = guards.by_rules,
    ) -> None:
        self._category = category
        self._conn = conn
        self._fix = fix
        self._now = now
        try:
            self._test = load(conn, trial)
            self._trial = trial
        except StatsInputError:
            self._trial = _begin_again(conn, trial, now)
            self._test = ConcurrentTrial(fraction=self._trial.share)
        self._guards = load_guards(conn, fix)
        self._own = frozenset({fix.category, *fix.evidence.get("rule_categories", fix.evidence.get("categories", ()))})
        self._clients = _clients(conn, fix, now) if fix.knob in guards.BUDGETED else 0
        self._stages: dict[int, Stage] = {stage.stage: stage for stage in self._trial.counts.stages}
        self._units = trials.units(conn, trial.fix, names)
        self._changed: dict[str, Unit] = {}
        self._tally = _Tally(self._trial.counts)
        self._live = trial.live_at

    def take(self, entries: Iterable[tuple[Outcome, FixRef]]) -> None:
        for outcome, ref in entries:
            name = units.name(outcome, self._fix.knob)
            refusal = self._refusal(outcome, ref, name)
            if refusal is None and name is not None:
                self._enter(name, outcome, ref)
            elif refusal:
                self._tally.count(refusal)
        self._save()

    def fall_silent(self, gone: Sequence[Unit]) -> None:
        for unit in gone:
            if unit.f:
                self._tally.add(unit.arm, silent=1)
            self._end(unit, failed=True, calls=1, once=True)
        self._save()

    def _refusal(self, outcome: Outcome, ref: FixRef, name: str | None) -> str | None:
        """The counter that an outcome goes to when it does not count, or None."""
        if self._fix.source not in (ANY, outcome.source) or self._fix.task not in (ANY, outcome.task):
            return "out_of_scope"
        stage = self._stages.get(ref.stage)
        if name is None or stage is None or abs(stage.fraction - ref.f) > SAME_FRACTION:
            return "mismatched"
        if policy.arm(stage.salt, name, stage.fraction) != ref.arm:
            return "mismatched"
        if not ref.enforced:
            return "not_enforced"
        return "late" if stage.stage < self._trial.counts.window else None

    def _enter(self, name: str, outcome: Outcome, ref: FixRef) -> None:
        if self._live is None:
            self._live = self._now
        unit = self._units.get(name)
        if unit is None:
            self._tally.count("entered")
            place = self._trial.counts.entered + self._tally.plain["entered"]
            unit = Unit(unit=name, stage=ref.stage, arm=ref.arm, f=ref.f, started=self._now, place=place)
            self._keep(unit)
        if unit.crossed:
            return
        if unit.stage != ref.stage:
            self._tally.count("crossed")
            self._guards.drop(name)
            self._keep(msgspec.structs.replace(unit, crossed=True))
        elif outcome.final:
            if unit.f:  # in a washout there are no arms to compare
                self._tally.add(unit.arm, **_used(outcome))
                if unit.arm == "fixed":
                    ms = outcome.duration_ms
                    self._tally.took(self._now - unit.started if ms is None else ms / 1e3)
                values = guards.measured(outcome, self._own, self._category, per_call=self._fix.knob in guards.BUDGETED)
                self._guards.note(name, unit.arm, unit.f, values)
            once = outcome.session is None and not units.is_process(self._fix.knob)
            self._end(unit, failed=outcome.failed, calls=max(1, outcome.attempt or 1), once=once)
        elif outcome.status != "started" and unit.settled is None:
            self._tally.count("withdrawn")
            self._keep(msgspec.structs.replace(unit, settled=self._now))

    def _end(self, unit: Unit, *, failed: bool, calls: int, once: bool) -> None:
        """One more final outcome of a unit; it waits until all who began before have ended too."""
        ended = msgspec.structs.replace(
            unit,
            settled=self._now,
            failed=bool(unit.failed) or failed,
            calls=unit.calls + calls,
            outcomes=unit.outcomes + 1,
            failures=unit.failures + failed,
            once=once,
        )
        self._keep(self._tell(ended, calls) if unit.fed else ended)

    def _tell(self, unit: Unit, calls: int) -> Unit:
        """Tell the test of the outcomes of a unit that wait; it bets once on it, when it is complete."""
        first = not unit.fed
        if unit.outcomes:
            over = self._stages.get(unit.stage + 1)
            at = unit.started if first else self._now
            self._tally.tell(unit, at if over is None else min(at, over.started))
        if unit.f:
            self._bet(unit, calls, first=first)
        return msgspec.structs.replace(unit, fed=True, outcomes=0, failures=0)

    def _bet(self, unit: Unit, calls: int, *, first: bool) -> None:
        self._tally.add(
            unit.arm, units=int(first and unit.outcomes > 0), outcomes=unit.outcomes, failed=unit.failures, calls=calls
        )
        if first and unit.outcomes and unit.arm == "fixed" and unit.stage == self._trial.stage:
            self._tally.count("stage_units")
        for nth in range(unit.outcomes):
            final = unit.once and nth == unit.outcomes - 1
            self._test.add(unit.arm, unit.unit, nth < unit.failures, fraction=unit.f, final=final)
        if unit.outcomes:
            self._guards.budget = self._budget()
            self._guards.tell(unit.unit, complete=unit.once)

    def _budget(self) -> float:
        """Extra calls per task that the retry budget pays for by now; 0: it does not pay for this knob."""
        if not self._clients:
            return 0.0
        counts = self._tally.total()
        seconds = self._now - (self._live or self._trial.started)
        without = sum(one.control for one in counts.told if not self._stages[one.stage].fraction)
        return guards.budget(counts.fixed.outcomes + counts.control.outcomes + without, seconds, self._clients)

    def _advance(self) -> None:
        """Tell the test of units in the order in which they began, up to the first that is still open.

        A fix may change *when* its units end (a retry takes its time to fail): told in the order of their ends, the
        failures of one arm would come late, and a useless fix would look good for a while. The order of the beginnings
        knows no label.
        """
        while True:
            waiting = trials.waiting(self._conn, self._trial.fix, self._trial.counts.window, AT_ONCE)
            ready = list(itertools.takewhile(lambda unit: not unit.open, waiting))
            told = [self._tell(msgspec.structs.replace(u, outcomes=0) if u.crossed else u, u.calls) for u in ready]
            trials.put_units(self._conn, self._trial.fix, told)
            if len(ready) < AT_ONCE:
                return

    def _keep(self, unit: Unit) -> None:
        self._units[unit.unit] = unit
        self._changed[unit.unit] = unit

    def _save(self) -> None:
        trials.put_units(self._conn, self._trial.fix, list(self._changed.values()))
        self._advance()
        trial = msgspec.structs.replace(self._trial, counts=self._tally.total(), live_at=self._live)
        trials.put(self._conn, trial, {**self._test.to_dict(), GUARDS: self._guards.to_dict()})


def _used(outcome: Outcome) -> dict[str, float]:
    """What a final outcome says of tries, time and tokens, with squares, for the price of the fix and its interval."""
    tries = max(1, outcome.attempt or 1)
    found: dict[str, float] = {"tries": tries, "tries2": tries * tries, "tried": 1}
    counted = [n for n in (outcome.tokens_in, outcome.tokens_out) if n is not None]
    if counted:
        tokens = sum(counted)
        found |= {"tokens": tokens, "tokens2": tokens * tokens, "metered": 1}
    if outcome.duration_ms is not None:
        found |= {"ms": outcome.duration_ms, "ms2": outcome.duration_ms**2, "timed": 1}
    return found


def _clients(conn: Connection, fix: FixRow, now: float) -> int:
    return max(1, clients.enforcers(conn, fix.source, fix.task, now, CLIENT_SEEN_S).get(fix.knob, 1))


def _begin_again(conn: Connection, trial: Trial, now: float) -> Trial:
    """A new stage with a new test: units that were bet on before may not be bet on again."""
    fresh = trials.begin(conn, trial.fix, "holdout" if trial.kind == "holdout" else "canary", trial.share, now)
    counts = msgspec.structs.replace(fresh.counts, repairs=fresh.counts.repairs + 1)
    return msgspec.structs.replace(fresh, counts=counts)

"""New rows → what they mean (`Delta`).

`paused`, `cancelled` and `started` are never failures; nor is what the rules call `not_a_failure`: such a task is taken
out of the counters again, as if it had been cancelled. Backfill makes issues and counts by its hour, but moves no
health and enters no trial. The category is what the rules say, and where they are not sure what prototypes have said of
the same template; the agent's own claim stays beside it in the row.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from typing import Final, Generic, Protocol, TypeAlias, TypeVar

import msgspec
from sqlalchemy import Connection

from rsi.analyze import health, recovery
from rsi.analyze.delta import HOUR_S, MINUTE_S, Delta, Moment, Place, Seen, Strikes, Tally, Waiting
from rsi.analyze.health import FinalTask
from rsi.analyze.prototype import BY, open_to, remembered
from rsi.analyze.template import fingerprint
from rsi.analyze.unsure import Unsure
from rsi.analyze.write import write
from rsi.config import Config
from rsi.model import Category, Fingerprint, Outcome, Severity, StoredOutcome
from rsi.store import fingerprints, pending, recategorize
from rsi.store import health as stored_health
from rsi.store.fingerprints import Key
from rsi.store.health import Scope
from rsi.store.issue_rows import SAMPLES
from rsi.store.pending import Ended, Ref

__all__ = ["Observer", "observe", "write"]

NOT_A_FAILURE: Final = "not_a_failure"
UNKNOWN: Final = "unknown"
#: Templates whose id is remembered, and categories by what rules can read of a text (`rsi.rules.alike`), some 500 bytes
#: each: the rules are asked once for texts that they cannot tell apart.
KNOWN_TEMPLATES: Final = 20_000
#: Texts that are remembered as they are, up to a length: most failures are repeated word for word.
KNOWN_TEXTS: Final = 4_096
_TEXT: Final = 2_048
#: Steps without an answer that one pass gives up on; the next pass takes the next ones.
OVERDUE_AT_ONCE: Final = 500

_K = TypeVar("_K")
_V = TypeVar("_V")


#: What an error is, and which.
Identified: TypeAlias = tuple[Category, Fingerprint]


class Classifies(Protocol):
    """What the analysis needs of `rsi.classify.Classifier`."""

    def __call__(
        self, text: str, error_type: str | None = None, status: int | None = None, provider: str | None = None
    ) -> Category:
        """The category of an error text, by rules only."""

    def key(self, text: str) -> Hashable | None:
        """Equal only for texts that it calls the same; `None`: ask for this text."""

    def severity(self, category: Category) -> Severity:
        """How bad it is."""


class _Recent(Generic[_K, _V]):
    """The newest `limit` answers, least recently asked for out first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: OrderedDict[_K, _V] = OrderedDict()

    def get(self, key: _K) -> _V | None:
        found = self._held.get(key)
        if found is not None:
            self._held.move_to_end(key)
        return found

    def put(self, key: _K, value: _V) -> None:
        self._held[key] = value
        if len(self._held) > self._limit:
            self._held.popitem(last=False)


class Observer:
    """Reads rows with what it remembers of earlier ones; one per pipeline, used by one thread at a time."""

    def __init__(self, classifier: Classifies) -> None:
        self._classifier = classifier
        self._texts: _Recent[Hashable, Identified] = _Recent(KNOWN_TEXTS)
        self._categories: _Recent[Hashable, Category] = _Recent(KNOWN_TEMPLATES)
        self._ids: _Recent[Key, int] = _Recent(KNOWN_TEMPLATES)

    def observe(self, conn: Connection, rows: Sequence[StoredOutcome], now: float, config: Config) -> Delta:
        """What these rows, in order of arrival, mean. Reads only; `write` applies it.

        Args:
            conn: anything that sees the rows; a read snapshot will do.
            rows: all rows above the watermark, or its first ones. None is fine: steps may be overdue.
            now: epoch seconds.
            config: SLOs and `verify.silent_after`.
        """
        delta = Delta(now, len(rows), rows[-1].seq if rows else 0)
        found = _recalled(conn, {row.seq: self._identify(row.outcome) for row in rows if row.outcome.failed})
        slots = self._slots(conn, {_key(*pair) for pair in found.values() if not _excuses(pair[0])})
        unsure = Unsure(conn, rows, {seq: _key(*pair) for seq, pair in found.items() if not _excuses(pair[0])}, slots)
        delta.once = unsure.new
        tasks: list[FinalTask] = []
        old: dict[Scope, float] = {}
        steps: list[Waiting] = []
        ended: dict[Ref, Ended] = {}
        for row in rows:
            outcome = row.outcome
            pair = found.get(row.seq)
            excused = pair is not None and _excuses(pair[0])
            ended[outcome.source, outcome.id] = Ended(outcome.kind, outcome.status, outcome.parent, excused)
            if not outcome.backfill and (outcome.kind == "task" or not outcome.failed):
                moment = _moment(outcome)
                delta.attempts[moment] = delta.attempts.get(moment, 0) + 1
            counts = pair is not None and not excused and row.seq not in unsure.held
            seen = self._take(delta, slots, row, *pair) if pair is not None and counts else None
            if excused and outcome.kind == "task":
                place = _place(outcome)
                delta.excused[place] = delta.excused.get(place, 0) + 1
            if seen is not None:
                _strike(seen, row, steps)
            if outcome.final and not excused:
                if outcome.backfill:
                    old.update({(outcome.source, outcome.task): outcome.ts, (outcome.source, ""): outcome.ts})
                else:
                    tasks.append(_final(outcome, seen))
            if outcome.fixes and outcome.kind == "task" and not outcome.backfill:
                _enter_trials(delta, row, pair, excused=excused)
        _settle(conn, delta, steps, ended, rows[0].seq - 1 if rows else 0)
        _give_up(conn, delta, now - config.verify.silent_after)
        if tasks or old:
            before = stored_health.load(conn, sources={task.source for task in tasks} | {source for source, _ in old})
            delta.health, delta.alarms = health.advance(before, tasks, config, old)
        return delta

    def _identify(self, outcome: Outcome) -> Identified:
        text = outcome.error or outcome.stack or ""
        if not text.strip():
            return self._textless(outcome)
        stack = outcome.stack if outcome.error else None
        asked = (outcome.error_type, outcome.error_status, outcome.provider)
        whole = (text, stack, asked)
        known = self._texts.get(whole)
        if known is None:
            known = self._category(text, asked), fingerprint(text, outcome.error_type, stack=stack)
            if len(text) + len(stack or "") <= _TEXT:
                self._texts.put(whole, known)
        return known

    def _category(self, text: str, asked: tuple[str | None, int | None, str | None]) -> Category:
        """What the rules say of this very text: its template has lost what some of them read."""
        key = self._classifier.key(text)
        found = None if key is None else self._categories.get((key, asked))
        if found is None:
            found = self._classifier(text, *asked)
            if key is not None:
                self._categories.put((key, asked), found)
        return found

    def _textless(self, outcome: Outcome) -> Identified:
        """Nothing was said: class and status may still decide, then the agent's own claim; grouped by task."""
        category = self._classifier("", outcome.error_type, outcome.error_status, outcome.provider)
        if category.name == UNKNOWN and outcome.claimed:
            category = Category(outcome.claimed[0], category.confidence, "claimed")
        said = [f"{recategorize.SILENT} {outcome.task}", *outcome.claimed[:1]]
        if outcome.error_status is not None:
            said.append(f"status {outcome.error_status}")
        return category, fingerprint(", ".join(said), outcome.error_type)

    def _slots(self, conn: Connection, keys: set[Key]) -> dict[Key, int]:
        """Ids of templates; those that are not interned get negative numbers, in no particular order."""
        slots = {key: id_ for key in keys if (id_ := self._ids.get(key)) is not None}
        unknown = keys - slots.keys()
        for key, interned in fingerprints.find(conn, unknown).items():
            slots[key] = interned.id
            self._ids.put(key, interned.id)
        slots.update({key: -1 - n for n, key in enumerate(sorted(unknown - slots.keys()))})
        return slots

    def _take(
        self, delta: Delta, slots: Mapping[Key, int], row: StoredOutcome, category: Category, found: Fingerprint
    ) -> Seen:
        key = _key(category, found)
        seen = delta.seen.get(key)
        if seen is None:
            seen = delta.seen[key] = Seen(key, slots[key], category, found, self._classifier.severity(category))
        outcome = row.outcome
        seen.seqs.append(row.seq)
        seen.first, seen.last = min(seen.first, outcome.ts), max(seen.last, outcome.ts)
        text = outcome.error or outcome.stack
        if text and text not in seen.samples:
            seen.samples = [text, *seen.samples][:SAMPLES]
        return seen


def observe(
    conn: Connection, rows: Sequence[StoredOutcome], classifier: Classifies, now: float, config: Config
) -> Delta:
    """What these rows mean, without the memory of an `Observer`."""
    return Observer(classifier).observe(conn, rows, now, config)


def _excuses(category: Category) -> bool:
    """Only a rule takes a failure out of the counters; what resembles an interrupt is still counted."""
    return category.name == NOT_A_FAILURE and category.by != BY


def _recalled(conn: Connection, found: dict[int, Identified]) -> dict[int, Identified]:
    """The same with the categories that prototypes have given to templates which no rule surely decides."""
    asked = {_key(*pair) for pair in found.values() if open_to(pair[0])}
    known = recategorize.remembered(conn, asked) if asked else {}
    return {
        seq: (remembered(said), pair[1]) if (said := known.get(_key(*pair))) is not None else pair
        for seq, pair in found.items()
    }


def _key(category: Category, found: Fingerprint) -> Key:
    return category.name, found.hash


def _place(outcome: Outcome) -> Place:
    return Place(outcome.source, outcome.task, int(outcome.ts // HOUR_S))


def _moment(outcome: Outcome) -> Moment:
    return Moment(outcome.source, int(outcome.ts // MINUTE_S))


def _strike(seen: Seen, row: StoredOutcome, steps: list[Waiting]) -> None:
    """Count a failure; a step's recovery is not known yet."""
    outcome = row.outcome
    place = _place(outcome)
    tally = seen.places.setdefault(place, Tally())
    tally.n += 1
    if not outcome.backfill:
        strikes = seen.moments.setdefault(_moment(outcome), Strikes())
        strikes.n += 1
        strikes.provider = outcome.provider or strikes.provider
        strikes.release = outcome.release or strikes.release
    if outcome.kind == "task":
        tally.tasks_failed += 1
    elif outcome.parent is not None:
        steps.append(
            Waiting(
                outcome.source, outcome.parent, place, outcome.backfill, row.arrived, outcome.ts, seen,
                release=outcome.release,
            )
        )  # fmt: skip
        return
    seen.lose(place, outcome.ts, backfill=outcome.backfill, release=outcome.release)


def _final(outcome: Outcome, seen: Seen | None) -> FinalTask:
    failure = health.failure_of(outcome, None if seen is None else seen.severity)
    return FinalTask(outcome.source, outcome.task, outcome.ts, failure, None if seen is None else seen.slot)


def _enter_trials(delta: Delta, row: StoredOutcome, found: Identified | None, *, excused: bool) -> None:
    """A task that only looks failed ends its unit the way a cancelled one does."""
    if found is not None:
        delta.named[row.outcome.source, row.outcome.id] = found[0].name
    if excused:
        row = msgspec.structs.replace(row, outcome=msgspec.structs.replace(row.outcome, status="cancelled"))
    delta.trial_events.extend((row, ref) for ref in row.outcome.fixes)


def _settle(conn: Connection, delta: Delta, steps: list[Waiting], ended: dict[Ref, Ended], up_to: int) -> None:
    stored = pending.waiting_for(conn, ended)
    asked = [*steps, *(_again(step) for step in stored)]
    for step, fate in recovery.settle(conn, asked, ended, up_to):
        if step.seen is not None:
            _settle_new(delta, step, step.seen, fate)
        elif step.stored is not None:
            _settle_stored(delta, step.stored, fate)


def _give_up(conn: Connection, delta: Delta, before: float) -> None:
    """Steps that arrived before `before` and whose parent never ended are lost."""
    answered = {*delta.settled}
    late = [step for step in pending.overdue(conn, before, OVERDUE_AT_ONCE) if step.id not in answered]
    delta.lost.extend(late)
    delta.settled.extend(step.id for step in late)


def _again(step: pending.Pending) -> Waiting:
    place = Place(step.source, step.task, step.hour)
    return Waiting(step.source, step.parent, place, step.backfill, step.at, step.at, stored=step)


def _settle_new(delta: Delta, step: Waiting, seen: Seen, fate: recovery.Fate) -> None:
    if fate == recovery.LOST:
        seen.lose(step.place, step.ts, backfill=step.backfill, release=step.release)
    elif fate != recovery.RECOVERED:
        step.parent = fate.removeprefix(recovery.WAIT)
        delta.waits.append(step)


def _settle_stored(delta: Delta, step: pending.Pending, fate: recovery.Fate) -> None:
    if fate.startswith(recovery.WAIT):
        delta.handed_up[step.id] = fate.removeprefix(recovery.WAIT)
        return
    delta.settled.append(step.id)
    if fate == recovery.LOST:
        delta.lost.append(step)

"""Which outcomes count for a change that cannot be split: of whom, before or after, ended or fallen silent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec

from rsi.model import Outcome, StoredOutcome
from rsi.stats import BeforeAfterTrial

Group: TypeAlias = Literal["treated", "untouched"]
Phase: TypeAlias = Literal["before", "after"]

ANY: Final = "*"
MAX_OPEN: Final = 10_000
"""Units that began and have not ended; those beyond are not waited for."""
MS_PER_S: Final = 1_000.0


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """A change that was made everywhere at once, and what was seen of it.

    Rows from `since` to `first` are before the change, later ones after it; those up to `seen` are in. `untouched` are
    the sources it is compared with, `left` those that were and then were touched, `reached` those that the change
    reaches besides its own. `open` has, per unit that began and has not ended, its group, when it began, and whether
    that was before the change.
    """

    fix: int
    source: str
    task: str
    started: float
    first: int
    since: int
    seen: int = 0
    reached: tuple[str, ...] = ()
    untouched: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    mixed: tuple[str, ...] = ()  # other fixes that acted on the treated source in this time
    after: int = 0  # tasks of the treated source that ended since
    crossed: int = 0  # began before the change and ended after it: neither
    silent: int = 0
    open: dict[str, tuple[Group, float, bool]] = {}
    test: dict[str, Any] = {}


class Told:
    """A `Watched`, while rows are read."""

    def __init__(self, watched: Watched, test: BeforeAfterTrial) -> None:
        self.watched = watched
        self.test = test
        self.seen = watched.seen
        self.after, self.crossed, self.silent = watched.after, watched.crossed, watched.silent
        self.open = dict(watched.open)
        self._beside = frozenset(watched.untouched)

    def group(self, outcome: Outcome) -> Group | None:
        """Whose it is; None: it does not matter here."""
        if outcome.kind != "task" or outcome.backfill:
            return None
        if outcome.source == self.watched.source:
            return "treated" if self.watched.task in (ANY, outcome.task) else None
        return "untouched" if outcome.source in self._beside else None

    def count(self, group: Group, phase: Phase, unit: str, *, failed: bool) -> None:
        """One final task."""
        self.after += group == "treated" and phase == "after"
        self.test.add(group, phase, unit, failed)

    def done(self) -> Watched:
        """What is known now."""
        return msgspec.structs.replace(
            self.watched,
            seen=self.seen,
            after=self.after,
            crossed=self.crossed,
            silent=self.silent,
            open=self.open,
            test=self.test.to_dict(),
        )


def take(told: Told, rows: Sequence[StoredOutcome], up_to: int) -> None:
    """Count these rows, in order; `up_to` is the last that was looked at."""
    for row in rows:
        group = told.group(row.outcome)
        if group is not None:
            _one(told, group, row)
    told.seen = up_to


def _one(told: Told, group: Group, row: StoredOutcome) -> None:
    outcome, before = row.outcome, row.seq <= told.watched.first
    unit = f"{outcome.source}\n{outcome.unit}"
    if outcome.status == "started":
        if len(told.open) < MAX_OPEN:
            told.open.setdefault(unit, (group, row.arrived, before))
        return
    held = told.open.pop(unit, None)
    if not outcome.final:
        return
    took = (outcome.duration_ms or 0.0) / MS_PER_S
    began_before = held[2] if held is not None else before or row.arrived - took < told.watched.started
    if began_before and not before:
        told.crossed += 1
    else:
        told.count(group, "before" if before else "after", unit, failed=outcome.failed)


def count_silent(told: Told, silent_after: float, now: float) -> None:
    """Units that began more than `silent_after` seconds ago and never ended have failed, whoever's they are.

    One that lay across the change is neither before nor after it.
    """
    for unit, (group, began, before) in list(told.open.items()):
        until = began + silent_after
        if until > now:
            continue
        del told.open[unit]
        if before and until > told.watched.started:
            told.crossed += 1
            continue
        told.silent += 1
        told.count(group, "before" if before else "after", unit, failed=True)

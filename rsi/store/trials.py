"""Trials: the experiment of a fix, stage by stage, and every unit that entered it."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec
from sqlalchemy import Connection, Row, Select, bindparam, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from rsi.model import Arm, Cost
from rsi.store import arms
from rsi.store.arms import ArmCounts
from rsi.store.engine import project
from rsi.store.schema import trial_units, trials

Kind: TypeAlias = Literal["canary", "holdout", "closed"]
LABELS_KEPT: Final = 400
"""Failures in order, newest last, that the design effect is computed from; two dozen bursts of a dozen."""
SALT_BYTES: Final = 8
LEFT_OUT: Final = ("mismatched", "not_enforced", "crossed", "late", "out_of_scope", "withdrawn")
"""The counters of `Counts` for what does not count."""
IN_LIST: Final = 500
"""Names in one IN (…): SQLite's oldest limit on variables is 999."""


class Stage(msgspec.Struct, frozen=True):
    """One stage: its salt and the fraction that is fixed. `kind` says what it was for."""

    stage: int
    kind: Kind
    salt: str
    fraction: float
    started: float


class StageCounts(msgspec.Struct, frozen=True):
    """What one stage told, arm by arm: final tasks and failed ones. In a washout (fraction 0) all are control.

    The first ones, on which what went before may still act, are not counted but in `settling`. Times are epoch seconds.
    """

    stage: int
    fixed: int = 0
    fixed_failed: int = 0
    control: int = 0
    control_failed: int = 0
    settling: int = 0
    began: float = 0.0  # its first unit
    last: float = 0.0  # the last one that is counted
    seconds: float = 0.0  # for how long it was counted; of a longer silence `rsi.verify.washout.MOST_GAP_S`

    @property
    def tasks(self) -> int:
        """Of both arms."""
        return self.fixed + self.control

    @property
    def failed(self) -> int:
        """Of both arms."""
        return self.fixed_failed + self.control_failed


class Before(msgspec.Struct, frozen=True):
    """The scope before the canary: final tasks, failed ones, the hours they were counted over, and for how long.

    `seconds` lie between the first and the last that came, of those that are known one by one; 0: nobody can tell.
    `phases`: their failures came in phases (`rsi.stats.in_phases`).
    """

    tasks: int = 0
    failed: int = 0
    hours: int = 0
    seconds: float = 0.0
    phases: bool = False


class Counts(msgspec.Struct, frozen=True):
    """What was seen and what was dropped, visibly: nothing leaves a trial without a count."""

    stages: tuple[Stage, ...] = ()
    window: int = 1  # the stage at which the present test began; older ones are late
    fixed: ArmCounts = ArmCounts()
    control: ArmCounts = ArmCounts()
    before: Before = Before()
    told: tuple[StageCounts, ...] = ()  # stage by stage, of the present test
    longest: float = 0.0  # seconds that a task of the fixed arm took, at most `rsi.verify.washout.MOST_SETTLE_S`
    labels: str = ""  # failures of outcomes without the fix, in order, also those of washouts: 0 and 1
    sampled: str = ""  # a sample of them (`rsi.stats.phases`)
    sampled_at: float = 0.0  # the last of them, epoch seconds
    entered: int = 0  # units that began, over all stages
    stage_units: int = 0  # settled units of the fixed arm in the present stage
    mismatched: int = 0  # arm, fraction or stage differ from what salt and unit say
    crossed: int = 0  # units seen in two stages
    not_enforced: int = 0  # the client could not act, in either arm
    late: int = 0  # of a stage whose experiment is over
    out_of_scope: int = 0  # of another source or task
    withdrawn: int = 0  # paused or cancelled before they ended
    restarts: int = 0  # holdout windows that ended and began again
    spent: Cost = Cost()  # by the experiments before the present one
    repairs: int = 0  # times the test's state could not be read and began anew

    @property
    def left_out(self) -> dict[str, int]:
        """What was told and does not count, by its counter; those that are 0 are left away."""
        return {name: n for name in LEFT_OUT if (n := getattr(self, name))}

    @property
    def claimed(self) -> float:
        """The share of reports whose arm was not the one that was drawn; 0 to 1.

        Against the units that entered, or the tasks that counted where units have several (sessions, processes).
        """
        told = self.mismatched + max(self.entered, self.fixed.outcomes + self.control.outcomes)
        return self.mismatched / told if told else 0.0


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """The experiment of a fix as it stands, without the test's state."""

    fix: int
    kind: Kind
    stage: int
    salt: str
    fraction: float
    started: float
    live_version: int | None = None
    live_at: float | None = None
    counts: Counts = Counts()

    @property
    def share(self) -> float:
        """The fraction of the present stage; in a washout that of the one before it."""
        given = [stage.fraction for stage in self.counts.stages if stage.fraction > 0]
        return given[-1] if given and not self.fraction else self.fraction


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    """A unit in a trial; `failed` is None while it is open or if it was withdrawn."""

    unit: str
    stage: int
    arm: Arm
    f: float
    started: float
    settled: float | None = None
    failed: bool | None = None
    crossed: bool = False
    calls: int = 0
    place: int = 0  # the order in which units began
    outcomes: int = 0  # final ones that wait to be told to the test
    failures: int = 0
    once: bool = True
    fed: bool = False

    @property
    def open(self) -> bool:
        """It began, and nobody knows yet how it ends."""
        return self.settled is None and not self.crossed


def new_salt() -> str:
    """16 random hex digits: nobody can know a unit's arm before the stage begins."""
    return secrets.token_hex(SALT_BYTES)


def put(conn: Connection, trial: Trial, state: dict[str, Any] | None = None) -> None:
    """Write a trial; `state` is the test's, left as it is when not given (a new trial needs one)."""
    values: dict[str, Any] = {name: getattr(trial, name) for name in _PLAIN}
    values["counts"] = msgspec.json.encode(trial.counts)
    if state is not None:
        values["state"] = msgspec.json.encode(state)
    done = conn.execute(update(trials).where(trials.c.fix == trial.fix).values(**values))
    if not done.rowcount:
        values.setdefault("state", b"{}")
        conn.execute(insert(trials).values(project=project(conn), fix=trial.fix, **values))


def begin(
    conn: Connection,
    fix: int,
    kind: Literal["canary", "holdout"],
    fraction: float,
    now: float,
    *,
    before: Before | None = None,
    anew: bool = True,
) -> Trial:
    """Open the next stage of a fix's experiment, with a salt of its own.

    Args:
        conn: in a writing transaction.
        fix: the fix's number.
        kind: what the stage is for.
        fraction: share of units that get the fix; 0 is a washout (`rsi.verify.washout`), not with `anew`.
        now: epoch seconds.
        before: the scope's rate before the canary; kept from the trial if not given.
        anew: forget the arms' sums and the test's state (a new experiment); a ramp keeps them.
    """
    known = get(conn, fix)
    counts = known.counts if known else Counts()
    number = (known.stage if known else 0) + 1
    salt = new_salt()
    stages = (*counts.stages, Stage(number, kind, salt, fraction, now))
    counts = msgspec.structs.replace(counts, stages=stages, stage_units=0, before=before or counts.before)
    if anew:
        spent = _cost(counts)
        counts = msgspec.structs.replace(
            counts,
            window=number,
            fixed=ArmCounts(),
            control=ArmCounts(),
            told=(),
            labels="",
            sampled="",
            longest=0.0,
            spent=spent,
        )
    live_at = known.live_at if known and not anew else None
    trial = Trial(
        fix=fix, kind=kind, stage=number, salt=salt, fraction=fraction, started=now, live_at=live_at, counts=counts
    )
    put(conn, trial, {} if anew else None)
    return trial


def close(conn: Connection, fix: int) -> None:
    """End the experiment; its counts stay readable."""
    conn.execute(update(trials).where(trials.c.fix == fix).values(kind="closed"))


def get(conn: Connection, fix: int) -> Trial | None:
    """The trial of a fix, if it ever had one."""
    row = conn.execute(_heads(conn).where(trials.c.fix == fix)).one_or_none()
    return _trial(row) if row is not None else None


def costs(conn: Connection, fixes: Collection[int]) -> dict[int, Cost]:
    """What each of these fixes cost and saved; those that were never tried are left out."""
    wanted, found = list(fixes), dict[int, Cost]()
    for start in range(0, len(wanted), IN_LIST):
        rows = conn.execute(_heads(conn).where(trials.c.fix.in_(wanted[start : start + IN_LIST])))
        found.update((row.fix, _cost(_COUNTS.decode(row.counts))) for row in rows)
    return found


def running(conn: Connection) -> list[Trial]:
    """Trials that are open: canaries and holdouts."""
    rows = conn.execute(_RUNNING, {"project": project(conn)})
    return [_trial(row) for row in rows]


def state(conn: Connection, fix: int) -> dict[str, Any]:
    """The test's state; empty before the first unit."""
    raw = conn.execute(select(trials.c.state).where(trials.c.fix == fix)).scalar_one()
    found: dict[str, Any] = msgspec.json.decode(raw)
    return found


def mark_published(conn: Connection, fixes: Sequence[int], version: int) -> None:
    """The first policy version that carried these trials."""
    if fixes:
        conn.execute(
            update(trials)
            .where(trials.c.fix.in_(tuple(fixes)), trials.c.live_version.is_(None))
            .values(live_version=version)
        )


def units(conn: Connection, fix: int, names: Iterable[str]) -> dict[str, Unit]:
    """Those of `names` that are in the trial."""
    wanted = list(dict.fromkeys(names))
    found: dict[str, Unit] = {}
    for start in range(0, len(wanted), IN_LIST):
        rows = conn.execute(_units(conn, fix).where(trial_units.c.unit.in_(wanted[start : start + IN_LIST])))
        found.update((row.unit, _unit(row)) for row in rows)
    return found


def put_units(conn: Connection, fix: int, changed: Sequence[Unit]) -> None:
    """Write units, new or known."""
    if not changed:
        return
    statement = upsert(trial_units)
    statement = statement.on_conflict_do_update(
        index_elements=["project", "fix", "unit"],
        set_={name: statement.excluded[name] for name in _CHANGING},
    )
    rows = [{"project": project(conn), "fix": fix, **msgspec.structs.asdict(unit)} for unit in changed]
    conn.execute(statement, rows)


def waiting(conn: Connection, fix: int, stage: int, limit: int) -> list[Unit]:
    """Units of `stage` and later that the test has not been told of, in the order in which they began."""
    rows = conn.execute(_WAITING, {"fix": fix, "stage": stage, "limit": limit})
    return [_unit(row) for row in rows]


def silent(conn: Connection, fixes: Collection[int], before: float, limit: int = 1_000) -> list[tuple[int, Unit]]:
    """Open units of these trials that started before `before`, with their fix; at most `limit`."""
    if not fixes:
        return []
    rows = conn.execute(_SILENT, {"fixes": list(fixes), "before": before, "limit": limit})
    return [(row.fix, _unit(row)) for row in rows]


_PLAIN: Final = ("kind", "stage", "salt", "fraction", "started", "live_version", "live_at")
_COUNTS: Final = msgspec.json.Decoder(Counts)
_CHANGING: Final = ("settled", "failed", "crossed", "calls", "outcomes", "failures", "once", "fed")
_UNIT: Final = ("unit", "stage", "arm", "f", "started", "place", *_CHANGING)


_RUNNING: Final = (
    select(*(trials.c[name] for name in ("fix", *_PLAIN, "counts")))
    .where(trials.c.project == bindparam("project"), trials.c.kind != "closed")
    .order_by(trials.c.fix)
)
_SILENT: Final = (
    select(trial_units.c.fix, *(trial_units.c[name] for name in _UNIT))
    .where(
        trial_units.c.fix.in_(bindparam("fixes", expanding=True)),
        trial_units.c.settled.is_(None),
        trial_units.c.started < bindparam("before"),
        trial_units.c.crossed.is_(False),
    )
    .limit(bindparam("limit"))
)


_WAITING: Final = (
    select(*(trial_units.c[name] for name in _UNIT))
    .where(
        trial_units.c.fix == bindparam("fix"),
        trial_units.c.fed.is_(False),
        trial_units.c.stage >= bindparam("stage"),
    )
    .order_by(trial_units.c.place)
    .limit(bindparam("limit"))
)


def _cost(counts: Counts) -> Cost:
    return arms.plus(counts.spent, arms.compare(counts.fixed, counts.control))


def _heads(conn: Connection) -> Select[Any]:
    columns = [trials.c[name] for name in ("fix", *_PLAIN, "counts")]
    return select(*columns).where(trials.c.project == project(conn))


def _trial(row: Row[Any]) -> Trial:
    plain = {name: getattr(row, name) for name in ("fix", *_PLAIN)}
    return Trial(**plain, counts=_COUNTS.decode(row.counts))


def _units(conn: Connection, fix: int) -> Select[Any]:
    columns = [trial_units.c[name] for name in _UNIT]
    return select(*columns).where(trial_units.c.project == project(conn), trial_units.c.fix == fix)


def _unit(row: Row[Any]) -> Unit:
    return Unit(**{name: getattr(row, name) for name in _UNIT})

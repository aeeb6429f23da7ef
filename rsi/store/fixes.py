"""Fixes: what was changed or proposed, why, and what came of it. One row per (rule, source, task, knob, value)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple, get_args

import msgspec
from sqlalchemy import Connection, Row, Select, bindparam, func, insert, select, update

from rsi import change, clock
from rsi.errors import InvalidInputError, NotFoundError
from rsi.model import Change, Cost, Fix, FixState, Regression, Verdict
from rsi.store import regressions, trials
from rsi.store.engine import project
from rsi.store.schema import fixes, issues, journal

#: Not over yet: nothing else may be planned for the same thing.
OPEN: Final[tuple[FixState, ...]] = ("proposed", "approved", "checking", "canary")
#: Held against a command in the sandbox, before it starts.
CHECKING: Final[tuple[FixState, ...]] = ("checking",)
#: In the policy, for some units or for all.
APPLIED: Final[tuple[FixState, ...]] = ("canary", "verified", "kept_unverified")
#: For every unit of its scope.
STANDING: Final[tuple[FixState, ...]] = ("verified", "kept_unverified")
#: Over, in any way.
OVER: Final[tuple[FixState, ...]] = ("rolled_back", "removed", "rejected", "superseded", "failed")
PAGE: Final = 500
#: In the evidence: the edit of a file that a fix is (`rsi.fix.edit`), and the names of the rails, by their sentences.
EDIT: Final = "edit"
RAILS: Final = "rails"


class FixRow(msgspec.Struct, frozen=True, kw_only=True):
    """A fix as it lies in the store; times are epoch seconds."""

    id: int
    dedupe: str
    issue: int
    rule: str
    category: str
    source: str
    task: str
    knob: str
    title: str
    safe: bool
    state: FixState
    change: Change
    evidence: dict[str, Any]
    verdict: Verdict | None
    rails: list[str]
    created: float
    updated: float
    applied: float | None
    deadline: float | None

    @property
    def ref(self) -> str:
        """The public id: `f12`."""
        return f"f{self.id}"


class NewFix(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan hands to `add`."""

    dedupe: str
    issue: int
    rule: str
    category: str
    source: str
    task: str
    knob: str
    title: str
    safe: bool
    change: Change
    evidence: dict[str, Any]


class Known(NamedTuple):
    """The outline of a fix, for asking whether there is one."""

    id: int
    dedupe: str
    rule: str
    state: FixState
    source: str
    task: str
    knob: str
    updated: float


class Record(msgspec.Struct, frozen=True):
    """How the fixes of one rule ended."""

    won: int = 0
    lost: int = 0
    undecided: int = 0


def number(ref: str) -> int:
    """`f12` → 12.

    Raises:
        NotFoundError: not a fix id.
    """
    text = ref.removeprefix("f")
    if not text.isascii() or not text.isdigit() or len(text) > 18:  # noqa: PLR2004 - beyond this SQLite has no integer
        raise NotFoundError(f"no fix {ref!r}; ids look like f12, see `rsi fixes`")
    return int(text)


def add(conn: Connection, new: NewFix, now: float) -> FixRow:
    """A new fix, `proposed`."""
    done = conn.execute(
        insert(fixes).values(
            project=project(conn),
            **{name: getattr(new, name) for name in _PLAIN} | {"issue": _now(conn, new.issue)},
            change=_json(new.change),
            evidence=_json(new.evidence),
            rails=_json([]),
            state="proposed",
            created=now,
            updated=now,
        )
    )
    key = done.inserted_primary_key
    return get(conn, int(key[0]) if key else 0)


def get(conn: Connection, fix: int) -> FixRow:
    """One fix.

    Raises:
        NotFoundError: there is none.
    """
    row = conn.execute(_all(conn).where(fixes.c.id == fix)).one_or_none()
    if row is None:
        raise NotFoundError(f"no fix f{fix}; see `rsi fixes`")
    return _row(row)


def find(conn: Connection, dedupe: str) -> FixRow | None:
    """The fix for exactly this thing, whatever became of it."""
    row = conn.execute(_all(conn).where(fixes.c.dedupe == dedupe)).one_or_none()
    return _row(row) if row is not None else None


def known(conn: Connection) -> dict[str, Known]:
    """Every fix in outline, by its `dedupe`."""
    return {row.dedupe: Known(*row) for row in conn.execute(_KNOWN, {"project": project(conn)})}


def in_states(conn: Connection, states: Collection[FixState]) -> list[FixRow]:
    """Fixes in any of these states, oldest first."""
    rows = conn.execute(_IN_STATES, {"project": project(conn), "states": list(states)})
    return [_row(row) for row in rows]


def change_to(conn: Connection, fix: int, now: float, **values: Any) -> FixRow:
    """Set columns; `change`, `evidence`, `verdict` and `rails` are given as values, not as JSON."""
    for name in _ENCODED & values.keys():
        values[name] = _json(values[name])
    conn.execute(update(fixes).where(fixes.c.id == fix).values(updated=now, **values))
    return get(conn, fix)


def move(conn: Connection, issue: int, into: int) -> None:
    """The fixes of an issue that was merged are those of the issue that it went into."""
    ours = (fixes.c.project == project(conn)) & (fixes.c.issue == issue)
    conn.execute(update(fixes).where(ours).values(issue=into))


def _now(conn: Connection, issue: int) -> int:
    """The issue that this one was merged into, else itself."""
    found = conn.execute(select(issues.c.merged_into).where(issues.c.id == issue)).scalar()
    return issue if found is None else int(found)


def waiting(conn: Connection) -> list[FixRow]:
    """Fixes with a change that could start, those that a person approved first, then the oldest. No advice."""
    rows = conn.execute(_WAITING, {"project": project(conn)})
    return [_row(row) for row in rows]


def updated_since(conn: Connection, at: float) -> list[FixRow]:
    """Fixes that changed at `at` or later, oldest first."""
    return [_row(row) for row in conn.execute(_UPDATED, {"project": project(conn), "at": at})]


def ended_since(conn: Connection, states: Collection[FixState], at: float) -> list[FixRow]:
    """Fixes in these states that changed at `at` or later, oldest first."""
    asked = {"project": project(conn), "states": list(states), "at": at}
    return [_row(row) for row in conn.execute(_ENDED, asked)]


def applied_since(conn: Connection, at: float) -> int:
    """How many fixes went live since `at`."""
    found = conn.execute(select(func.count()).where(fixes.c.project == project(conn), fixes.c.applied >= at))
    return int(found.scalar_one())


def record(conn: Connection, rule: str) -> Record:
    """Won, lost and undecided fixes of a rule. Taken back by a person counts as neither.

    One that the check before it stopped, because it broke what worked, is lost: the rule proposed harm here.
    """
    rows = conn.execute(
        select(fixes.c.state, fixes.c.verdict, fixes.c.evidence).where(
            fixes.c.project == project(conn),
            fixes.c.rule == rule,
            fixes.c.verdict.is_not(None) | (fixes.c.state == "failed"),
        )
    )
    won = lost = undecided = 0
    for state, verdict, evidence in rows:
        if verdict is None:
            lost += (_EVIDENCE.decode(evidence).get("check") or {}).get("outcome") == "broke"
            continue
        outcome = _VERDICT.decode(verdict).outcome
        won += outcome == "verified"
        lost += outcome in ("worse", "no_difference")
        undecided += outcome == "undecided" and state not in OPEN
    return Record(won, lost, undecided)


def list_fixes(
    conn: Connection,
    *,
    state: str | None = None,
    source: str | None = None,
    task: str | None = None,
    issue: str | None = None,
    rule: str | None = None,
    limit: int = PAGE,
) -> list[Fix]:
    """Fixes as people read them, newest first, without their journals. `state`: one or several, comma-separated.

    Raises:
        InvalidInputError: an unknown state.
    """
    query = _all(conn).order_by(fixes.c.id.desc()).limit(limit)
    if state:
        query = query.where(fixes.c.state.in_(_known_states(state)))
    if source:
        query = query.where(fixes.c.source == source)
    if task:
        query = query.where(fixes.c.task == task)
    if issue:
        query = query.where(fixes.c.issue == _now(conn, number(issue.removeprefix("i"))))
    if rule:
        query = query.where(fixes.c.rule == rule)
    rows = [_row(row) for row in conn.execute(query)]
    costs, failing = trials.costs(conn, [row.id for row in rows]), regressions.load(conn)
    return [public(row, cost=costs.get(row.id), regression=failing.get(row.id)) for row in rows]


def get_fix(conn: Connection, ref: str) -> Fix:
    """One fix as people read it, with its journal.

    Raises:
        NotFoundError: there is none.
    """
    row = get(conn, number(ref))
    entries = conn.execute(
        select(journal.c.at, journal.c.who, journal.c.what, journal.c.detail)
        .where(journal.c.project == project(conn), journal.c.ref == row.ref)
        .order_by(journal.c.seq)
    )
    lines = [
        {"at": clock.iso(at), "who": who, "what": what, "detail": msgspec.json.decode(detail)}
        for at, who, what, detail in entries
    ]
    cost, failing = trials.costs(conn, [row.id]).get(row.id), regressions.load(conn).get(row.id)
    return public(row, lines, cost=cost, regression=failing)


def public(
    row: FixRow,
    lines: Sequence[dict[str, Any]] = (),
    *,
    cost: Cost | None = None,
    regression: Regression | None = None,
) -> Fix:
    """The contract's shape of a fix."""
    edit, named = row.evidence.get(EDIT) or {}, row.evidence.get(RAILS) or {}
    return Fix(
        id=row.ref,
        issue=f"i{row.issue}",
        rule=row.rule,
        category=row.category,
        state=row.state,
        safe=row.safe,
        source=row.source,
        task=row.task,
        knob=row.knob,
        title=row.title,
        change=row.change,
        evidence={name: value for name, value in row.evidence.items() if name not in _OWN_FIELDS},
        verdict=row.verdict,
        cost=cost,
        regression=regression,
        rails=row.rails,
        refused_by=[str(named.get(sentence, "")) for sentence in row.rails],
        diff=str(edit.get("diff") or change.diff(row.change)),
        file=str(edit.get("says", "")),
        journal=list(lines),
        created_at=clock.iso(row.created),
        updated_at=clock.iso(row.updated),
    )


_OWN_FIELDS: Final = frozenset({EDIT, RAILS})
_ENCODED: Final = frozenset({"change", "evidence", "verdict", "rails"})
_PLAIN: Final = ("dedupe", "issue", "rule", "category", "source", "task", "knob", "title", "safe")
_EVIDENCE: Final = msgspec.json.Decoder(dict[str, Any])
_RAILS: Final = msgspec.json.Decoder(list[str])
_CHANGE: Final = msgspec.json.Decoder(Change)
_VERDICT: Final = msgspec.json.Decoder(Verdict)


def _known_states(text: str) -> list[str]:
    found, known = text.split(","), get_args(FixState)
    for one in found:
        if one not in known:
            raise InvalidInputError(f"state: expected {', '.join(known)}, got {one[:40]!r}", field="state")
    return found


_OURS: Final = select(fixes).where(fixes.c.project == bindparam("project"))
_IN_STATES: Final = _OURS.where(fixes.c.state.in_(bindparam("states", expanding=True))).order_by(fixes.c.id)
_UPDATED: Final = _OURS.where(fixes.c.updated >= bindparam("at")).order_by(fixes.c.id)
_ENDED: Final = _IN_STATES.where(fixes.c.updated >= bindparam("at"))
_WAITING: Final = _OURS.where(fixes.c.state.in_(("approved", "proposed")), fixes.c.knob != "").order_by(
    fixes.c.state, fixes.c.id
)
_KNOWN: Final = select(*(fixes.c[name] for name in Known._fields)).where(fixes.c.project == bindparam("project"))


def _all(conn: Connection) -> Select[Any]:
    return select(fixes).where(fixes.c.project == project(conn))


def _json(value: object) -> bytes | None:
    return None if value is None else msgspec.json.encode(value)


def _row(row: Row[Any]) -> FixRow:
    plain = {name: getattr(row, name) for name in (*_PLAIN, "id", "state", "created", "updated", "applied", "deadline")}
    return FixRow(
        **plain,
        change=_CHANGE.decode(row.change),
        evidence=_EVIDENCE.decode(row.evidence),
        verdict=_VERDICT.decode(row.verdict) if row.verdict is not None else None,
        rails=_RAILS.decode(row.rails),
    )

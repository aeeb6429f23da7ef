"""Merging and splitting issues. What a person decided is remembered per pair of templates, and wins for ever."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection, delete, func, or_, select, update

from rsi import clock
from rsi.errors import ConflictError, InvalidInputError, NotFoundError
from rsi.model import IssueState
from rsi.store import decisions, fixes, issue_rows, journal
from rsi.store import fingerprints as templates
from rsi.store.engine import project
from rsi.store.fingerprints import Interned
from rsi.store.issue_rows import ACTIVE, HourRow, IssueRow
from rsi.store.schema import clusters, fingerprints, issue_hours, issues, outcomes
from rsi.store.titles import title

BY_PERSON: Final = "merged by a person"
SPLIT_WHY: Final = "split off {source} by a person"
_HOUR_S: Final = 3600.0
_CHUNK: Final = 400

_IGNORED: Final = "ignored"


class Split(NamedTuple):
    """The issue that stayed and the one that was made of what left it (public ids)."""

    kept: str
    made: str


def merge(conn: Connection, a: str, b: str, who: str) -> str:
    """A person says that two issues are the same thing; the id that stays (the older one).

    Raises:
        NotFoundError: one of them does not exist.
        InvalidInputError: they are one already, or of different categories.
    """
    old, young = sorted((_row(conn, a), _row(conn, b)), key=lambda row: row.id)
    if old.id == young.id:
        raise InvalidInputError(f"{a} and {b} are the same issue already ({old.ref})")
    if old.category != young.category:
        raise InvalidInputError(
            f"{old.ref} is {old.category} and {young.ref} is {young.category}: issues of different categories"
            " are never one; correct the rule that decides the category instead"
        )
    ours, theirs = templates.of_cluster(conn, old.id), templates.of_cluster(conn, young.id)
    decisions.decide(conn, [(_hash(x), _hash(y)) for x in ours[:1] for y in theirs], same=True, who=who)
    decisions.forget_apart(conn, [_hash(x) for x in ours], [_hash(y) for y in theirs])
    _absorb(conn, old, young, BY_PERSON)
    conn.execute(update(clusters).where(clusters.c.id.in_((old.id, young.id))).values(pinned=True))
    journal.append(conn, who, "issue.merged", old.ref, {"from": young.ref, "templates": len(theirs)})
    return old.ref


def auto_merge(conn: Connection, new_cluster: int, into: int, why: str) -> bool:
    """Put a cluster into another because they look the same; False where it may not be.

    It may not be where a person said that any two of their templates differ, across categories, where a person ignores
    one of them and not the other (what nobody ignores would vanish), or where either is gone. The older id stays,
    whichever way round it is called.
    """
    found = issue_rows.load(conn, [new_cluster, into])
    if len(found) < 2:  # noqa: PLR2004 - both of them
        return False
    old, young = sorted((found[new_cluster], found[into]), key=lambda row: row.id)
    if old.id == young.id or old.category != young.category or (old.state == _IGNORED) != (young.state == _IGNORED):
        return False
    if declared_apart(conn, old.id, young.id):
        return False
    _absorb(conn, old, young, why)
    journal.append(conn, "daemon", "issue.merged", old.ref, {"from": young.ref, "why": "similar"})
    return True


def declared_apart(conn: Connection, a: int, b: int) -> bool:
    """Whether a person said of any template of cluster `a` that it differs from one of `b`."""
    if not decisions.any_parted(conn):
        return False
    few, many = sorted((a, b), key=lambda cluster: _size(conn, cluster))
    apart = decisions.foes(conn, [_hash(one) for one in templates.of_cluster(conn, few)])
    return bool(apart) and decisions.in_cluster(conn, many, apart)


def parted(conn: Connection) -> set[tuple[int, int]]:
    """The pairs of templates (smaller number first) that a person has said to differ."""
    return decisions.parted(conn)


def ignored(conn: Connection) -> frozenset[int]:
    """The issues (numbers) that a person ignores."""
    query = select(issues.c.id).where(issues.c.project == project(conn), issues.c.state == _IGNORED)
    return frozenset(conn.execute(query.where(issues.c.merged_into.is_(None))).scalars())


def split(conn: Connection, issue_id: str, who: str, fingerprint: int | None = None) -> Split:
    """A person says that an issue holds different things.

    One template (`fingerprint`) becomes an issue of its own; without it the first template stays and all others leave
    together. Counts follow the stored outcomes of the templates that leave: as far back as outcomes are kept.

    Raises:
        NotFoundError: no such issue, or no such template in it.
        ConflictError: it holds one template only.
    """
    row = _row(conn, issue_id)
    held = templates.of_cluster(conn, row.id)
    if len(held) < 2:  # noqa: PLR2004 - something must stay and something must leave
        raise ConflictError(f"{row.ref} holds one template only: there is nothing to split")
    leaving = [one for one in held if one.id == fingerprint] if fingerprint is not None else held[1:]
    if not leaving:
        raise NotFoundError(f"template {fingerprint} is not in {row.ref}; it holds {[one.id for one in held]}")
    gone = {one.id for one in leaving}
    staying = [one for one in held if one.id not in gone]
    made = templates.found_clusters(conn, [row.category], clock.now())[row.category][0]
    decisions.decide(conn, [(_hash(x), _hash(y)) for x in staying for y in leaving], same=False, who=who)
    templates.move(conn, gone, made, SPLIT_WHY.format(source=row.ref))
    conn.execute(update(clusters).where(clusters.c.id.in_((row.id, made))).values(pinned=True))
    state: IssueState = "ongoing" if row.state == _IGNORED else row.state  # what was never looked at is not ignored
    divide(conn, row, made, staying, leaving, why=SPLIT_WHY.format(source=row.ref), state=state)
    journal.append(conn, who, "issue.split", row.ref, {"made": f"i{made}", "templates": sorted(gone)})
    return Split(row.ref, f"i{made}")


def _row(conn: Connection, ref: str) -> IssueRow:
    key = issue_rows.number(ref)
    found = issue_rows.load(conn, [key]).get(key)
    if found is None:
        raise NotFoundError(f"{ref}: no such issue; `rsi issues` lists them")
    return found


def _hash(one: Interned) -> str:
    return decisions.of(one)


def _size(conn: Connection, cluster: int) -> int:
    query = select(func.count()).where(fingerprints.c.project == project(conn), fingerprints.c.cluster == cluster)
    return int(conn.execute(query).scalar_one())


def _absorb(conn: Connection, old: IssueRow, young: IssueRow, why: str) -> None:
    """Everything of `young` goes to `old`; `young` redirects, and so does whatever redirected to it."""
    templates.move(conn, [one.id for one in templates.of_cluster(conn, young.id)], old.id, why)
    issue_rows.add_hours(conn, [row._replace(issue=old.id) for row in issue_rows.hours(conn, [young.id], 0)])
    conn.execute(delete(issue_hours).where(issue_hours.c.project == project(conn), issue_hours.c.issue == young.id))
    fixes.move(conn, young.id, old.id)
    issue_rows.save(conn, [_summed(old, young, why), _emptied(young, old.id)])
    conn.execute(update(issues).where(issues.c.merged_into == young.id).values(merged_into=old.id))
    conn.execute(
        update(clusters).where(or_(clusters.c.id == young.id, clusters.c.merged_into == young.id))
        .values(merged_into=old.id)
    )  # fmt: skip


def _summed(old: IssueRow, young: IssueRow, why: str) -> IssueRow:
    for name in ("frequency", "unrecovered", "tasks_failed", "live"):
        setattr(old, name, getattr(old, name) + getattr(young, name))
    newer, older = (young, old) if young.last_seen > old.last_seen else (old, young)
    old.samples = issue_rows.keep_samples(older.samples, newer.samples)
    if old.state == "resolved" and young.state in ACTIVE and young.last_seen > old.state_at:
        old.state, old.state_at, old.resolved_by = "ongoing", young.last_seen, None
    old.first_seen, old.last_seen = min(old.first_seen, young.first_seen), max(old.last_seen, young.last_seen)
    old.last_seq = max(old.last_seq, young.last_seq)
    old.why = why
    return old


def _emptied(young: IssueRow, into: int) -> IssueRow:
    young.merged_into = into
    young.frequency = young.unrecovered = young.tasks_failed = young.live = 0
    return young


def divide(
    conn: Connection,
    row: IssueRow,
    made: int,
    staying: Sequence[Interned],
    leaving: Sequence[Interned],
    *,
    why: str,
    state: IssueState | None = None,
) -> None:
    """Make an issue, numbered `made`, of what the stored outcomes of the leaving templates are, hour by hour.

    It is `ongoing` where the issue that it leaves is active, else in the state of that issue, or in `state`.
    """
    moved = _recount(conn, row, made, [one.id for one in leaving])
    issue_rows.add_hours(conn, moved)
    issue_rows.add_hours(
        conn,
        [
            one._replace(issue=row.id, n=-one.n, unrecovered=-one.unrecovered, tasks_failed=-one.tasks_failed)
            for one in moved
        ],
    )
    live = round(row.live * sum(one.unrecovered for one in moved) / row.unrecovered) if row.unrecovered else 0
    new = _split_off(row, made, leaving, moved, live, why=why, state=state or row.state)
    row.frequency -= new.frequency
    row.unrecovered -= new.unrecovered
    row.tasks_failed -= new.tasks_failed
    row.live -= new.live
    row.title = title(row.category, staying[0].template, staying[0].error_type)
    row.samples = _samples(conn, [one.id for one in staying]) or row.samples
    new.samples = _samples(conn, [one.id for one in leaving])
    issue_rows.create(conn, [new])
    issue_rows.save(conn, [row])


def _split_off(
    row: IssueRow,
    made: int,
    leaving: Sequence[Interned],
    moved: Sequence[HourRow],
    live: int,
    *,
    why: str,
    state: IssueState,
) -> IssueRow:
    seen = [one.hour * _HOUR_S for one in moved]
    return IssueRow(
        id=made,
        category=row.category,
        title=title(row.category, leaving[0].template, leaving[0].error_type),
        severity=row.severity,
        state="ongoing" if state in ACTIVE else state,
        state_at=clock.now(),
        trend="stable",
        frequency=sum(one.n for one in moved),
        unrecovered=sum(one.unrecovered for one in moved),
        tasks_failed=sum(one.tasks_failed for one in moved),
        live=live,
        first_seen=max(row.first_seen, min(seen, default=row.first_seen)),
        last_seen=min(row.last_seen, max(seen, default=row.last_seen) + _HOUR_S),
        last_seq=row.last_seq,
        why=why,
        samples=[],
    )


def _recount(conn: Connection, row: IssueRow, made: int, leaving: Sequence[int]) -> list[HourRow]:
    """Hours of the leaving templates from their outcomes.

    Whether a step was recovered is not kept per outcome: steps leave with the share of unrecovered ones of their hour.
    """
    counted: dict[tuple[str, str, int], list[int]] = {}
    for part in _parts(leaving):
        query = select(outcomes.c.source, outcomes.c.task, outcomes.c.ts, outcomes.c.kind).where(
            outcomes.c.fingerprint.in_(part)
        )
        for source, task, ts, kind in conn.execute(query):
            tally = counted.setdefault((source, task, int(ts // _HOUR_S)), [0, 0])
            tally[kind == "task"] += 1
    held = {(one.source, one.task, one.hour): one for one in issue_rows.hours(conn, [row.id], 0)}
    return [_share(held[key], made, steps, tasks) for key, (steps, tasks) in sorted(counted.items()) if key in held]


def _share(held: HourRow, made: int, steps: int, tasks: int) -> HourRow:
    all_steps = held.n - held.tasks_failed
    lost = held.unrecovered - held.tasks_failed
    leaving = min(tasks, held.tasks_failed)
    moved_steps = min(steps, all_steps)
    share = round(lost * moved_steps / all_steps) if all_steps else 0
    return held._replace(issue=made, n=leaving + moved_steps, unrecovered=leaving + share, tasks_failed=leaving)


def _samples(conn: Connection, ids: Collection[int]) -> list[str]:
    from rsi.store import outcomes as stored  # noqa: PLC0415 - the name is the table's in this module

    found = stored.samples(conn, ids, issue_rows.SAMPLES * 4)
    return issue_rows.keep_samples([], [one.outcome.error or "" for one in found])


def _parts(ids: Sequence[int]) -> list[Sequence[int]]:
    return [ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK)]

"""Applying a `Delta` in the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection

from rsi.analyze import titles, unsure
from rsi.analyze.delta import HOUR_S, Delta, Place, Seen, Tally, Touch
from rsi.analyze.template import MASK_VERSION
from rsi.store import fingerprints, health, issue_rows, minutes, outcomes, pending, recategorize, rollups, rulings
from rsi.store.fingerprints import Interned, Key, NewTemplate
from rsi.store.issue_rows import HourRow, IssueRow
from rsi.store.minutes import MinuteRow
from rsi.store.rollups import RollupDelta

#: Why a template is in the cluster that it founded.
FOUNDED = "same template"
_NONE = "none"  # the word of what no rule decides


def write(conn: Connection, delta: Delta) -> None:
    """Write everything that follows from the rows of `delta`; fills in `delta.touched` and `delta.created`.

    The caller puts the watermark (`delta.up_to`) into the same transaction: then a crash repeats and loses nothing.
    """
    interned = _intern(conn, delta)
    fingerprints.count(conn, {interned[key].id: len(seen.seqs) for key, seen in delta.seen.items()})
    outcomes.set_fingerprints(conn, [(seq, interned[key].id) for key, seen in delta.seen.items() for seq in seen.seqs])
    recategorize.confirm(conn, _confirmed(delta, interned))
    _strike(conn, delta, interned)
    _wait(conn, delta, interned)
    unsure.remember(conn, delta.once)
    minutes.add(conn, _minutes(delta, interned))
    rollups.add(conn, _rollups(delta, interned))
    ids = {seen.slot: interned[key].id for key, seen in delta.seen.items()}
    health.save(
        conn,
        [
            row._replace(last_fingerprint=ids.get(row.last_fingerprint, row.last_fingerprint))
            if row.last_fingerprint is not None
            else row
            for row in delta.health
        ],
    )


def _intern(conn: Connection, delta: Delta) -> dict[Key, Interned]:
    """Every template as it lies in the store now; clusters may have been merged since the delta was made."""
    slots = {seen.slot: key for key, seen in delta.seen.items() if seen.slot > 0}
    there = {slots[id_]: found for id_, found in fingerprints.by_id(conn, slots).items()}
    there = {key: found for key, found in there.items() if _is_still(key, found)}
    left = [key for key in delta.seen if key not in there]
    there |= fingerprints.find(conn, left) if left else {}
    there |= rulings.kept_where_they_are(conn, [key for key in left if key not in there])
    return there | fingerprints.intern(conn, [_new(delta.seen[key]) for key in left if key not in there], delta.now)


def _is_still(key: Key, found: Interned) -> bool:
    """The same template; prototypes may have given it another category since the delta was made."""
    category, hashed = key
    return found.hash == hashed and (found.category == category or recategorize.by_prototype(found.classified_by))


def _confirmed(delta: Delta, interned: Mapping[Key, Interned]) -> dict[int, str]:
    """Templates that a rule decides, and that were prototypes' alone so far."""
    return {
        interned[key].id: seen.category.by
        for key, seen in delta.seen.items()
        if recategorize.by_prototype_alone(interned[key].classified_by)
        and interned[key].category == seen.category.name
        and seen.category.by not in (recategorize.BY, _NONE)
    }


def _new(seen: Seen) -> NewTemplate:
    return NewTemplate(
        seen.category.name,
        seen.fingerprint.hash,
        seen.fingerprint.template,
        seen.fingerprint.error_type,
        seen.category.by,
        MASK_VERSION,
        None,
        FOUNDED,
    )


def _strike(conn: Connection, delta: Delta, interned: Mapping[Key, Interned]) -> None:
    """Count failures, and steps that are lost now, into their issues and hours."""
    clusters = {key: interned[key].cluster for key in delta.seen}
    rows = issue_rows.load(conn, {*clusters.values(), *(step.issue for step in delta.lost)})
    made: dict[int, IssueRow] = {}
    hours: list[HourRow] = []
    for key, seen in delta.seen.items():
        row = rows.get(clusters[key])
        fresh = interned[key].n == 0
        if row is None:
            row = rows[clusters[key]] = made[clusters[key]] = _issue(seen, interned[key], delta.now)
        _count(row, seen, fresh=fresh)
        _touch(delta, row.id, seen.lost_at, seen.release)
        hours.extend(HourRow(row.id, *place, *_amounts(tally)) for place, tally in seen.places.items())
    for step in delta.lost:
        row = rows.get(step.issue)
        if row is not None:  # its issue may have been pruned with its outcomes
            row.unrecovered += 1
            row.live += not step.backfill
            _touch(delta, row.id, min(step.at, (step.hour + 1) * HOUR_S), None)
            hours.append(HourRow(row.id, step.source, step.task, step.hour, 0, 1, 0))
    issue_rows.create(conn, made.values())
    kept = {row.id: row for row in rows.values() if row.id not in made}
    issue_rows.save(conn, [row for row in kept.values() if row.id in delta.touched])
    issue_rows.add_hours(conn, hours)
    delta.created = sorted(made)


def _minutes(delta: Delta, interned: Mapping[Key, Interned]) -> Iterable[MinuteRow]:
    """Attempts, and failures of every issue, by minute."""
    for moment, n in delta.attempts.items():
        yield MinuteRow(moment.minute, minutes.ATTEMPTS, moment.source, n)
    for key, seen in delta.seen.items():
        for moment, strikes in seen.moments.items():
            yield MinuteRow(
                moment.minute, interned[key].cluster, moment.source, strikes.n, strikes.provider, strikes.release
            )


def _amounts(tally: Tally) -> tuple[int, int, int]:
    return tally.n, tally.unrecovered, tally.tasks_failed


def _issue(seen: Seen, home: Interned, now: float) -> IssueRow:
    return IssueRow(
        id=home.cluster,
        category=home.category,
        title=titles.of(seen.category, seen.fingerprint, seen.samples[-1] if seen.samples else None),
        severity=seen.severity,
        state="new",
        state_at=now,
        first_seen=seen.first,
        last_seen=seen.last,
        why=home.why,
        samples=[],
    )


def _count(row: IssueRow, seen: Seen, *, fresh: bool) -> None:
    row.frequency += len(seen.seqs)
    row.unrecovered += sum(tally.unrecovered for tally in seen.places.values())
    row.tasks_failed += sum(tally.tasks_failed for tally in seen.places.values())
    row.live += seen.live
    row.first_seen, row.last_seen = min(row.first_seen, seen.first), max(row.last_seen, seen.last)
    row.last_seq = max(row.last_seq, seen.seqs[-1])
    if fresh:
        row.samples = issue_rows.keep_samples(row.samples, seen.samples[:1])
    if len(row.samples) < issue_rows.SAMPLES:
        row.samples = issue_rows.keep_samples([*row.samples, *seen.samples], [])


def _touch(delta: Delta, issue: int, lost_at: float | None, release: str | None) -> None:
    touch = delta.touched.setdefault(issue, Touch())
    if lost_at is not None:
        touch.lost_at = lost_at if touch.lost_at is None else max(lost_at, touch.lost_at)
        touch.release = release or touch.release


def _wait(conn: Connection, delta: Delta, interned: Mapping[Key, Interned]) -> None:
    pending.remove(conn, delta.settled)
    pending.hand_up(conn, delta.handed_up)
    pending.add(
        conn,
        [
            {
                "source": step.source,
                "task": step.place.task,
                "parent": step.parent,
                "issue": interned[step.seen.key].cluster,
                "hour": step.place.hour,
                "backfill": step.backfill,
                "at": step.at,
            }
            for step in delta.waits
            if step.seen is not None
        ],
    )


def _rollups(delta: Delta, interned: Mapping[Key, Interned]) -> Iterable[RollupDelta]:
    """Failures by category; and what ingest counted as failed by its status, and was not, is taken out of ''.

    Such a task counts as a cancelled one does: neither as ok nor as failed.
    """
    summed: dict[tuple[Place, str], tuple[int, int]] = {}
    for key, seen in delta.seen.items():
        category = interned[key].category
        for place, tally in seen.places.items():
            tasks, steps = summed.get((place, category), (0, 0))
            summed[place, category] = (tasks + tally.tasks_failed, steps + tally.n - tally.tasks_failed)
    for (place, category), (tasks, steps) in summed.items():
        yield RollupDelta(*place[:2], category, place.hour, n=tasks, failed=tasks, steps=steps)
    for place, n in delta.excused.items():
        yield RollupDelta(*place[:2], rollups.ALL, place.hour, n=-n, failed=-n)

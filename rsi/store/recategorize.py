"""A template gets another category: its issue and its counters follow, in the caller's transaction.

Prototypes name what no rule decides, once: what they have decided before is left alone, so that everything may be
repeated. Rules that were changed decide anew (`rulings`). An issue keeps its id.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection, case, func, select, update

from rsi import clock
from rsi.classify import severity
from rsi.model import CATEGORIES, Severity
from rsi.store import decisions, issue_rows, journal, merges, meta, rollups
from rsi.store import fingerprints as templates
from rsi.store.engine import project
from rsi.store.fingerprints import Interned, Key
from rsi.store.issue_rows import HourRow
from rsi.store.rollups import RollupDelta
from rsi.store.schema import clusters, fingerprints
from rsi.store.titles import prefixed

UNKNOWN: Final = "unknown"
#: `classified_by` of what no rule decided …
BY: Final = "prototype"
#: … of what a rule had decided weakly, with its category …
OVER: Final = "prototype over "
#: … and what stands between such words, where rules or prototypes say the same of texts that came with more facts
#: (a status, a provider); a rule's stands first.
_AND: Final = ", "
#: The end of `why` where a rule said it.
DECIDES: Final = " decides"
#: How the template of an outcome begins that failed without a word: there is nothing to compare.
SILENT: Final = "no error text from"
#: Issues whose category is new and whose fixes were not planned yet: survives a crash between the two.
UNPLANNED: Final = "recategorised"
_ASKED: Final = "prototypes_asked"
_CHUNK: Final = 400  # hashes per statement


class Open(NamedTuple):
    """A template that no rule decides for sure."""

    id: int
    template: str
    error_type: str | None
    category: str


class Answer(NamedTuple):
    """The category of a template and why; `by` is the word of `Category.by`, `severity` a rule's own, if it has one."""

    category: str
    why: str
    by: str = BY
    severity: Severity | None = None


class Recategorized(NamedTuple):
    """An issue (its public id) with its new category and title."""

    issue: str
    category: str
    title: str


def unasked(conn: Connection, key: str, weak: Collection[str], limit: int) -> list[Open]:
    """The next templates with words that were not compared with the prototypes called `key`, oldest first.

    Args:
        conn: reads only.
        key: of the prototypes and the rules.
        weak: the `classified_by` of rules that may be overruled.
        limit: at most so many.
    """
    asked = meta.get(conn, _ASKED, {})
    after = asked.get("up_to", 0) if asked.get("key") == key else 0
    query = (
        select(fingerprints.c.id, fingerprints.c.template, fingerprints.c.error_type, fingerprints.c.category)
        .where(
            fingerprints.c.project == project(conn),
            fingerprints.c.id > after,
            (fingerprints.c.category == UNKNOWN) | fingerprints.c.classified_by.in_(sorted(weak)),
            fingerprints.c.template.not_like(f"{SILENT}%"),
        )
        .order_by(fingerprints.c.id)
        .limit(limit)
    )
    return [Open(*row) for row in conn.execute(query)]


def ask_again(conn: Connection, template: int) -> None:
    """No rule decides this template any more: it and those behind it are compared with the prototypes again."""
    told = meta.get(conn, _ASKED, {})
    if told.get("up_to", 0) >= template:
        meta.put(conn, _ASKED, told | {"up_to": template - 1})


def asked(conn: Connection, key: str, up_to: int) -> None:
    """Templates up to this id were compared with the prototypes called `key`: write it beside their answers."""
    meta.put(conn, _ASKED, {"key": key, "up_to": up_to})


def remembered(conn: Connection, asked: Collection[Key]) -> dict[Key, str]:
    """What prototypes decided: later texts of such a template, of which the rules say the same, belong there too.

    Args:
        conn: reads only.
        asked: what the rules say (a category, or `unknown`) and a template's hash.
    """
    found: dict[Key, str] = {}
    ordered = sorted({hashed for _, hashed in asked})
    for start in range(0, len(ordered), _CHUNK):
        query = (
            select(fingerprints.c.hash, fingerprints.c.category, fingerprints.c.classified_by)
            .where(
                fingerprints.c.project == project(conn),
                fingerprints.c.category.in_(CATEGORIES),  # so that the unique index finds them
                fingerprints.c.hash.in_(ordered[start : start + _CHUNK]),
            )
            .order_by(fingerprints.c.id.desc())
        )
        for row in conn.execute(query):
            for word in filter(by_prototype_alone, row.classified_by.split(_AND)):
                key = word.removeprefix(OVER) if word != BY else UNKNOWN, row.hash
                if key in asked:
                    found[key] = row.category
    return found


def over(ruled: str) -> str:
    """The `classified_by` of what prototypes say where the rules say this category."""
    return BY if ruled == UNKNOWN else f"{OVER}{ruled}"


def by_prototype(classified_by: str) -> bool:
    """Whether prototypes had a word in it."""
    return any(map(by_prototype_alone, classified_by.split(_AND)))


def by_prototype_alone(classified_by: str) -> bool:
    """Whether no rule says the same."""
    return classified_by.partition(_AND)[0] == BY or classified_by.startswith(OVER)


def decided_by(why: str) -> str:
    """The word of `Category.by` for the reason that an issue got its category: `prototype`, `rule:ID`, `none`."""
    if why.startswith(BY):
        return BY
    return why.removesuffix(DECIDES) if why.endswith(DECIDES) else "none"


def confirm(conn: Connection, decided: Mapping[int, str]) -> None:
    """Rules decide now what prototypes had decided (template → the rule's word): it is theirs as well."""
    for key, one in templates.by_id(conn, decided).items():
        both = f"{decided[key]}{_AND}{one.classified_by}"
        conn.execute(update(fingerprints).where(fingerprints.c.id == key).values(classified_by=both))


def recategorize(conn: Connection, answers: Mapping[int, Answer]) -> list[Recategorized]:
    """Give templates (by id) their category; the issues that changed.

    An issue takes the category of its oldest template; templates that differ from it leave for an issue of their own.
    What a person has merged stays together: it takes the one category that was named, and stays as it is if two were.
    """
    found = templates.by_id(conn, answers)
    homes = {
        one.cluster
        for one in found.values()
        if one.category != answers[one.id].category
        and not (by_prototype(one.classified_by) and by_prototype_alone(answers[one.id].by))
    }
    changed: list[Recategorized] = []
    for cluster in sorted(homes):
        changed += _recategorize(conn, cluster, answers)
    if changed:
        waiting = {*meta.get(conn, UNPLANNED, []), *(one.issue for one in changed)}
        meta.put(conn, UNPLANNED, sorted(waiting))
    return changed


def _recategorize(conn: Connection, cluster: int, answers: Mapping[int, Answer]) -> list[Recategorized]:
    held = templates.of_cluster(conn, cluster)
    wanted = _agreed(_tied(conn, held), answers)
    parts: dict[str, list[Interned]] = {}
    for one in held:
        parts.setdefault(wanted[one.id].category if one.id in wanted else one.category, []).append(one)
    (first, staying), *others = parts.items()
    changed = []
    for category, leaving in others:
        made = _part(conn, cluster, staying, leaving)
        changed += _name(conn, made, category, leaving, wanted)
    return _name(conn, cluster, first, staying, wanted) + changed


def _tied(conn: Connection, held: Sequence[Interned]) -> list[list[int]]:
    """The templates in groups that a person has merged; most are alone."""
    root = {one.id: decisions.of(one) for one in held}
    for a, b in decisions.friends(conn, set(root.values())):
        if b in root.values():
            root = {key: a if at == b else at for key, at in root.items()}
    groups: dict[str, list[int]] = {}
    for key, at in root.items():
        groups.setdefault(at, []).append(key)
    return list(groups.values())


def _agreed(groups: Iterable[Sequence[int]], answers: Mapping[int, Answer]) -> dict[int, Answer]:
    wanted: dict[int, Answer] = {}
    for group in groups:
        named = [answers[key] for key in group if key in answers]
        if len({one.category for one in named}) == 1:
            wanted |= {key: answers.get(key, named[0]._replace(why=merges.BY_PERSON)) for key in group}
    return wanted


def _part(conn: Connection, cluster: int, staying: Sequence[Interned], leaving: Sequence[Interned]) -> int:
    """Leave for a cluster of their own; its number."""
    category = leaving[0].category
    made = templates.found_clusters(conn, [category], clock.now())[category][0]
    templates.move(conn, [one.id for one in leaving], made)
    row = issue_rows.load(conn, [cluster]).get(cluster)
    if row is not None:
        merges.divide(conn, row, made, staying, leaving, why=f"another category than {row.ref}")
    return made


def _name(
    conn: Connection, cluster: int, category: str, held: Sequence[Interned], wanted: Mapping[int, Answer]
) -> list[Recategorized]:
    """Everything of one cluster follows to its category, and into the issue that this template has there already."""
    before = held[0].category
    if category == before:
        return []
    rivals = templates.find(conn, [(category, decisions.of(one)) for one in held])
    for one in held:
        _name_template(conn, one, wanted[one.id], rivals)
        rivals.setdefault((category, decisions.of(one)), one)
    conn.execute(update(clusters).where(clusters.c.id == cluster).values(category=category))
    row = issue_rows.load(conn, [cluster]).get(cluster)
    if row is None:
        return []
    _shift(conn, issue_rows.hours(conn, [cluster], 0), before, category)
    answer = wanted[held[0].id]
    row.category, row.severity, row.why = category, answer.severity or severity(category), answer.why
    row.title = prefixed(category, row.title.removeprefix(f"{before}: "))
    issue_rows.save(conn, [row])
    journal.append(
        conn, "daemon", "issue.recategorised", row.ref,
        {"before": before, "after": category, "by": answer.by, "templates": [one.id for one in held]},
    )  # fmt: skip
    for rival in rivals.values():
        merges.auto_merge(conn, cluster, rival.cluster, "same template")
    row = issue_rows.load(conn, [cluster])[cluster]
    return [Recategorized(row.ref, category, row.title)]


def _name_template(conn: Connection, one: Interned, answer: Answer, rivals: Mapping[Key, Interned]) -> None:
    """Its vector goes: it has to find its neighbours anew.

    Where the category has this template already, that one is where later texts go, and this one keeps what it has
    under a hash that no text has.
    """
    rival = rivals.get((answer.category, decisions.of(one)))
    said = rival.classified_by.split(_AND) if rival is not None else []
    if rival is not None and by_prototype_alone(answer.by) and answer.by not in said:
        values = {"classified_by": f"{rival.classified_by}{_AND}{answer.by}"}
        conn.execute(update(fingerprints).where(fingerprints.c.id == rival.id).values(values))
    conn.execute(
        update(fingerprints)
        .where(fingerprints.c.id == one.id)
        .values(
            category=answer.category,
            hash=decisions.of(one) if rival is None else f"{decisions.of(one)}:{one.id}",
            classified_by=answer.by,
            why=answer.why,
            model=None,
            vector=None,
        )
    )


def _shift(conn: Connection, hours: Iterable[HourRow], before: str, after: str) -> None:
    """The counters by category, as `analyze.write` made them."""
    for sign, name in ((-1, before), (1, after)):
        rollups.add(
            conn,
            (
                RollupDelta(
                    hour.source, hour.task, name, hour.hour,
                    n=sign * hour.tasks_failed, failed=sign * hour.tasks_failed,
                    steps=sign * (hour.n - hour.tasks_failed),
                )
                for hour in hours
            ),
        )  # fmt: skip


def unplanned(conn: Connection) -> dict[int, dict[tuple[str, str], int]]:
    """Issues whose category is new and whose fixes were not planned yet → failures per (source, task)."""
    found: dict[int, dict[tuple[str, str], int]] = {}
    for key, row in issue_rows.load(conn, [issue_rows.number(ref) for ref in meta.get(conn, UNPLANNED, [])]).items():
        scopes = found.setdefault(key, {})
        for hour in issue_rows.hours(conn, [row.id], 0):
            scopes[hour.source, hour.task] = scopes.get((hour.source, hour.task), 0) + hour.n
    return found


def planned(conn: Connection, issues: Collection[int]) -> None:
    """These issues were handed to planning."""
    if issues:
        left = [ref for ref in meta.get(conn, UNPLANNED, []) if issue_rows.number(ref) not in issues]
        meta.put(conn, UNPLANNED, left)


def resting_on(conn: Connection, source: str, task: str, categories: Collection[str], since_hour: int) -> float:
    """How many unrecovered failures of a scope have one of these categories by prototypes alone.

    Issues that hold both kinds count by the share of their templates' failures.
    """
    alone = func.sum(case((fingerprints.c.classified_by.startswith(BY), fingerprints.c.n), else_=0))
    query = (
        select(fingerprints.c.cluster, alone, func.sum(fingerprints.c.n))
        .where(fingerprints.c.project == project(conn), fingerprints.c.category.in_(categories))
        .group_by(fingerprints.c.cluster)
        .having(alone > 0)
    )
    share = {cluster: float(mine / whole) for cluster, mine, whole in conn.execute(query)}
    return sum(
        hour.unrecovered * share[hour.issue]
        for hour in issue_rows.hours(conn, share, since_hour)
        if (hour.source, hour.task) == (source, task)
    )

"""Pairs of issues that move together now → incidents: one per group that hangs together, with a likely cause."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from rsi.analyze import causes
from rsi.analyze.causes import About
from rsi.analyze.correlate import QUIET
from rsi.model import Link
from rsi.store.correlations import IncidentRow, PairRow

QUIET_S: Final = QUIET * 60.0
#: Links that an incident shows, surest first: of thirty issues there are hundreds.
LINKS: Final = 50


def arrange(
    there: Sequence[IncidentRow], pairs: Sequence[PairRow], about: Mapping[int, About], now: float
) -> list[IncidentRow]:
    """The incidents that are new or have changed.

    An incident that grows keeps its id; of two that join, the older id stays and the other redirects. One whose issues
    did not move together for `QUIET_S` is over.

    Args:
        there: the open ones, oldest first; they are changed in place.
        pairs: every pair that moved together within `QUIET_S`.
        about: what is known of the issues.
        now: epoch seconds.
    """
    changed: dict[int, IncidentRow] = {}
    for group in _groups(pairs):
        members = {key for pair in group for key in pair[:2]}
        owners = [row for row in there if row.merged_into is None and members & set(row.issues)]
        home = owners[0] if owners else IncidentRow(started=now, last_seen=0.0, issues=[])
        before = _shape(home)
        for other in owners[1:]:
            _join(home, other)
            changed[id(other)] = other
        _grow(home, members, group, about)
        if _shape(home) != before:
            changed[id(home)] = home
    for row in there:
        if row.merged_into is None and row.last_seen < now - QUIET_S:
            row.state = "over"
            changed[id(row)] = row
    return list(changed.values())


def _groups(pairs: Sequence[PairRow]) -> list[list[PairRow]]:
    """Connected components."""
    parent: dict[int, int] = {}

    def root(key: int) -> int:
        while parent.setdefault(key, key) != key:
            key = parent[key]
        return key

    for pair in pairs:
        parent[root(pair.a)] = root(pair.b)
    found: dict[int, list[PairRow]] = {}
    for pair in pairs:
        found.setdefault(root(pair.a), []).append(pair)
    return list(found.values())


def _shape(row: IncidentRow) -> tuple[object, ...]:
    return row.started, row.last_seen, tuple(row.issues), tuple(row.sources), row.title, row.cause, len(row.links)


def _join(home: IncidentRow, other: IncidentRow) -> None:
    home.issues = sorted({*home.issues, *other.issues})
    home.links = [*home.links, *other.links]
    home.sources = sorted({*home.sources, *other.sources})
    home.started, home.last_seen = min(home.started, other.started), max(home.last_seen, other.last_seen)
    other.merged_into, other.state = home.id, "over"


def _grow(home: IncidentRow, members: Collection[int], group: Sequence[PairRow], about: Mapping[int, About]) -> None:
    home.issues = sorted({*home.issues, *members})
    home.started = min(home.started, *(pair.since for pair in group))
    home.last_seen = max(home.last_seen, *(pair.until for pair in group))
    said = {name for key in members if key in about for name in about[key].sources}
    home.sources = sorted({*home.sources, *said})
    fresh = {frozenset((link.a, link.b)): link for link in (_link(pair, about) for pair in group)}
    older = {frozenset((link.a, link.b)): link for link in home.links}
    home.links = sorted({**older, **fresh}.values(), key=lambda link: (link.q, -link.times, link.a, link.b))[:LINKS]
    known = [(about[pair.a], about[pair.b]) for pair in group if pair.a in about and pair.b in about]
    if known:
        home.cause = causes.likely(known)
    home.title = _title(home)


def _title(row: IncidentRow) -> str:
    where = f"in {row.sources[0]}" if len(row.sources) == 1 else f"across {len(row.sources)} sources"
    return f"{len(row.issues)} issues move together {where}"


def _link(pair: PairRow, about: Mapping[int, About]) -> Link:
    return Link(
        a=f"i{pair.a}",
        b=f"i{pair.b}",
        lag_min=pair.lag,
        times=pair.times,
        expected=round(pair.expected, 2),
        q=float(f"{pair.q:.2g}"),
        named=pair.named,
        says=_says(pair, about),
    )


def _says(pair: PairRow, about: Mapping[int, About]) -> str:
    one, other = (f"i{key}{_of(about.get(key))}" for key in (pair.a, pair.b))
    moves = f"{other} strikes with {one}" if pair.lag == 0 else f"{other} follows {one} by {pair.lag} min"
    reason = "; the taxonomy expects it" if pair.named else ""
    return (
        f"{moves}: close together in {pair.times} minutes of the last two days, {pair.expected:.1f} expected by chance"
        f" (q {pair.q:.2g}{reason})"
    )


def _of(about: About | None) -> str:
    return f" ({about.category})" if about else ""


def recent(pairs: Iterable[PairRow], now: float) -> list[PairRow]:
    """Those that moved together within `QUIET_S`."""
    return [pair for pair in pairs if pair.until >= now - QUIET_S]

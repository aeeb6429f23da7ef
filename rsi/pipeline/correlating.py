"""Which issues move together now, looked at about once a minute, beside everything else.

A look reads the minutes of the last two days, compares in a thread of its own and writes pairs and incidents in one
short transaction. It rests for twenty times as long as it took: a home with many issues is looked at less often.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection

from rsi import clock
from rsi.analyze import causes, correlate, incidents
from rsi.analyze.causes import About
from rsi.analyze.correlate import QUIET, WIDTH, Counts, Pair, Series
from rsi.analyze.delta import MINUTE_S
from rsi.model import Incident
from rsi.store import Store, correlations, issue_rows, minutes
from rsi.store.correlations import PairRow
from rsi.store.minutes import MinuteRow, Struck

LOOK_EVERY_S: Final = 60.0
RESTS: Final = 20.0
"""A look is followed by a pause of this many times its duration: at most 5 % of one processor."""
AT_ONCE: Final = 48
"""Issues of one look, those that struck last first: 1,128 pairs, a second or two if all of them move together."""
MOST_ROWS: Final = 200_000
"""Minutes of issues that a look reads, some 30 MB for as long as it lasts; what struck last goes first."""
SOURCES: Final = 64
"""Sources whose own attempts are read, those that fail most; the traffic of all stands in for the others."""
LEAST_MINUTES: Final = correlate.NAMED.support
"""An issue that struck in fewer minutes cannot be told from chance."""
SLACK: Final = 60
"""Minutes that are kept beyond the window, so that old ones are forgotten an hour at a time."""
LEAVE_S: Final = 0.5

log = logging.getLogger("rsi.pipeline")


class _Asked(NamedTuple):
    """What a look has read. `begin` is the first epoch minute of the window; `stale`: older ones are to go."""

    begin: int
    stale: bool
    rows: Sequence[MinuteRow] = ()
    traffic: Mapping[str, Counts] = {}
    categories: Mapping[int, str] = {}
    known: Sequence[PairRow] = ()
    unseen: int = 0


class Correlating:
    """Looks for issues that move together.

    Args:
        store: where minutes, pairs and incidents are.
        failed: hears of errors.
        worked: hears of looks that went well, with the incidents that are new, have grown or are over.
    """

    def __init__(
        self, store: Store, failed: Callable[[BaseException], None], worked: Callable[[list[Incident]], None]
    ) -> None:
        self._store = store
        self._failed = failed
        self._worked = worked
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._due = float("-inf")

    def begin(self) -> None:
        """Look, if it is time to; returns at once."""
        with self._lock:
            if clock.monotonic() < self._due or self._stopping.is_set():
                return
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self.run, name="rsi-correlations", daemon=True)
                self._thread.start()

    def run(self) -> None:
        """Look in this thread, now."""
        began = clock.monotonic()
        try:
            changed = self._look(clock.now())
        except Exception as error:  # noqa: BLE001 - the border of the thread: incidents are a luxury
            if not self._stopping.is_set():
                log.warning("looking for issues that move together failed: %s", error)
                self._failed(error)
        else:
            self._worked(changed)
        ended = clock.monotonic()
        self._due = ended + max(LOOK_EVERY_S, RESTS * (ended - began))

    def stop(self) -> None:
        """Look no more; what was being looked at is seen after the next start."""
        self._stopping.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(LEAVE_S)

    def _look(self, now: float) -> list[Incident]:
        with self._store.read() as conn:
            asked = _read(conn, now)
            there = correlations.open_incidents(conn)
        if asked.stale:
            self._forget(asked.begin)
        if not there and len(asked.categories) < 2:  # noqa: PLR2004 - it takes two
            return []
        about = _about(asked)
        pairs = self._pairs(asked, about)
        if self._stopping.is_set() or not (pairs or there):
            return []

        def job(conn: Connection) -> list[Incident]:
            correlations.put(conn, pairs)
            known = correlations.since(conn, now - incidents.QUIET_S)
            rows = incidents.arrange(correlations.open_incidents(conn), known, about, now)
            correlations.save(conn, rows)
            return [correlations.public(row) for row in rows if row.merged_into is None]

        return self._store.write(job)

    def _pairs(self, asked: _Asked, about: Mapping[int, About]) -> list[PairRow]:
        found: dict[int, Series] = {}
        for key, strikes in _strikes(asked).items():
            if self._stopping.is_set():
                return []
            found[key] = correlate.series(strikes, asked.traffic)
        before = {_key(pair.a, pair.b): pair for pair in asked.known}
        moving = correlate.moving(
            found,
            lambda a, b: causes.named(about[a], about[b]) is not None,
            WIDTH - QUIET,
            {key: pair.q for key, pair in before.items()},
            asked.unseen,
        )
        return [_row(pair, asked.begin, before.get(_key(pair.first, pair.second))) for pair in moving]

    def _forget(self, before: int) -> None:
        while not self._stopping.is_set() and self._store.write(lambda conn: minutes.forget(conn, before)):
            pass


def _read(conn: Connection, now: float) -> _Asked:
    begin = int(now // MINUTE_S) - WIDTH + 1
    oldest = minutes.oldest(conn)
    asked = _Asked(begin, stale=oldest is not None and oldest < begin - SLACK)
    struck = [one for one in minutes.struck(conn, begin) if one.minutes >= LEAST_MINUTES]
    if sum(one.last >= begin + WIDTH - QUIET for one in struck) < 2:  # noqa: PLR2004 - it takes two that are news
        return asked
    ids = _some(struck)
    rows = minutes.of_issues(conn, ids, begin)
    return asked._replace(
        rows=rows,
        traffic=_traffic(conn, rows, begin, max(begin, oldest or begin)),
        categories={key: row.category for key, row in issue_rows.load(conn, ids).items()},
        known=correlations.since(conn, now - incidents.QUIET_S),
        unseen=len(struck) - len(ids),
    )


def _some(struck: Sequence[Struck]) -> list[int]:
    """The issues that struck last, as many as a look may read."""
    read = 0
    ids: list[int] = []
    for one in struck[:AT_ONCE]:
        read += one.minutes
        if read > MOST_ROWS and len(ids) > 1:
            break
        ids.append(one.issue)
    return ids


def _traffic(conn: Connection, rows: Sequence[MinuteRow], begin: int, first: int) -> dict[str, Counts]:
    """Attempts by source and minute of the window, as far as sources tell them.

    `''` stands in for the others: the attempts of all; where nobody tells any, every minute since the first report.
    """
    struck = Counter[str]()
    for row in rows:
        struck[row.source] += row.n
    totals = minutes.totals(conn, begin)
    told = {source for source, n in totals.items() if n.attempts >= correlate.ATTEMPTS_PER_FAILURE * n.failures}
    if not told:
        return {"": dict.fromkeys(range(first - begin, WIDTH), 1)}
    asked = [source for source, _ in struck.most_common(SOURCES) if source in told]
    return {
        source: {minute - begin: n for minute, n in counted.items() if minute - begin < WIDTH}
        for source, counted in minutes.attempts(conn, asked, begin).items()
    }


def _about(asked: _Asked) -> dict[int, About]:
    """What is known of the issues, from their last hour where they have one."""
    lately: dict[int, list[MinuteRow]] = {}
    for row in asked.rows:
        if row.minute >= asked.begin + WIDTH - QUIET:
            lately.setdefault(row.issue, []).append(row)
    return {key: _of(key, category, lately.get(key, ())) for key, category in asked.categories.items()}


def _of(issue: int, category: str, rows: Sequence[MinuteRow]) -> About:
    return About(
        issue,
        category,
        frozenset(row.source for row in rows),
        frozenset(row.provider for row in rows if row.provider),
        frozenset(row.release for row in rows if row.release),
    )


def _strikes(asked: _Asked) -> dict[int, dict[str, Counter[int]]]:
    """Issue → source → minute of the window → failures."""
    found: dict[int, dict[str, Counter[int]]] = {}
    for row in asked.rows:
        at = row.minute - asked.begin
        if at < WIDTH:  # a clock that runs ahead
            found.setdefault(row.issue, {}).setdefault(row.source, Counter())[at] += row.n
    return found


def _key(a: int, b: int) -> tuple[int, int]:
    return min(a, b), max(a, b)


def _row(pair: Pair, begin: int, before: PairRow | None) -> PairRow:
    """As it is stored; a pair that was known keeps what was found, and only lasts longer."""
    together = pair.together
    since, until = ((begin + minute) * MINUTE_S for minute in (together.since, together.until))
    if before is not None:
        return before._replace(
            times=together.times,
            expected=together.expected,
            since=min(since, before.since),
            until=max(until, before.until),
        )
    return PairRow(
        pair.first, pair.second, together.lag, together.times, together.expected, pair.q, pair.named, since, until
    )

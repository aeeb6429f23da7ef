"""Once an hour: whether the scopes of verified fixes fail again, and whose fault it is (`rsi.verify.regression`).

Nothing is rolled back here: while a holdout stands its test does that, and afterwards nobody can tell.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection

from rsi import clock
from rsi.fix import apply
from rsi.model import FixState, Regression
from rsi.notify import Notifier
from rsi.pipeline.acted import Acted, Regressed
from rsi.store import fixes, journal, regressions, trials
from rsi.store.fixes import FixRow
from rsi.verify import regression

LOOK_EVERY_S: Final = 3_600.0
"""Its window are whole hours: more looks see nothing more."""
WATCHED: Final[tuple[FixState, ...]] = ("verified",)
SUSPECTED: Final = "suspected"


class Regressing:
    """Looks after verified fixes."""

    def __init__(self) -> None:
        self._looked = float("-inf")
        self._open: set[int] = set()

    def look(self, conn: Connection, acted: Acted, now: float) -> None:
        """What has changed since the last look; writes it down and into `acted`."""
        fresh = now - self._looked >= LOOK_EVERY_S
        if not (fresh or self._open):
            return
        verified = {fix.id: fix for fix in fixes.in_states(conn, WATCHED)}
        if not fresh and self._open <= verified.keys():
            return
        before = regressions.load(conn)
        if fresh:
            found = {key: said for key, fix in verified.items() if (said := _now(conn, fix, before.get(key), now))}
            self._looked = now
        else:  # one that was open is not verified any more
            found = {key: said for key, said in before.items() if key in verified}
        for key in sorted(before.keys() | found.keys()):
            was, said = before.get(key), found.get(key)
            if (was and was.kind) != (said and said.kind):
                acted.regressed.append(_note(conn, verified.get(key) or fixes.get(conn, key), was, said))
        if found != before:
            regressions.put(conn, found)
        self._open = set(found)


def _now(conn: Connection, fix: FixRow, was: Regression | None, now: float) -> Regression | None:
    found = regression.look(conn, fix, trials.get(conn, fix.id), now)
    if found is None:
        return None
    since = was.since if was is not None and was.kind == found.kind else clock.iso(now)
    return Regression(kind=found.kind, why=found.why, since=since)


def _note(conn: Connection, fix: FixRow, was: Regression | None, said: Regression | None) -> Regressed:
    what = "fix.regression" if said is not None else "fix.regression_over"
    told = said or was
    detail = {"kind": told.kind, "why": told.why} if said is not None and told is not None else {}
    journal.append(conn, apply.DAEMON, what, fix.ref, detail)
    return Regressed(fix, was, said)


def tell(notifier: Notifier, acted: Acted) -> None:
    """Who asked for alarms hears of a suspicion, and of its end."""
    for one in acted.regressed:
        was, now = (said is not None and said.kind == SUSPECTED for said in (one.was, one.now))
        if now and not was:
            notifier.tell("alarm", {**_names(one.fix), "kind": SUSPECTED, "why": one.now.why if one.now else ""})
        elif was and not now:
            notifier.tell("resolved", _names(one.fix), of="alarm")


def _names(fix: FixRow) -> dict[str, Any]:
    return {
        "of": "regression",
        "id": fix.ref,
        "source": fix.source,
        "task": fix.task,
        "state": fix.state,
        "at": clock.iso(clock.now()),
    }

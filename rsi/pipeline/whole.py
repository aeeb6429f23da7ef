"""Fixes that cannot be split by unit: a file is for everyone who reads it.

They are applied as a whole, and their source is held against sources that do not read the file (`rsi.verify.unsplit`).
Without such a source they stay undecided.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection

from rsi.config import Config
from rsi.fix import apply, edit
from rsi.model import FixState
from rsi.pipeline.acted import Acted
from rsi.store import fixes
from rsi.store.fixes import FixRow
from rsi.verify import decide, unsplit

ASK_EVERY_S: Final = 1.0
"""A busy daemon runs twenty cycles a second; each look asks which other fixes have moved."""
TRIED: Final[tuple[FixState, ...]] = ("canary",)


class Whole:
    """Watches them.

    Args:
        config: whose files are whose, and how long a verdict may take.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._look_at = float("-inf")

    def begin(self, conn: Connection, fix: FixRow, now: float) -> None:
        """It has just been written; in the transaction that says so."""
        if fix.state in TRIED:
            unsplit.begin(conn, fix, now, also_touched=readers(self._config, fix))

    def verify(self, conn: Connection, acted: Acted, now: float) -> None:
        """What arrived since, and what that says of each."""
        if now < self._look_at:
            return
        self._look_at = now + ASK_EVERY_S
        tried = [fix for fix in fixes.in_states(conn, TRIED) if edit.is_file(fix)]
        watched = set(unsplit.running(conn))
        for over in watched - {fix.id for fix in tried}:
            unsplit.end(conn, over)
        for fix in tried:
            if fix.id not in watched:
                self.begin(conn, fix, now)
            self._judge(conn, fix, acted, now)

    def _judge(self, conn: Connection, fix: FixRow, acted: Acted, now: float) -> None:
        fed = unsplit.feed(conn, fix.id, self._config.verify.silent_after, now)
        due = fix.deadline is not None and now >= fix.deadline
        if not (fed or due or fix.verdict is None):
            return
        verdict = unsplit.decide(conn, fix.id, now)
        said = decide.same(fix.verdict, verdict)
        if not said:
            fix = fixes.change_to(conn, fix.id, now, verdict=verdict)
        at_deadline = decide.at_deadline(verdict, self._config.fix.undecided)
        after = apply.act(conn, fix, verdict, self._config, now, at_deadline)
        if after.state != fix.state:
            unsplit.end(conn, fix.id)
            acted.ended.append(after)
        if not said:
            acted.judged.append((after, verdict))


def readers(config: Config, fix: FixRow) -> set[str]:
    """The sources that the file of a fix is declared for, `*` among them where it is for all."""
    return {one.source for one in config.targets if one.file == edit.place(fix.change)}

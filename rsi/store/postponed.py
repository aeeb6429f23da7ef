"""Categories that wait: an issue keeps its category while a fix of it is being tried.

A trial counts failures of one category in one scope. Were the issue moved in the middle, both arms would lose their
failures at once and the rest of the trial would speak of something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection

from rsi.model import FixState
from rsi.store import fingerprints as templates
from rsi.store import fixes, meta
from rsi.store.recategorize import Answer

#: A fix that is being tried, or is about to be.
TRIED: Final[tuple[FixState, ...]] = ("checking", "canary")
_POSTPONED: Final = "prototypes_postponed"


def tried(conn: Connection) -> set[int]:
    """The issues (numbers) of which a fix is being tried; where issues are merged their fixes go along."""
    return {fix.issue for fix in fixes.in_states(conn, TRIED)}


def ready(conn: Connection, key: str) -> dict[int, Answer]:
    """Answers (by template) that waited for a trial which is over by now."""
    return parted(conn, _waiting(conn, key))[0]


def settle(conn: Connection, key: str, answers: Mapping[int, Answer]) -> dict[int, Answer]:
    """Of these answers and those that wait, what may be written now; the rest waits.

    Args:
        conn: writes.
        key: of the prototypes and the rules; answers of others are forgotten, for they are asked again.
        answers: new ones, which replace what waits for the same template.
    """
    now, later = parted(conn, _waiting(conn, key) | dict(answers))
    kept = {str(template): list(answer) for template, answer in later.items()}
    if kept or meta.get(conn, _POSTPONED) is not None:
        meta.put(conn, _POSTPONED, {"key": key, "answers": kept})
    return now


def _waiting(conn: Connection, key: str) -> dict[int, Answer]:
    held: dict[str, Any] = meta.get(conn, _POSTPONED, {})
    if held.get("key") != key:
        return {}
    return {int(template): Answer(*answer) for template, answer in held["answers"].items()}


def parted(conn: Connection, answers: Mapping[int, Answer]) -> tuple[dict[int, Answer], dict[int, Answer]]:
    """Those that may be written, and those that have to wait because a fix of their issue is being tried."""
    busy = tried(conn) if answers else set()
    if not busy:
        return dict(answers), {}
    held = {key for key, one in templates.by_id(conn, answers).items() if one.cluster in busy}
    return (
        {key: answer for key, answer in answers.items() if key not in held},
        {key: answer for key, answer in answers.items() if key in held},
    )

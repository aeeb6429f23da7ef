"""`/health`, and `/patterns` as those who came before us know it."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from sqlalchemy import Connection

from rsi import clock
from rsi.analyze import health
from rsi.model import Health, Issue
from rsi.store import issues
from rsi.web.answer import Answer, ok
from rsi.web.context import Context
from rsi.web.table import Ask, Entry, Parameter

_PATTERNS: Final = 100
#: Health changes with outcomes (the pipeline tells) and, by decay alone, too slowly to see within a second.
_FRESH_S: Final = 1.0


async def _health(ask: Ask) -> Answer:
    source = ask.query.get("source") or None
    if source is not None:
        return ok(await asyncio.to_thread(_read, ask.context, source))
    context = ask.context
    now, changes = clock.monotonic(), context.live.health_changes
    remembered = context.remembered.get("health")
    if remembered is None or remembered[0] != changes or not 0 <= now - remembered[1] < _FRESH_S:
        answer = ok(await asyncio.to_thread(_read, context))
        remembered = context.remembered["health"] = (changes, now, answer)
    return remembered[2]


def _read(context: Context, source: str | None = None) -> Health:
    with context.store.read() as conn:
        return health.read(conn, context.config, clock.now(), source=source)


async def _patterns(ask: Ask) -> Answer:
    return ok(await asyncio.to_thread(_read_patterns, ask.context))


def _read_patterns(context: Context) -> dict[str, Any]:
    with context.store.read() as conn:
        return {"health_score": _score(conn, context), "patterns": issues.list_issues(conn, limit=_PATTERNS)[0]}


def _score(conn: Connection, context: Context) -> float | None:
    return health.read(conn, context.config, clock.now()).health_score


ENTRIES: Final = (
    Entry(
        "GET", "/health", "Posterior of the success rate with its 95 % interval, over all and per source.", _health,
        query=(Parameter("source", "only this source"),), answers=Health,
    ),
    Entry(
        "GET", "/patterns", "Health and the issues, strongest first.", _patterns,
        answers={"health_score": float | None, "patterns": list[Issue]},
    ),
)  # fmt: skip

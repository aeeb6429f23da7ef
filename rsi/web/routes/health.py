"""`/health`, and `/patterns` as those who came before us know it."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from rsi import clock
from rsi.analyze import health
from rsi.model import Health, Issue
from rsi.store import issues
from rsi.web.answer import ok
from rsi.web.context import Context, context_of
from rsi.web.table import Entry, Parameter

_PATTERNS: Final = 100


async def _health(request: Request) -> Response:
    source = request.query_params.get("source") or None
    if source is not None:
        return ok(await asyncio.to_thread(_read, context_of(request), source))
    context = context_of(request)
    return await context.health.answer(context.live.health_changes, lambda: ok(_read(context)))


def _read(context: Context, source: str | None = None) -> Health:
    with context.store.read() as conn:
        return health.read(conn, context.config, clock.now(), source=source)


async def _patterns(request: Request) -> Response:
    return ok(await asyncio.to_thread(_read_patterns, context_of(request)))


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

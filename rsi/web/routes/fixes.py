"""What was or could be done about it, and deciding on it."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from rsi.model import Fix
from rsi.store import fixes
from rsi.web.answer import ok
from rsi.web.context import Context, context_of
from rsi.web.routes.asked import flag, json_of, number, who
from rsi.web.table import Entry, Level, Parameter

_FILTERS: Final = ("state", "source", "task", "issue", "rule")
_LIMIT: Final = 500
_MOST: Final = 5000
_ALL: Final = "all"


async def _list(request: Request) -> Response:
    filters: dict[str, Any] = {name: request.query_params[name] for name in _FILTERS if request.query_params.get(name)}
    limit = number(request.query_params, "limit", default=_LIMIT, least=1, most=_MOST)
    return ok({"fixes": await asyncio.to_thread(_read, context_of(request), filters, int(limit))})


def _read(context: Context, filters: dict[str, Any], limit: int) -> list[Fix]:
    with context.store.read() as conn:
        return fixes.list_fixes(conn, limit=limit, **filters)


async def _one(request: Request) -> Response:
    return ok(await asyncio.to_thread(_read_one, context_of(request), request.path_params["id"]))


def _read_one(context: Context, ident: str) -> Fix:
    with context.store.read() as conn:
        return fixes.get_fix(conn, ident)


async def _approve(request: Request) -> Response:
    now = flag(await json_of(request), "now")
    return ok(
        await asyncio.to_thread(context_of(request).pipeline.approve, request.path_params["id"], who(request), now=now)
    )


async def _reject(request: Request) -> Response:
    await json_of(request)
    return ok(await asyncio.to_thread(context_of(request).pipeline.reject, request.path_params["id"], who(request)))


async def _rollback(request: Request) -> Response:
    await json_of(request)
    pipeline, ident = context_of(request).pipeline, request.path_params["id"]
    if ident == _ALL:
        return ok({"fixes": await asyncio.to_thread(pipeline.rollback_all, who(request))})
    return ok(await asyncio.to_thread(pipeline.rollback, ident, who(request)))


ENTRIES: Final = (
    Entry(
        "GET", "/v1/fixes", "Fixes, newest first, in all states.", _list,
        query=(
            Parameter("state", "one state, or several separated by commas"), Parameter("source", "of this source"),
            Parameter("task", "of this task"), Parameter("issue", "for this issue"), Parameter("rule", "of this rule"),
            Parameter("limit", "1..5000, default 500", "integer"),
        ),
        answers={"fixes": list[Fix]}, also=(404, 422),
    ),
    Entry("GET", "/v1/fixes/{id}", "One fix with verdict, evidence, cost and journal.", _one, answers=Fix, also=(404,)),
    Entry("POST", "/v1/fixes/{id}/approve", "Start checks and canary; with `now`, 100 % at once and unverified.",
          _approve, level=Level.PRIVILEGED, body={"now": bool}, answers=Fix, also=(404, 409, 422)),
    Entry("POST", "/v1/fixes/{id}/reject", "Say no; it is not proposed again.", _reject,
          level=Level.PRIVILEGED, answers=Fix, also=(404, 409)),
    Entry("POST", "/v1/fixes/{id}/rollback", "Take it back (`all`: every live one): the next call does not see it.",
          _rollback, level=Level.PRIVILEGED, answers=Fix, also=(404, 409)),
)  # fmt: skip

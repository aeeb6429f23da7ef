"""What was or could be done about it, and deciding on it."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from rsi.model import Fix
from rsi.store import fixes
from rsi.web.answer import Answer, ok
from rsi.web.context import Context
from rsi.web.routes.asked import WHO, flag, number
from rsi.web.table import Ask, Entry, Parameter

_FILTERS: Final = ("state", "source", "task", "issue", "rule")
_LIMIT: Final = 500
_MOST: Final = 5000
_ALL: Final = "all"


async def _list(ask: Ask) -> Answer:
    filters: dict[str, Any] = {name: ask.query[name] for name in _FILTERS if ask.query.get(name)}
    limit = number(ask.query, "limit", default=_LIMIT, least=1, most=_MOST)
    return ok({"fixes": await asyncio.to_thread(_read, ask.context, filters, int(limit))})


def _read(context: Context, filters: dict[str, Any], limit: int) -> list[Fix]:
    with context.store.read() as conn:
        return fixes.list_fixes(conn, limit=limit, **filters)


async def _one(ask: Ask) -> Answer:
    return ok(await asyncio.to_thread(_read_one, ask.context, ask.params["id"]))


def _read_one(context: Context, ident: str) -> Fix:
    with context.store.read() as conn:
        return fixes.get_fix(conn, ident)


async def _approve(ask: Ask) -> Answer:
    now = flag(await ask.json(), "now")
    return ok(await asyncio.to_thread(ask.context.pipeline.approve, ask.params["id"], WHO, now=now))


async def _reject(ask: Ask) -> Answer:
    await ask.json()
    return ok(await asyncio.to_thread(ask.context.pipeline.reject, ask.params["id"], WHO))


async def _rollback(ask: Ask) -> Answer:
    await ask.json()
    pipeline, ident = ask.context.pipeline, ask.params["id"]
    if ident == _ALL:
        return ok({"fixes": await asyncio.to_thread(pipeline.rollback_all, WHO)})
    return ok(await asyncio.to_thread(pipeline.rollback, ident, WHO))


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
          _approve, privileged=True, body={"now": bool}, answers=Fix, also=(404, 409, 422)),
    Entry("POST", "/v1/fixes/{id}/reject", "Say no; it is not proposed again.", _reject,
          privileged=True, answers=Fix, also=(404, 409)),
    Entry("POST", "/v1/fixes/{id}/rollback", "Take it back (`all`: every live one): the next call does not see it.",
          _rollback, privileged=True, answers=Fix, also=(404, 409)),
)  # fmt: skip

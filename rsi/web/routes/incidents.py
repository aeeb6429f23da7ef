"""What moves together, shown as one."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from rsi.model import Incident
from rsi.store import correlations
from rsi.web.answer import ok
from rsi.web.context import Context, context_of
from rsi.web.routes.asked import number
from rsi.web.table import Entry, Parameter

_LIMIT: Final = 100


async def _list(request: Request) -> Response:
    limit = number(request.query_params, "limit", default=_LIMIT, least=1, most=correlations.PAGE)
    state = request.query_params.get("state") or None
    return ok({"incidents": await asyncio.to_thread(_read, context_of(request), state, int(limit))})


def _read(context: Context, state: str | None, limit: int) -> list[Incident]:
    with context.store.read() as conn:
        return correlations.list_incidents(conn, state=state, limit=limit)


async def _one(request: Request) -> Response:
    return ok(await asyncio.to_thread(_read_one, context_of(request), request.path_params["id"]))


def _read_one(context: Context, ident: str) -> Incident:
    with context.store.read() as conn:
        return correlations.get_incident(conn, ident)


ENTRIES: Final = (
    Entry("GET", "/v1/incidents", "Issues that move together, with a likely common cause; open ones first.", _list,
          query=(Parameter("state", "open or over"), Parameter("limit", "1..1000, default 100", "integer")),
          answers={"incidents": list[Incident]}, also=(422,)),
    Entry("GET", "/v1/incidents/{id}", "One incident; the id of one that joined another gives that.", _one,
          answers=Incident, also=(404,)),
)  # fmt: skip

"""What keeps failing."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from rsi.errors import InvalidInputError
from rsi.model import Issue, IssueInFull
from rsi.store import issues
from rsi.web.answer import ok
from rsi.web.context import Context, context_of
from rsi.web.routes.asked import json_of, number, text, who
from rsi.web.table import Entry, Level, Parameter

_FILTERS: Final = ("state", "source", "task", "category", "q", "cursor")
_STATES: Final = ("ongoing", "resolved", "ignored")
_LIMIT: Final = 100
_MOST: Final = 1000


async def _list(request: Request) -> Response:
    filters: dict[str, Any] = {name: request.query_params[name] for name in _FILTERS if request.query_params.get(name)}
    limit = number(request.query_params, "limit", default=_LIMIT, least=1, most=_MOST)
    found, cursor = await asyncio.to_thread(_read, context_of(request), filters, int(limit))
    return ok({"issues": found, "next_cursor": cursor})


def _read(context: Context, filters: dict[str, Any], limit: int) -> tuple[list[Issue], str | None]:
    with context.store.read() as conn:
        return issues.list_issues(conn, limit=limit, **filters)


async def _one(request: Request) -> Response:
    return ok(await asyncio.to_thread(_read_one, context_of(request), request.path_params["id"]))


def _read_one(context: Context, ident: str) -> IssueInFull:
    with context.store.read() as conn:
        return issues.in_full(conn, ident)


async def _set_state(request: Request) -> Response:
    state = text(await json_of(request), "state")
    if state not in _STATES:
        raise InvalidInputError(f'state: expected one of {", ".join(_STATES)}, got "{state[:40]}"', field="state")
    return ok(
        await asyncio.to_thread(
            context_of(request).pipeline.set_issue_state, request.path_params["id"], state, who(request)
        )
    )


async def _merge(request: Request) -> Response:
    body = await json_of(request)
    a, b = text(body, "a"), text(body, "b")
    return ok(await asyncio.to_thread(context_of(request).pipeline.merge, a, b, who(request)))


async def _split(request: Request) -> Response:
    body = await json_of(request)
    ident, template = text(body, "id"), body.get("fingerprint")
    if template is not None and (not isinstance(template, int) or isinstance(template, bool)):
        raise InvalidInputError("fingerprint: expected the number of a template of the issue", field="fingerprint")
    return ok({"issues": await asyncio.to_thread(context_of(request).pipeline.split, ident, who(request), template)})


ENTRIES: Final = (
    Entry(
        "GET", "/v1/issues", "Issues, strongest first.", _list,
        query=(
            Parameter("state", "new, ongoing, escalating, regressed, resolved or ignored"),
            Parameter("source", "struck this source"),
            Parameter("task", "struck this task"), Parameter("category", "of this category"),
            Parameter("q", "part of the title or of a template"), Parameter("limit", "1..1000, default 100", "integer"),
            Parameter("cursor", "`next_cursor` of the page before"),
        ),
        answers={"issues": list[Issue], "next_cursor": str | None}, also=(422,),
    ),
    Entry("POST", "/v1/issues/merge", "Declare two issues the same thing, for ever; the older id stays.", _merge,
          level=Level.PRIVILEGED, body={"a": str, "b": str}, answers=Issue, also=(404, 409, 422)),
    Entry("POST", "/v1/issues/split",
          "Take an issue apart, for ever: all its templates but the first leave, or only one (`fingerprint`).", _split,
          level=Level.PRIVILEGED, body={"id": str, "fingerprint": int | None}, answers={"issues": list[Issue]},
          also=(404, 409, 422)),
    Entry("GET", "/v1/issues/{id}",
          "One issue, with its templates and what may be the same; a merged one's id gives what it went into.", _one,
          answers=IssueInFull, also=(404,)),
    Entry("POST", "/v1/issues/{id}/state", "Set the state by hand: ongoing, resolved or ignored.", _set_state,
          level=Level.PRIVILEGED, body={"state": str}, answers=Issue, also=(404, 409, 422)),
)  # fmt: skip

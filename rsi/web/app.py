"""`create_app`: the daemon's HTTP, a Starlette application made from the route table."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ExceptionHandler

from rsi.config import Config, Home
from rsi.errors import RSIError
from rsi.model import Intake
from rsi.pipeline import Pipeline
from rsi.web.answer import of_error, refusal
from rsi.web.auth import Gate, Guard, Guarded
from rsi.web.context import Context, context_of
from rsi.web.doors import entries_of
from rsi.web.live import Live
from rsi.web.routes import ENTRIES
from rsi.web.routes.asked import NotJSONError
from rsi.web.table import Entry

log = logging.getLogger("rsi.web")


def create_app(
    pipeline: Pipeline,
    config: Config,
    home: Home,
    *,
    intakes: Sequence[Intake] = (),
    secret: str | None = None,
    port: int | None = None,
    host: str | None = None,
    status: Callable[[], Mapping[str, Any]] | None = None,
) -> Starlette:
    """The application for one home; `app.state.closing.set()` ends long polls and streams, for a clean stop.

    Args:
        pipeline: what is asked, and what outcomes are handed to.
        config: tokens and limits.
        home: named by `/healthz`; its local secret may do everything.
        intakes: doors; their routes stand before ours, behind the same guard.
        secret: instead of the home's.
        port: what the daemon listens on (a Host must name it); `None`: what each connection says.
        host: what the daemon was told to listen on.
        status: what `/v1/status` says; the pipeline's own by default.
    """
    live = Live(pipeline.subscribe)
    doors = [entry for intake in intakes for entry in entries_of(intake, pipeline.submit)]
    entries = (*doors, *ENTRIES)
    guard = Guard(config, secret or home.secret(), port, host)
    app = Starlette(routes=list(_routes(entries, guard)))
    app.router.redirect_slashes = False
    app.router.default = guard.around(app.router.not_found)
    # Starlette's own stack would answer 500 and then raise all the same: the server resets the connection
    app.middleware_stack = Gate(ExceptionMiddleware(app.router, handlers=_HANDLERS), guard)
    app.state.context = Context(pipeline, pipeline.store, config, home, live, status or pipeline.status, entries)
    app.state.closing = live
    return app


def _routes(entries: Iterable[Entry], guard: Guard) -> Iterable[BaseRoute]:
    """In the table's order; a door's route that has several methods, and so several entries, once."""
    seen: set[int] = set()
    for entry in entries:
        route = entry.route()
        if route is not None and id(route) not in seen:
            seen.add(id(route))
            yield Guarded(route, entry.level, guard)


async def _ours(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RSIError)  # noqa: S101 - registered for these alone
    return of_error(error)


async def _nowhere(request: Request, error: Exception) -> Response:
    """Starlette's 404 and 405, in our shape."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for these alone
    if error.status_code != 405:  # noqa: PLR2004 - by its number, as everybody knows it
        return refusal(error.status_code, f"nothing at {request.url.path[:200]}; see /openapi.json")
    allowed = ", ".join(sorted((error.headers or {}).get("Allow", "").split(", ")))
    return refusal(405, f"use {allowed} here", headers={"allow": allowed})


async def _unreadable(_request: Request, error: Exception) -> Response:
    return refusal(400, str(error) or "the connection ended before the body did")


async def _failed(request: Request, error: Exception) -> Response:
    """The border: counted, logged, and told as 500."""
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    context_of(request).counts["500"] += 1
    return refusal(500, "an error of ours; the daemon's log says more")


_HANDLERS: Final[dict[Any, ExceptionHandler]] = {
    HTTPException: _nowhere,
    NotJSONError: _unreadable,
    ClientDisconnect: _unreadable,
    RSIError: _ours,
    Exception: _failed,
}

"""What runs here, whether it can take outcomes, and what can be asked."""

from __future__ import annotations

import asyncio
import os
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

import rsi
from rsi.web.answer import ok, refusal
from rsi.web.auth import TRUSTED
from rsi.web.context import Context, context_of
from rsi.web.openapi import document
from rsi.web.table import Entry, Level


async def _healthz(request: Request) -> Response:
    """Who shows no token where tokens are needed learns that we live, and no more."""
    if not request.scope[TRUSTED]:
        return ok({"status": "ok"})
    home = str(context_of(request).home.path)
    return ok({"status": "ok", "home": home, "pid": os.getpid(), "version": rsi.__version__})


async def _readyz(request: Request) -> Response:
    if context_of(request).live.closed:
        return refusal(503, "stopping")
    await asyncio.to_thread(_touch, context_of(request))
    return ok({"status": "ready"})


def _touch(context: Context) -> None:
    with context.store.read() as conn:
        conn.exec_driver_sql("SELECT 1")


async def _openapi(request: Request) -> Response:
    return ok(document(context_of(request).entries, rsi.__version__))


ENTRIES: Final[tuple[Entry, ...]] = (
    Entry("GET", "/healthz", "That the process lives; with its home, pid and version for who may read.", _healthz,
          level=Level.OPEN, answers={"status": str, "home": str, "pid": int, "version": str}),
    Entry("GET", "/readyz", "That the store answers.", _readyz, level=Level.OPEN, answers={"status": str}, also=(503,)),
    Entry("GET", "/openapi.json", "This description.", _openapi, answers=dict[str, Any]),
)  # fmt: skip

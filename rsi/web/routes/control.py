"""Holding the loop still, and asking how it is."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from rsi.web.answer import ok
from rsi.web.context import context_of
from rsi.web.routes.asked import json_of, who
from rsi.web.table import Entry, Level


async def _pause(request: Request) -> Response:
    await json_of(request)
    return ok({"paused": await asyncio.to_thread(context_of(request).pipeline.pause, who(request))})


async def _resume(request: Request) -> Response:
    await json_of(request)
    return ok({"paused": await asyncio.to_thread(context_of(request).pipeline.resume, who(request))})


async def _status(request: Request) -> Response:
    found = dict(await asyncio.to_thread(context_of(request).status))
    return ok({**found, "web": context_of(request).web()})


ENTRIES: Final = (
    Entry("POST", "/v1/pause", "Apply no fix until resumed.", _pause, level=Level.PRIVILEGED, answers={"paused": bool}),
    Entry("POST", "/v1/resume", "Apply fixes again.", _resume, level=Level.PRIVILEGED, answers={"paused": bool}),
    Entry("GET", "/v1/status", "What runs, and in `troubles` what is wrong.", _status),
)

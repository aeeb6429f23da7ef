"""Holding the loop still, and asking how it is."""

from __future__ import annotations

import asyncio
from typing import Final

from rsi.web.answer import Answer, ok
from rsi.web.routes.asked import WHO
from rsi.web.table import Ask, Entry


async def _pause(ask: Ask) -> Answer:
    await ask.json()
    return ok({"paused": await asyncio.to_thread(ask.context.pipeline.pause, WHO)})


async def _resume(ask: Ask) -> Answer:
    await ask.json()
    return ok({"paused": await asyncio.to_thread(ask.context.pipeline.resume, WHO)})


async def _status(ask: Ask) -> Answer:
    found = dict(await asyncio.to_thread(ask.context.status))
    web = {"errors": ask.scope["rsi.app"].state.counts["500"], **ask.context.live.counts}
    return ok({**found, "web": web})


ENTRIES: Final = (
    Entry("POST", "/v1/pause", "Apply no fix until resumed.", _pause, privileged=True, answers={"paused": bool}),
    Entry("POST", "/v1/resume", "Apply fixes again.", _resume, privileged=True, answers={"paused": bool}),
    Entry("GET", "/v1/status", "What runs, and in `troubles` what is wrong.", _status),
)

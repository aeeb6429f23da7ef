"""What runs here, whether it can take outcomes, and what can be asked."""

from __future__ import annotations

import asyncio
import os
from typing import Any, Final

import rsi
from rsi.web.answer import Answer, ok, refusal
from rsi.web.context import Context
from rsi.web.openapi import document
from rsi.web.table import Ask, Entry


async def _healthz(ask: Ask) -> Answer:
    """Who shows no token where tokens are needed learns that we live, and no more."""
    if not ask.scope["rsi.trusted"]:
        return ok({"status": "ok"})
    home = str(ask.context.home.path)
    return ok({"status": "ok", "home": home, "pid": os.getpid(), "version": rsi.__version__})


async def _readyz(ask: Ask) -> Answer:
    if ask.context.live.closed:
        return refusal(503, "stopping")
    await asyncio.to_thread(_touch, ask.context)
    return ok({"status": "ready"})


def _touch(context: Context) -> None:
    with context.store.read() as conn:
        conn.exec_driver_sql("SELECT 1")


async def _openapi(ask: Ask) -> Answer:
    return ok(document(ask.scope["rsi.app"].table, rsi.__version__))


ENTRIES: Final[tuple[Entry, ...]] = (
    Entry("GET", "/healthz", "That the process lives; with its home, pid and version for who may read.", _healthz,
          open=True, answers={"status": str, "home": str, "pid": int, "version": str}),
    Entry("GET", "/readyz", "That the store answers.", _readyz, open=True, answers={"status": str}, also=(503,)),
    Entry("GET", "/openapi.json", "This description.", _openapi, answers=dict[str, Any]),
)  # fmt: skip

"""`create_app`: the daemon's HTTP, as one plain ASGI application made from the route table.

No framework's middleware stands before the doors: at thousands of reports a second it would be half of the cost.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import parse_qsl

from rsi.config import Config, Home
from rsi.errors import RSIError
from rsi.model import Intake
from rsi.pipeline import Pipeline
from rsi.web.answer import Answer, Receive, Scope, Send, of_error, refusal
from rsi.web.auth import Guard
from rsi.web.context import Context
from rsi.web.doors import entries_of
from rsi.web.live import Live
from rsi.web.routes import ENTRIES
from rsi.web.table import Ask, Entry, Found, NotJSONError, Table

log = logging.getLogger("rsi.web")

#: Query strings longer than this are nobody's question.
_QUERY_BYTES: Final = 8192


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
) -> App:
    """The application for one home.

    Args:
        pipeline: what is asked, and what outcomes are handed to.
        config: tokens and limits.
        home: named by `/healthz`; its local secret may do everything.
        intakes: doors; their routes stand beside ours, behind the same guard.
        secret: instead of the home's.
        port: what the daemon listens on (a Host must name it); `None`: what each connection says.
        host: what the daemon was told to listen on.
        status: what `/v1/status` says; the pipeline's own by default.
    """
    live = Live(pipeline.subscribe)
    context = Context(pipeline, pipeline.store, config, home, live, status or pipeline.status)
    doors = [entry for intake in intakes for entry in entries_of(intake, pipeline.submit)]
    guard = Guard(config, secret or home.secret(), port, host)
    return App(context, Table([*doors, *ENTRIES]), guard)


class App:
    """ASGI. `state.closing.set()` ends long polls and streams, for a clean stop."""

    def __init__(self, context: Context, table: Table, guard: Guard) -> None:
        self.context = context
        self.table = table
        self.state = SimpleNamespace(closing=context.live, counts=Counter[str](), table=table)
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; nothing that anybody sends leads to an exception beyond here."""
        if scope["type"] != "http":
            await _not_http(scope, receive, send)
            return
        began = False

        async def sending(message: Any) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            answer = await self._answer(scope, receive, sending)
        except NotJSONError as error:
            answer = refusal(400, str(error))
        except RSIError as error:
            answer = of_error(error)
        except Exception:  # the border: counted, logged, and told as 500
            log.exception("%s %s failed", scope["method"], scope["path"])
            self.state.counts["500"] += 1
            if began:
                return
            answer = refusal(500, "an error of ours; the daemon's log says more")
        if answer is not None:
            await answer.send(send, body=scope["method"] != "HEAD")

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> Answer | None:
        found = self.table.find(scope["path"])
        entry = _entry(found, scope["method"])
        passed = await self._guard.check(scope, receive, entry)
        if isinstance(passed, Answer):
            return passed
        if found is None:
            return refusal(404, f"nothing at {scope['path'][:200]}; see /openapi.json")
        if entry is None:
            allowed = ", ".join(sorted(found.entries))
            return refusal(405, f"use {allowed} here", headers=((b"allow", allowed.encode()),))
        if entry.app is not None:
            await entry.app(scope, passed.receive, send)
            return None
        scope["rsi.trusted"] = passed.trusted
        ask = Ask(self.context, scope, passed.receive, send, found.params, _query(scope))
        scope["rsi.app"] = self
        return await entry.handler(ask) if entry.handler is not None else None


def _entry(found: Found | None, method: str) -> Entry | None:
    if found is None:
        return None
    return found.entries.get("GET" if method == "HEAD" else method)


def _query(scope: Scope) -> dict[str, str]:
    raw = scope["query_string"]
    return dict(parse_qsl(raw[:_QUERY_BYTES].decode("latin-1"), keep_blank_values=True)) if raw else {}


async def _not_http(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1000})
        return
    while True:  # lifespan: the daemon starts and stops what there is
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return

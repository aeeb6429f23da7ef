"""`/v1/events`: what happens, as Server-Sent Events."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from rsi.web.answer import Answer, refusal
from rsi.web.live import STREAMS, Stream
from rsi.web.table import Ask, Entry

#: A comment this often keeps proxies from closing a silent stream.
HEARTBEAT_S: Final = 15.0
_HELLO: Final = b"retry: 2000\n: rsi\n\n"
_HEADERS: Final = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store"))


async def _events(ask: Ask) -> Answer | None:
    live = ask.context.live
    stream = live.open_stream()
    if stream is None:
        return refusal(503, f"{STREAMS} streams are open, or the daemon stops: come again later")
    gone = asyncio.create_task(_until_gone(ask, stream))
    try:
        await ask.send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
        await _write(ask, _HELLO)
        while not stream.ended:
            frames = await stream.take(HEARTBEAT_S)
            if not stream.ended:
                await _write(ask, frames or b": still here\n\n")
        await ask.send({"type": "http.response.body", "body": b""})
    finally:
        live.close_stream(stream)
        gone.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await gone
    return None


async def _write(ask: Ask, frames: bytes) -> None:
    await ask.send({"type": "http.response.body", "body": frames, "more_body": True})


async def _until_gone(ask: Ask, stream: Stream) -> None:
    while (await ask.receive())["type"] != "http.disconnect":
        pass
    stream.end()


ENTRIES: Final = (
    Entry(
        "GET", "/v1/events", "Server-Sent Events: outcome, issue, fix, verdict, health. Slow clients are dropped.",
        _events, kind="text/event-stream", also=(503,),
    ),
)  # fmt: skip

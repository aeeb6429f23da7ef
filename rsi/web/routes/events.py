"""`/v1/events`: what happens, as Server-Sent Events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from rsi.web.answer import refusal
from rsi.web.context import context_of
from rsi.web.live import STREAMS, Live, Stream
from rsi.web.table import Entry

#: A comment this often keeps proxies from closing a silent stream.
HEARTBEAT_S: Final = 15.0
_HELLO: Final = b"retry: 2000\n: rsi\n\n"


class _EventStream(StreamingResponse):
    """Ends when the client leaves or the stream does, and however it ends the stream is closed."""

    media_type = "text/event-stream"

    def __init__(self, live: Live, stream: Stream) -> None:
        super().__init__(_frames(stream), headers={"cache-control": "no-store"})
        self._live = live
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._live.close_stream(self._stream)


async def _events(request: Request) -> Response:
    live = context_of(request).live
    stream = live.open_stream()
    if stream is None:
        return refusal(503, f"{STREAMS} streams are open, or the daemon stops: come again later")
    return _EventStream(live, stream)


async def _frames(stream: Stream) -> AsyncIterator[bytes]:
    yield _HELLO
    while not stream.ended:
        frames = await stream.take(HEARTBEAT_S)
        if not stream.ended:
            yield frames or b": still here\n\n"


ENTRIES: Final = (
    Entry(
        "GET", "/v1/events",
        "Server-Sent Events: outcome, issue, incident, fix, verdict, health. Slow clients are dropped.",
        _events, kind="text/event-stream", also=(503,),
    ),
)  # fmt: skip

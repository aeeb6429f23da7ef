"""Who waits for something to happen: long polls for the policy, and streams of events.

The pipeline calls from its own threads; everything here is touched only in the event loop, apart from `tell`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import msgspec

#: Events a stream may be behind; a client slower than that is dropped and may come again.
QUEUED: Final = 1000
#: Streams at once: each is a socket and a queue.
STREAMS: Final = 64
POLLS: Final = 2000
_EVENTS: Final = frozenset({"outcome", "issue", "incident", "fix", "verdict", "health"})


class Stream:
    """One client of `/v1/events`."""

    def __init__(self) -> None:
        self._queue: deque[bytes] = deque()
        self._bell = asyncio.Event()
        self.ended = False

    def put(self, frame: bytes) -> None:
        """Queue a frame; a full queue ends the stream."""
        if len(self._queue) >= QUEUED:
            self.end()
            return
        self._queue.append(frame)
        self._bell.set()

    def end(self) -> None:
        """Drop what waits, and wake the sender."""
        self.ended = True
        self._queue.clear()
        self._bell.set()

    async def take(self, patience: float) -> bytes:
        """Everything queued; empty after `patience` seconds of silence or at the end."""
        if not self._queue and not self.ended:
            self._bell.clear()
            try:
                await asyncio.wait_for(self._bell.wait(), patience)
            except TimeoutError:
                return b""
        frames = b"".join(self._queue)
        self._queue.clear()
        return frames


class Live:
    """Subscribes to the pipeline once and wakes whoever waits.

    Args:
        subscribe: `Pipeline.subscribe`.
    """

    def __init__(self, subscribe: Callable[..., Callable[[], None]]) -> None:
        self._subscribe = subscribe
        self._deaf: Callable[[], None] | None = None  # ends the subscription to outcomes
        self._loop: asyncio.AbstractEventLoop | None = None
        self._streams: set[Stream] = set()
        self._polls: dict[tuple[str, str], asyncio.Event] = {}
        self._number = 0
        self.closed = False
        self.dropped = 0
        self.health_changes = 0
        subscribe(self.tell, only=_EVENTS - {"outcome"} | {"policy"})

    @property
    def counts(self) -> dict[str, int]:
        """Who listens now, and who was too slow."""
        return {"streams": len(self._streams), "polls": len(self._polls), "dropped_streams": self.dropped}

    def tell(self, event: str, data: dict[str, Any]) -> None:
        """Called by the pipeline, from any thread; returns at once."""
        if event == "health":
            self.health_changes += 1
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        if event == "policy" or (self._streams and event in _EVENTS):
            loop.call_soon_threadsafe(self._spread, event, data)

    def _spread(self, event: str, data: dict[str, Any]) -> None:
        if event == "policy":
            for bell in self._polls.values():
                bell.set()
            return
        self._number += 1
        body = msgspec.json.encode(data, enc_hook=str)
        frame = b"id: %d\nevent: %s\ndata: %s\n\n" % (self._number, event.encode(), body)
        for stream in self._streams:
            stream.put(frame)
        slow = {stream for stream in self._streams if stream.ended}
        self.dropped += len(slow)
        self._streams -= slow

    def open_stream(self) -> Stream | None:
        """A new stream; `None` where there are too many."""
        self._loop = asyncio.get_running_loop()
        if self.closed or len(self._streams) >= STREAMS:
            return None
        stream = Stream()
        self._streams.add(stream)
        if self._deaf is None:  # thousands a second: asked for only while somebody watches
            self._deaf = self._subscribe(self.tell, only={"outcome"})
        return stream

    def close_stream(self, stream: Stream) -> None:
        """The client is gone."""
        stream.end()
        self._streams.discard(stream)
        if not self._streams and self._deaf is not None:
            self._deaf()
            self._deaf = None

    def open_poll(self, key: tuple[str, str]) -> asyncio.Event | None:
        """A bell that rings when the policy changes. One per client and source: an older one is woken and ends."""
        self._loop = asyncio.get_running_loop()
        older = self._polls.pop(key, None)
        if older is not None:
            older.set()
        if self.closed or len(self._polls) >= POLLS:
            return None
        bell = self._polls[key] = asyncio.Event()
        return bell

    def close_poll(self, key: tuple[str, str], bell: asyncio.Event) -> None:
        """It was answered."""
        if self._polls.get(key) is bell:
            del self._polls[key]

    def set(self) -> None:
        """Shut down: long polls and streams end now.

        Named like an event's `set`, because the daemon sees it as `app.state.closing`.
        """
        self.closed = True
        for stream in self._streams:
            stream.end()
        for bell in self._polls.values():
            bell.set()

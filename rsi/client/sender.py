"""The background sender: takes from the queue, encodes, redacts, sends; spools what cannot be sent."""

from __future__ import annotations

import logging
import random
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from rsi.client import process
from rsi.client.capabilities import Capabilities
from rsi.client.delivery import MAX_ASKED_S, TryLaterError, deliver
from rsi.client.discovery import RefusedError
from rsi.client.encode import Encoder, Pending
from rsi.client.link import Link
from rsi.client.recorded import Recorded
from rsi.client.spool import Spool
from rsi.client.tally import Tally
from rsi.client.transport import UnreachableError

QUEUE_SIZE: Final = 10_000  # some 10 MB of what guards report; minutes of a busy agent
MAX_HELD: Final = 64 << 20  # characters of what was recorded by hand, whose metadata may be anything
BATCH: Final = 500
BATCH_BYTES: Final = 8 << 20  # one outcome may take a MiB: 500 of them would be half a gigabyte in memory
LINGER_S: Final = 0.05  # outcomes come in flocks; this gathers one and is not felt
AWAY_LINGER_S: Final = 0.25  # for the spool: nobody waits for it, and a file is opened less often
IDLE_S: Final = 30.0  # how often an idle sender looks at the spool and its registrations
FIRST_PAUSE_S: Final = 0.5
MAX_PAUSE_S: Final = 30.0
_FAILURES: Final = (UnreachableError, RefusedError, TryLaterError)


class Sender:
    """Owns the queue and one daemon thread, started with the first thing to do.

    Args:
        make_link, make_encoder: called once in the thread, so that nothing is imported or read on the caller's time.
        spool: where outcomes wait for a daemon; `None`: nowhere, they are counted as lost.
        at_turn: called in the thread, each time that it begins to work.
    """

    def __init__(
        self,
        make_link: Callable[[], Link],
        make_encoder: Callable[[], Encoder],
        *,
        spool: Spool | None,
        capabilities: Capabilities,
        tally: Tally,
        size: int = QUEUE_SIZE,
        at_turn: Callable[[], None] = lambda: None,
    ) -> None:
        self._at_turn = at_turn
        self._make_link, self._make_encoder = make_link, make_encoder
        self._spool = spool
        self._capabilities = capabilities
        self._tally = tally
        self._size = size
        self._queue: deque[Pending] = deque()
        self._held = 0
        self._asleep = True
        self._signal = threading.Event()
        self._urgent = threading.Event()
        self._starting = threading.Lock()
        self._disk = threading.Lock()
        self._thread: threading.Thread | None = None
        self._flushers: list[threading.Event] = []
        self._inflight: list[bytes] = []
        self._stopping = False
        self._pause = 0.0  # seconds to wait before the daemon is tried again; 0: it is thought to be there
        self._last_pause = 0.0
        self._refused = self._reported = 0  # dropped by a full queue, and how many of these have been reported
        self.link: Link | None = None

    def put(self, pending: Pending) -> None:
        """Queue; a full queue drops the newest, counted. Costs about a microsecond and never raises."""
        full = len(self._queue) >= self._size or self._stopping
        if full or (type(pending) is Recorded and not self._holds(pending)):
            self._refused += 1
            self._tally.count("dropped")
            return
        self._queue.append(pending)
        if self._asleep:
            self.wake()

    def _holds(self, recorded: Recorded) -> bool:
        """Whether there is room for what it holds. Not exact between threads, and anew with each empty queue."""
        weight = recorded.weight()
        if self._held + weight > MAX_HELD and self._queue:
            return False
        self._held += weight
        return True

    def wake(self) -> None:
        """There is something to do; starts the thread if there is none."""
        self._asleep = False
        if self._thread is None:
            self._start()
        self._signal.set()

    def __len__(self) -> int:
        return len(self._queue)

    def _start(self) -> None:
        with self._starting:
            if self._thread is not None or self._stopping:
                return
            thread = threading.Thread(target=self._run, name="rsi-sender", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter is shutting down: `close` spools what is queued
                return
            self._thread = thread
            process.arm_pool_worker()

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything queued so far is sent or spooled; whether that happened in time."""
        done = threading.Event()
        self._flushers.append(done)
        self._urgent.set()
        self.wake()
        return done.wait(timeout_s)

    def stop(self) -> None:
        """Take nothing more; send what is queued and end. Returns at once; `finish` waits."""
        self._stopping = True
        self._urgent.set()
        self._signal.set()

    def finish(self, timeout_s: float) -> None:
        """Wait for the end; what is still unsent after `timeout_s` is spooled from here (ids make that harmless)."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)
            if not thread.is_alive():
                return
        left = list(self._inflight)
        encoder = self._make_encoder() if self._queue else None
        while encoder is not None and self._queue:
            left += self._take(encoder)
        if left:
            self._keep(left)

    def _run(self) -> None:
        self.link, encoder = self._make_link(), self._make_encoder()
        while True:
            self._rest()
            stopping = self._stopping
            try:
                self._turn(self.link, encoder)
            except Exception as error:  # noqa: BLE001 - the border of the thread: an end of it would be silence
                self._tally.count("sender_errors")
                self._tally.say_once(f"the sender failed and goes on: {type(error).__name__}: {error}")
            if stopping:
                break
        self.link.close()

    def _rest(self) -> None:
        """Wait for work, then a moment for more of it; or for the end of a pause."""
        self._asleep = True
        if self._queue or self._flushers or self._stopping or self._signal.wait(self._pause or IDLE_S):
            self._pause = max(0.0, self._pause - LINGER_S)  # not exact: what counts is that it ends
        else:
            self._pause = 0.0
        self._asleep = False
        self._signal.clear()
        self._urgent.wait(AWAY_LINGER_S if self._pause else LINGER_S)

    def _turn(self, link: Link, encoder: Encoder) -> None:
        flushers, self._flushers = self._flushers, []
        self._urgent.clear()
        self._at_turn()
        while self._queue:
            self._inflight = self._take(encoder)
            self._send_or_keep(link, self._inflight)
            self._inflight = []
        if not self._pause:
            self._catch_up(link)
        for flusher in flushers:
            flusher.set()

    def _take(self, encoder: Encoder) -> list[bytes]:
        lines: list[bytes] = []
        size = 0
        while self._queue and len(lines) < BATCH and size < BATCH_BYTES:
            refused = self._refused
            pending = self._queue.popleft()
            if not self._queue:
                self._held = 0
            elif type(pending) is Recorded:
                self._held = max(0, self._held - pending.weight())
            line = encoder.line(pending, refused - self._reported)
            if line is not None:
                lines.append(line)
                size += len(line)
                if refused > self._reported:
                    self._say_refused(refused)
        return lines

    def _say_refused(self, refused: int) -> None:
        self._tally.say_once(f"the queue of {self._size} is full: {refused} outcomes dropped so far", key="full")
        self._reported = refused

    def _send_or_keep(self, link: Link, lines: list[bytes]) -> None:
        if not lines:
            return
        if not self._pause:
            try:
                deliver(link, lines, self._tally)
            except _FAILURES as error:
                self._failed(error)
            else:
                self._last_pause = 0.0
                return
        self._keep(lines)

    def _failed(self, error: Exception) -> None:
        """Pause: 0.5 s, doubled up to 30 s, with jitter so that many agents do not come back together."""
        asked = error.after_s if isinstance(error, TryLaterError) else None
        self._last_pause = min(MAX_PAUSE_S, self._last_pause * 2 or FIRST_PAUSE_S)
        self._pause = min(MAX_ASKED_S, asked or self._last_pause * random.uniform(0.8, 1.2))  # noqa: S311 - not a secret
        self._tally.count("failures")
        self._tally.say_once(f"no daemon takes outcomes, they are spooled: {error}", level=logging.INFO, key="spooling")

    def _keep(self, lines: list[bytes]) -> None:
        lost = len(lines)
        if self._spool is not None:
            try:
                with self._disk:
                    lost = self._spool.append(lines)
            except OSError as error:
                self._tally.say_once(f"the spool {self._spool.folder} cannot be written: {error}", key="spool")
        self._tally.count("spooled", len(lines) - lost)
        if lost:
            self._refused += lost
            self._tally.count("dropped", lost)
            self._tally.say_once("the spool is full or missing: the newest outcomes are dropped", key="spool full")

    def _catch_up(self, link: Link) -> None:
        """Tell the daemon what it has to know, and resend what waited."""
        try:
            self._capabilities.announce(link)
            if self._spool is None:
                return
            for path in self._spool.waiting():
                link.ensure()
                done = self._spool.resend(path, lambda lines: deliver(link, lines, self._tally))
                self._tally.count("resent", done)
                if self._queue:  # the present first, the past when there is time
                    self._signal.set()
                    break
        except _FAILURES as error:
            self._failed(error)
        except OSError as error:
            self._tally.say_once(f"the spool cannot be read: {error}", key="spool")

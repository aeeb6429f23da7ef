"""Tells people: a signed webhook or a command, in a thread of its own, failures counted and visible.

A webhook carries Standard Webhooks headers (https://www.standardwebhooks.com): the signature is
HMAC-SHA256 over `id.timestamp.body`. A command gets the event as JSON on its standard input; nothing of the event is
ever part of its arguments.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import http.client
import logging
import queue
import shlex
import subprocess
import threading
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec

from rsi import clock
from rsi.config import NotifyTarget
from rsi.errors import ConfigError

Event: TypeAlias = Literal["proposal", "rolled_back", "alarm", "resolved"]

TIMEOUT_S: Final = 10.0
QUEUED: Final = 1_000
"""Events that may wait; beyond it the newest is dropped and counted."""
TRIES: Final = 3
PAUSE_S: Final = (0.0, 1.0, 5.0)
"""Before each try: a receiver that restarts is back within seconds."""
ANSWER_BYTES: Final = 4_096
OK: Final = range(200, 300)
WITHHELD: Final = "a token goes only to a webhook with a secret by https (or to this machine), and to a command"
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

log = logging.getLogger("rsi.notify")


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` header: `v1,<base64>`. `secret` is `whsec_<base64>`, or any text taken as it is."""
    key = _key(secret)
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def _key(secret: str) -> bytes:
    if secret.startswith("whsec_"):
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    return secret.encode()


def check(targets: Sequence[NotifyTarget]) -> None:
    """Every target names exactly one way.

    Raises:
        ConfigError: names the target and what is wrong with it.
    """
    for index, target in enumerate(targets):
        where = f"notify[{index}]"
        if bool(target.url) == bool(target.command):
            raise ConfigError(f"{where}: give url or command, one of them", field=where)
        if target.url:
            parts = urlsplit(target.url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ConfigError(f"{where}.url: expected http(s)://host/path", field=f"{where}.url")
            try:
                _key(target.secret or "")
            except binascii.Error as error:
                message = f"{where}.secret: after whsec_ base64 is expected"
                raise ConfigError(message, field=f"{where}.secret") from error
        elif not _split(target.command or ""):
            raise ConfigError(f"{where}.command: not a command line", field=f"{where}.command")


def _is_trusted(target: NotifyTarget) -> bool:
    """Whoever reads along on the way could use a token first."""
    if target.command:
        return True
    parts = urlsplit(target.url or "")
    return bool(target.secret) and (parts.scheme == "https" or parts.hostname in _LOOPBACK)


def _split(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return []


class Notifier:
    """Sends events to the configured targets. `tell` never blocks and never raises.

    Args:
        targets: checked by `check`.
    """

    def __init__(self, targets: Sequence[NotifyTarget]) -> None:
        check(targets)
        self._targets = list(targets)
        self._queue: queue.Queue[tuple[NotifyTarget, str, bytes] | None] = queue.Queue(QUEUED)
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._sent = self._failed = self._dropped = 0
        self._last_error: str | None = None

    def trusted(self, event: Event) -> int:
        """How many targets of an event may be handed a secret of their own: a command, or a safe signed webhook."""
        return sum(event in target.on and _is_trusted(target) for target in self._targets)

    def tell(
        self,
        event: Event,
        data: Mapping[str, Any],
        *,
        of: Event | None = None,
        approvals: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Queue an event for every target that asked for it.

        Args:
            event: its type.
            data: ids and declared keys.
            of: what it ends; who asked for that hears of its end too.
            approvals: as many as `trusted` says, one for each of these targets, as `data.approval`.
        """
        wanted = [target for target in self._targets if event in target.on or of in target.on]
        if not wanted or self._stopping.is_set():
            return
        message = f"msg_{uuid.uuid4().hex}"
        said, offers = {"type": event, "timestamp": clock.iso(clock.now()), "data": data}, iter(approvals)
        for target in wanted:
            offer = next(offers, None) if _is_trusted(target) else {"withheld": WITHHELD}
            with_it = {**data, "approval": offer} if approvals and offer else data
            body = msgspec.json.encode({**said, "data": with_it})
            try:
                self._queue.put_nowait((target, message, body))
            except queue.Full:
                self._count(dropped=1)
        self._begin()

    def status(self) -> dict[str, Any]:
        """Counters, and the last failure."""
        with self._lock:
            return {
                "sent": self._sent,
                "failed": self._failed,
                "dropped": self._dropped,
                "waiting": self._queue.qsize(),
                "last_error": self._last_error,
            }

    def stop(self) -> None:
        """Send what waits, without pauses between tries, and end the thread."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._stopping.set()
        if thread is not None:
            self._queue.put(None)
            thread.join()

    def _begin(self) -> None:
        with self._lock:
            if self._thread is None and not self._stopping.is_set():
                self._thread = threading.Thread(target=self._run, name="rsi-notify", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while (entry := self._queue.get()) is not None:
            try:
                self._deliver(*entry)
            except Exception as error:  # noqa: BLE001 - the border of the thread: counted and shown, never the end
                log.warning("a notification was lost: %s", type(error).__name__)
                self._count(failed=1, error=f"{type(error).__name__}: {error}")

    def _deliver(self, target: NotifyTarget, message: str, body: bytes) -> None:
        error = "not tried"
        for pause in PAUSE_S[:TRIES]:
            if pause and self._stopping.wait(pause):
                break
            error = _post(target, message, body) if target.url else _run_command(target, body)
            if not error:
                self._count(sent=1)
                return
        log.warning("notification failed: %s", error)
        self._count(failed=1, error=error)

    def _count(self, *, sent: int = 0, failed: int = 0, dropped: int = 0, error: str | None = None) -> None:
        with self._lock:
            self._sent += sent
            self._failed += failed
            self._dropped += dropped
            self._last_error = error or self._last_error


def _post(target: NotifyTarget, message: str, body: bytes) -> str:
    """Send once; an empty string, or what went wrong. Redirects are not followed."""
    parts = urlsplit(target.url or "")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    stamp = int(clock.now())
    headers = {"Content-Type": "application/json", "webhook-id": message, "webhook-timestamp": str(stamp)}
    if target.secret:
        headers["webhook-signature"] = sign(target.secret, message, stamp, body)
    where = f"{parts.scheme}://{parts.hostname}"
    connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
    try:
        connection.request("POST", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), body, headers)
        answer = connection.getresponse()
        answer.read(ANSWER_BYTES)
    except (OSError, http.client.HTTPException) as error:
        return f"{where}: {type(error).__name__}: {error}"
    finally:
        connection.close()
    return "" if answer.status in OK else f"{where}: answered {answer.status}"


def _run_command(target: NotifyTarget, body: bytes) -> str:
    """Run once with the event on its standard input; an empty string, or what went wrong."""
    argv = _split(target.command or "")
    try:
        done = subprocess.run(argv, input=body, capture_output=True, timeout=TIMEOUT_S, check=False)  # noqa: S603 - the user's own command line; the event is only on stdin
    except (OSError, subprocess.SubprocessError) as error:
        return f"{argv[0]}: {type(error).__name__}: {error}"
    return "" if done.returncode == 0 else f"{argv[0]}: exit {done.returncode}"

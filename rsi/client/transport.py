"""One keep-alive HTTP connection to the daemon."""

from __future__ import annotations

import contextlib
import http.client
import socket
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec

#: A daemon on loopback answers in milliseconds, with a slow disk in tens of them.
REQUEST_TIMEOUT_S: Final = 5.0
MAX_ANSWER_BYTES: Final = 8 * 1024 * 1024  # policies are kilobytes; something that goes on for ever is not a policy


class UnreachableError(Exception):
    """No answer that could be read: down, hanging, or not speaking HTTP. The message says which.

    `stale`: the connection had been idle, and the other side may merely have closed it.
    """

    def __init__(self, message: str, *, stale: bool = False) -> None:
        super().__init__(message)
        self.stale = stale


class Answer(msgspec.Struct, frozen=True):
    """Status, headers (names in lower case) and body."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> object:
        """The decoded body, or `None` if it is not JSON."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None


class Connection:
    """A connection that opens itself and stays open. Used by one thread; only `abort` may come from another."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        parts = urlsplit(url if "//" in url else f"//{url}", scheme="http")
        self.url = url
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port
        self._base = parts.path.rstrip("/")
        self._headers = dict(headers)
        self._http: http.client.HTTPConnection | None = None

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> Answer:
        """Send and wait for the whole answer.

        Raises:
            UnreachableError: there was no readable answer within `timeout_s` per step.
        """
        kept_alive = self._http is not None
        try:
            return self._once(method, path, body, headers, timeout_s or REQUEST_TIMEOUT_S)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            stale = kept_alive and not isinstance(error, TimeoutError)
            raise UnreachableError(f"{self.url}: {error or type(error).__name__}", stale=stale) from error

    def _once(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None, timeout_s: float
    ) -> Answer:
        connection = self._http or self._open(timeout_s)
        if connection.sock is not None:
            connection.sock.settimeout(timeout_s)
        connection.request(method, self._base + path, body=body, headers={**self._headers, **(headers or {})})
        response = connection.getresponse()
        content = response.read(MAX_ANSWER_BYTES + 1)
        if len(content) > MAX_ANSWER_BYTES:
            raise ValueError(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
        if response.will_close:
            self.close()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, content)

    def _open(self, timeout_s: float) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        self._http = kind(self._host, self._port, timeout=timeout_s)
        self._http.connect()
        if self._http.sock is not None:
            self._http.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._http

    def abort(self) -> None:
        """Wake the thread that waits for an answer; it gets `UnreachableError`."""
        connection = self._http
        sock = connection.sock if connection is not None else None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close; the next request opens again."""
        connection, self._http = self._http, None
        if connection is not None:
            connection.close()

"""Answers: JSON bytes with a status, and what our errors mean in HTTP (contract §4)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias

import msgspec

from rsi.errors import (
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    RSIError,
    StoreError,
    TooLargeError,
)

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]

JSON: Final = b"application/json"
_encode: Final = msgspec.json.Encoder().encode


class Answer(msgspec.Struct, frozen=True):
    """What goes back. `headers` come beside content-type and content-length."""

    status: int
    body: bytes = b""
    kind: bytes = JSON
    headers: Headers = ()

    async def send(self, send: Send, *, body: bool = True) -> None:
        """Write it; `body=False` answers HEAD."""
        headers = [(b"content-type", self.kind), (b"content-length", b"%d" % len(self.body)), *self.headers]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body if body else b""})


def ok(value: Any, *, status: int = 200, headers: Headers = ()) -> Answer:
    """A value as JSON."""
    return Answer(status, _encode(value), JSON, headers)


def refusal(status: int, message: str, *, field: str | None = None, headers: Headers = ()) -> Answer:
    """`{"error": …, "field"?: …}`."""
    return ok({"error": message, "field": field} if field else {"error": message}, status=status, headers=headers)


#: The first that fits; more special ones first.
_STATUS: Final[tuple[tuple[type[RSIError], int], ...]] = (
    (TooLargeError, 413),
    (InvalidInputError, 422),
    (NotFoundError, 404),
    (ConflictError, 409),
    (ForbiddenError, 403),
    (StoreError, 503),
)


def of_error(error: RSIError) -> Answer:
    """What one of our errors means to the caller; what is none of theirs is a 500."""
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    return refusal(status, str(error), field=getattr(error, "field", None))

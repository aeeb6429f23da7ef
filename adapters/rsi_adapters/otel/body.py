"""A request's body, unpacked: never more of it in memory than the limit, whatever it claims to be."""

from __future__ import annotations

import zlib
from typing import Any, Final

from rsi.errors import InvalidInputError, TooLargeError

#: zlib's "gzip or zlib, whichever it is".
_EITHER: Final = 47
PACKED: Final = frozenset({b"gzip", b"x-gzip", b"deflate"})


async def read(receive: Any, limit: int) -> bytes:
    """The body as it came.

    Raises:
        TooLargeError: over `limit` bytes.
        InvalidInputError: the sender went away.
    """
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidInputError("the connection ended before the body did")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise _over(limit)
        if not message.get("more_body"):
            return b"".join(parts)


def unpack(body: bytes, limit: int) -> bytes:
    """Gzip (any number of members) or zlib → what is in it.

    Raises:
        TooLargeError: over `limit` bytes; it is not unpacked any further than that.
        InvalidInputError: neither, or cut short.
    """
    out = bytearray()
    while True:
        member = zlib.decompressobj(_EITHER)
        try:
            out += member.decompress(body, limit + 1 - len(out))
        except zlib.error as error:
            raise InvalidInputError(f"neither gzip nor deflate: {error}", field="content-encoding") from error
        if len(out) > limit:
            raise _over(limit)
        if not member.eof:
            raise InvalidInputError("the compressed body is cut short", field="content-encoding")
        body = member.unused_data
        if not body:
            return bytes(out)


def _over(limit: int) -> TooLargeError:
    return TooLargeError(f"over the limit of {limit} bytes for one request (setting limits.request_bytes); send less")

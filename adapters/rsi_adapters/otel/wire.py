"""Protobuf's wire format (protobuf.dev/programming-guides/encoding), as far as OTLP needs it.

Strict about what it reads: a message that is cut short, a length that goes beyond what is around it, a number that does
not end and the abolished groups are errors. Nothing here recurses on the sender's word, nothing is copied, and what it
costs is counted: a body of 16 MiB can hold 8 million fields of nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

from rsi.errors import InvalidInputError, TooLargeError

VARINT: Final = 0
FIXED64: Final = 1
LENGTH: Final = 2
FIXED32: Final = 5
_KIND_BITS: Final = 3
_KIND: Final = 0b111
_MAX_FIELD: Final = 2**29
_MAX_VARINT: Final = 10
_MORE: Final = 0x80
_SEVEN: Final = 0x7F
_UINT64: Final = 2**64 - 1
_FIXED: Final = {FIXED64: struct.Struct("<Q"), FIXED32: struct.Struct("<I")}

#: Fields of one request that are looked at, a µs each. Exporters' take 15 bytes and more: 16 MiB hold fewer.
MOST_FIELDS: Final = 1_200_000
#: Where a length-delimited value begins and ends.
Slice: TypeAlias = tuple[int, int]


def tag(number: int, kind: int) -> int:
    """A field's number and wire type, as they stand before its value."""
    return number << _KIND_BITS | kind


class Message:
    """What is read, and how much of it may still be looked at."""

    __slots__ = ("body", "left")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.left = MOST_FIELDS


def fields(message: Message, at: int, end: int) -> Iterator[tuple[int, Any]]:
    """(tag, value) of each field of the message between `at` and `end`; of a length-delimited one a `Slice`.

    Raises:
        InvalidInputError: no protobuf message.
        TooLargeError: too many of them.
    """
    body = message.body
    while at < end:
        message.left -= 1
        if message.left < 0:
            raise TooLargeError(f"more than {MOST_FIELDS} fields in one request; send less at once")
        found = body[at]
        if found < _MORE:  # nearly always
            at += 1
        else:
            found, at = varint(body, at, end)
        kind = found & _KIND
        if not 0 < found >> _KIND_BITS < _MAX_FIELD:
            raise _torn(f"field number {found >> _KIND_BITS}", at)
        if kind == LENGTH:
            if at < end and body[at] < _MORE:
                size, at = body[at], at + 1
            else:
                size, at = varint(body, at, end)
            if size > end - at:
                raise _torn("a field that is longer than what is around it", at)
            yield found, (at, at + size)
            at += size
        elif kind == VARINT:
            value, at = varint(body, at, end)
            yield found, value
        elif kind in _FIXED:
            fixed = _FIXED[kind]
            if fixed.size > end - at:
                raise _torn("cut short", at)
            yield found, fixed.unpack_from(body, at)[0]
            at += fixed.size
        else:
            raise _torn(f"wire type {kind}", at)


def varint(body: bytes, at: int, end: int) -> tuple[int, int]:
    """An unsigned number of up to 64 bits, and where it ends. Raises as `fields`."""
    value = shift = 0
    for place in range(at, min(at + _MAX_VARINT, end)):
        byte = body[place]
        value |= (byte & _SEVEN) << shift
        if byte < _MORE:
            return value & _UINT64, place + 1
        shift += 7
    raise _torn("a number that does not end", at)


def gather(message: Message, where: Slice, wanted: Mapping[int, str]) -> dict[str, list[Any]]:
    """The values of the fields whose tags are `wanted`, by name, in order."""
    found: dict[str, list[Any]] = {}
    if where[0] == where[1]:
        return found
    for field, value in fields(message, *where):
        name = wanted.get(field)
        if name is not None:
            found.setdefault(name, []).append(value)
    return found


def each(message: Message, where: Slice, wanted: int) -> Iterator[Any]:
    """The values of the fields with one tag."""
    return (value for found, value in fields(message, *where) if found == wanted)


def text(message: Message, where: Slice) -> str:
    """UTF-8; what is none is replaced."""
    return message.body[where[0] : where[1]].decode("utf-8", "replace")


def write_number(number: int, value: int) -> bytes:
    """A varint field; `value` ≥ 0."""
    return _encoded(tag(number, VARINT)) + _encoded(value)


def write_bytes(number: int, value: bytes) -> bytes:
    """A length-delimited field."""
    return _encoded(tag(number, LENGTH)) + _encoded(len(value)) + value


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value > _SEVEN:
        out.append(value & _SEVEN | _MORE)
        value >>= 7
    out.append(value)
    return bytes(out)


def _torn(what: str, at: int) -> InvalidInputError:
    return InvalidInputError(f"not OTLP protobuf: {what} at byte {at}")

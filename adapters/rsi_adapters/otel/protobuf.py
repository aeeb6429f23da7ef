"""OTLP in protobuf, the default of OpenTelemetry's exporters: read with nothing more installed.

The numbers are those of opentelemetry-proto (trace.proto, logs.proto, common.proto), which have been stable since 1.0.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeAlias

from rsi.errors import TooLargeError
from rsi_adapters.otel import names, signals
from rsi_adapters.otel.signals import Attributes, Event, Resource, Taken
from rsi_adapters.otel.wire import (
    FIXED32,
    FIXED64,
    LENGTH,
    VARINT,
    Message,
    Slice,
    each,
    fields,
    gather,
    tag,
    text,
    write_bytes,
    write_number,
)  # fmt: skip

#: Of the requests, `ResourceSpans` and `ScopeSpans`, which are numbered like their twins for logs.
_FIRST: Final = tag(1, LENGTH)
_SECOND: Final = tag(2, LENGTH)
_SPAN: Final = {
    tag(1, LENGTH): "trace", tag(2, LENGTH): "span", tag(4, LENGTH): "parent", tag(5, LENGTH): "name",
    tag(7, FIXED64): "start", tag(8, FIXED64): "end", tag(9, LENGTH): "attributes", tag(11, LENGTH): "events",
    tag(15, LENGTH): "status", tag(16, FIXED32): "flags",
}  # fmt: skip
_STATUS: Final = {tag(2, LENGTH): "message", tag(3, VARINT): "code"}
_EVENT: Final = {tag(2, LENGTH): "name", tag(3, LENGTH): "attributes"}
_RECORD: Final = {
    tag(1, FIXED64): "at", tag(11, FIXED64): "observed", tag(6, LENGTH): "attributes",
    tag(9, LENGTH): "trace", tag(10, LENGTH): "span", tag(12, LENGTH): "name",
}  # fmt: skip
_PAIR: Final = {tag(1, LENGTH): "key", tag(2, LENGTH): "value"}
_KEY, _OF_KEY = tag(1, LENGTH), tag(2, LENGTH)
#: A length of one byte.
_LONG: Final = 0x80
_SHORTEST: Final = 3
_STRING, _BOOL, _INT, _DOUBLE = tag(1, LENGTH), tag(2, VARINT), tag(3, VARINT), tag(4, FIXED64)
_SIGN: Final = 1 << 63
_BITS: Final = struct.Struct("<Q")
_FLOAT: Final = struct.Struct("<d")

_Item: TypeAlias = Callable[[Message, Slice, Resource, Taken], None]


def traces(body: bytes, most: int) -> Taken:
    """`ExportTraceServiceRequest` → spans.

    Args:
        body: the message.
        most: items of one request.

    Raises:
        InvalidInputError: not such a message.
        TooLargeError: more than `most` spans, or more than `MOST_FIELDS` fields.
    """
    return _read(Message(body), most, _span)


def logs(body: bytes, most: int) -> Taken:
    """`ExportLogsServiceRequest` → records that are events. Raises as `traces`."""
    return _read(Message(body), most, _record)


def _read(message: Message, most: int, item: _Item) -> Taken:
    taken = Taken()
    number = 0
    for groups, (where, resource) in enumerate(_items(message)):
        if groups >= most:
            raise TooLargeError(f"more than {most} items in one request; send less at once")
        if where is None:
            continue
        try:
            item(message, where, resource, taken)
        except ValueError as error:
            taken.refused.append(f"item {number}: {error}")
        number += 1
    return taken


def _items(message: Message) -> Iterator[tuple[Slice | None, Resource]]:
    """Both requests have the same shape: resource, scope, items. Each group counts as well, as an item of nothing."""
    for group in each(message, (0, len(message.body)), _FIRST):
        attrs: Attributes = {}
        for resource in each(message, group, _FIRST):
            attrs |= _attributes(message, each(message, resource, _FIRST), names.OF_RESOURCES)
        found = Resource(attrs)
        yield None, found
        for scope in each(message, group, _SECOND):
            told = [name for described in each(message, scope, _FIRST) for name in each(message, described, _FIRST)]
            found = Resource(attrs, text(message, told[-1]) if told else "")
            yield None, found
            for where in each(message, scope, _SECOND):
                yield where, found


def _span(message: Message, where: Slice, resource: Resource, taken: Taken) -> None:
    got = gather(message, where, _SPAN)
    why, code = "", 0
    for status in got.get("status", ()):
        said = gather(message, status, _STATUS)
        why = _text(message, said, "message") or why
        code = said.get("code", [code])[-1]
    taken.spans.append(
        signals.span(
            _hex(message, got, "trace"), _hex(message, got, "span"), parent=_hex(message, got, "parent"),
            name=_text(message, got, "name"),
            start_nano=got.get("start", _ZERO)[-1], end_nano=got.get("end", _ZERO)[-1],
            attrs=_attributes(message, got.get("attributes", ()), names.OF_SPANS),
            events=tuple(_events(message, got.get("events", ()))),
            message=why, code=code, flags=got.get("flags", _ZERO)[-1], resource=resource,
        )
    )  # fmt: skip


def _events(message: Message, found: Iterable[Slice]) -> Iterator[Event]:
    for where in found:
        got = gather(message, where, _EVENT)
        name = _text(message, got, "name")
        if name in names.EVENTS:
            yield Event(name, _attributes(message, got.get("attributes", ()), names.OF_EVENTS))


def _record(message: Message, where: Slice, resource: Resource, taken: Taken) -> None:
    got = gather(message, where, _RECORD)
    attrs = _attributes(message, got.get("attributes", ()), names.OF_EVENTS)
    name = _text(message, got, "name") or str(attrs.get(names.EVENT_NAME, ""))
    if name == names.EVALUATION:
        nano = got.get("at", _ZERO)[-1] or got.get("observed", _ZERO)[-1]
        taken.records.append(
            signals.record(
                _hex(message, got, "trace"), _hex(message, got, "span"), nano=nano, attrs=attrs, resource=resource
            )
        )


def _attributes(message: Message, pairs: Iterable[Slice], wanted: frozenset[str]) -> Attributes:
    found: Attributes = {}
    for where in pairs:
        key, value = _pair(message, where)
        if value is not None and key in wanted:
            found[key] = _value(message, value)
    return found


def _pair(message: Message, where: Slice) -> tuple[str, Slice | None]:
    """Key and value. Nearly always they are one after the other and short, which needs no looking for fields."""
    body, (at, end) = message.body, where
    if end - at > _SHORTEST and body[at] == _KEY and (size := body[at + 1]) < _LONG:
        behind = at + 2 + size
        if behind + 1 < end and body[behind] == _OF_KEY and body[behind + 1] == end - behind - 2 < _LONG:
            return body[at + 2 : behind].decode("utf-8", "replace"), (behind + 2, end)
    got = gather(message, where, _PAIR)
    return _text(message, got, "key"), got["value"][-1] if "value" in got else None


def _value(message: Message, where: Slice) -> Any:
    """A scalar; lists, maps and bytes are nothing that is read here."""
    found: Any = None
    for kind, value in fields(message, *where):
        if kind == _STRING:
            found = text(message, value)
        elif kind == _BOOL:
            found = value != 0
        elif kind == _INT:
            found = value - (1 << 64) if value & _SIGN else value
        elif kind == _DOUBLE:
            found = _FLOAT.unpack(_BITS.pack(value))[0]
        else:
            found = None
    return found


_ZERO: Final = (0,)


def _text(message: Message, got: dict[str, list[Any]], name: str) -> str:
    return text(message, got[name][-1]) if name in got else ""


def _hex(message: Message, got: dict[str, list[Any]], name: str) -> str:
    return message.body[slice(*got[name][-1])].hex() if name in got else ""


def partial(rejected: int, why: str) -> bytes:
    """`ExportTraceServiceResponse`, and its twin for logs: empty where nothing was refused."""
    if not rejected:
        return b""
    return write_bytes(1, write_number(1, rejected) + write_bytes(2, why.encode("utf-8", "replace")))


def status(code: int, message: str) -> bytes:
    """`google.rpc.Status`, the body of a refusal."""
    return write_number(1, code) + write_bytes(2, message.encode("utf-8", "replace"))

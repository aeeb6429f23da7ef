"""OTLP in JSON: ids are hex, 64-bit numbers are texts, enums are numbers (opentelemetry.io/docs/specs/otlp).

Only what somebody reads is made into objects; the rest, prompts and answers among it, is skipped as bytes. A body that
is made to be slow is therefore cheap: what could cost is counted first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Final, Literal, TypeVar

import msgspec
from msgspec import Raw

from rsi.errors import InvalidInputError, TooLargeError
from rsi_adapters.otel import names, signals
from rsi_adapters.otel.signals import Attributes, Event, Resource, Taken

T = TypeVar("T")

#: Objects in one request. An attribute is two of them in some 60 bytes: 16 MiB of nothing else hold 560,000.
MOST_PARTS: Final = 600_000
#: Some senders write the enum's name, against the specification but without doubt.
_CODES: Final = {"STATUS_CODE_UNSET": 0, "STATUS_CODE_OK": 1, "STATUS_CODE_ERROR": signals.ERROR}
_DIGITS: Final = 20
#: A longer number than this says no more, and takes its time to be read.
_NUMBER: Final = 40
_NONE: Final = Raw(b"null")


class _Part(msgspec.Struct, gc=False, rename="camel"):
    """What is read of an object; members that it lacks are null, others are skipped."""


class _Request(_Part):
    resource_spans: Raw = _NONE
    resource_logs: Raw = _NONE


class _Group(_Part):
    resource: Raw = _NONE
    scope_spans: Raw = _NONE
    scope_logs: Raw = _NONE


class _Scope(_Part):
    scope: Raw = _NONE
    spans: Raw = _NONE
    log_records: Raw = _NONE


class _Described(_Part):
    name: Raw = _NONE
    attributes: Raw = _NONE


class _Span(_Described):
    trace_id: Raw = _NONE
    span_id: Raw = _NONE
    parent_span_id: Raw = _NONE
    start_time_unix_nano: Raw = _NONE
    end_time_unix_nano: Raw = _NONE
    flags: Raw = _NONE
    status: Raw = _NONE
    events: Raw = _NONE


class _Record(_Described):
    trace_id: Raw = _NONE
    span_id: Raw = _NONE
    time_unix_nano: Raw = _NONE
    observed_time_unix_nano: Raw = _NONE
    event_name: Raw = _NONE


class _Status(_Part):
    code: Raw = _NONE
    message: Raw = _NONE


class _Pair(_Part):
    key: Raw = _NONE
    value: Raw = _NONE


class _Value(_Part):
    string_value: Raw = _NONE
    bool_value: Raw = _NONE
    int_value: Raw = _NONE
    double_value: Raw = _NONE


_Kind = Literal["spans", "logs"]
_PAIRS: Final = list[_Pair]
_EVENTS: Final = list[_Described]


def traces(body: bytes, most: int) -> Taken:
    """`ExportTraceServiceRequest` → spans.

    Args:
        body: UTF-8 JSON.
        most: items of one request.

    Raises:
        InvalidInputError: not JSON, or not of this shape.
        TooLargeError: more than `most` spans, or more than `MOST_PARTS` objects.
    """
    taken = Taken()
    for number, (item, resource) in enumerate(_items(body, "spans", _Span, most)):
        try:
            taken.spans.append(_span(_known(item), resource))
        except ValueError as error:
            taken.refused.append(f"item {number}: {error}")
    return taken


def logs(body: bytes, most: int) -> Taken:
    """`ExportLogsServiceRequest` → records that are events. Raises as `traces`."""
    taken = Taken()
    for number, (item, resource) in enumerate(_items(body, "logs", _Record, most)):
        try:
            taken.records += _records(_known(item), resource)
        except ValueError as error:
            taken.refused.append(f"item {number}: {error}")
    return taken


def _items(body: bytes, what: _Kind, kind: type[T], most: int) -> Iterator[tuple[T | None, Resource]]:
    """Each span or record, `None` for what is no object. Groups are counted like items, by themselves."""
    if body.count(b"{") > MOST_PARTS:
        raise _too_many(f"more than {MOST_PARTS} objects")
    try:
        request = msgspec.json.decode(body, type=_Request)
    except msgspec.ValidationError as error:
        raise InvalidInputError("expected an object with resourceSpans or resourceLogs") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInputError(f"not JSON: {str(error).removeprefix('JSON is malformed: ')}") from error
    spans = what == "spans"
    seen = groups = 0
    for group in _strict(request.resource_spans if spans else request.resource_logs, _Group, f"resource{what.title()}"):
        described = _object(group.resource, _Described, "resource")
        attrs = _attributes(described.attributes, names.OF_RESOURCES)
        for scope in _strict(group.scope_spans if spans else group.scope_logs, _Scope, f"scope{what.title()}"):
            resource = Resource(attrs, _text(_object(scope.scope, _Described, "scope").name))
            for item in _lenient(scope.spans if spans else scope.log_records, kind, what):
                seen = _counted(seen, most)
                yield item, resource
            groups = _counted(groups, 2 * most)
        groups = _counted(groups, 2 * most)


def _counted(seen: int, most: int) -> int:
    if seen >= most:
        raise _too_many(f"more than {most} items")
    return seen + 1


def _too_many(what: str) -> TooLargeError:
    return TooLargeError(f"{what} in one request; send less at once")


def _strict(raw: Raw, kind: type[T], name: str) -> list[T]:
    """A list of such objects."""
    try:
        return _read(raw, list[kind] | None) or []  # type: ignore[valid-type]
    except ValueError as error:
        raise InvalidInputError(f"{name}: expected a list of objects", field=name) from error


def _lenient(raw: Raw, kind: type[T], name: str) -> list[T | None] | list[T]:
    """The same; what is none of them does not stop the others."""
    try:
        return _strict(raw, kind, name)
    except InvalidInputError:
        if bytes(raw).count(b",") > MOST_PARTS:
            raise _too_many(f"more than {MOST_PARTS} things that are no objects") from None
        return [_or_none(part, kind) for part in _strict(raw, Raw, name)]


def _or_none(raw: Raw, kind: type[T]) -> T | None:
    try:
        found: T = _read(raw, kind)
    except ValueError:
        return None
    return found


def _known(item: T | None) -> T:
    if item is None:
        raise ValueError("expected an object")
    return item


def _object(raw: Raw, kind: type[T], name: str) -> T:
    try:
        return _read(raw, kind | None) or kind()  # type: ignore[operator]
    except ValueError as error:
        raise InvalidInputError(f"{name}: expected an object", field=name) from error


@cache
def _decoder(kind: Any) -> Callable[[Raw], Any]:
    return msgspec.json.Decoder(kind).decode


def _read(raw: Raw, kind: Any) -> Any:
    """Raises ValueError (msgspec's errors are)."""
    return _decoder(kind)(raw)


def _span(item: _Span, resource: Resource) -> signals.Span:
    status = _or_none(item.status, _Status) or _Status()
    code = _scalar(status.code)
    return signals.span(
        _hex(item.trace_id, "traceId"), _hex(item.span_id, "spanId"), parent=_hex(item.parent_span_id, "parentSpanId"),
        name=_text(item.name), start_nano=_whole(item.start_time_unix_nano, "startTimeUnixNano"),
        end_nano=_whole(item.end_time_unix_nano, "endTimeUnixNano"), attrs=_attributes(item.attributes, names.OF_SPANS),
        events=tuple(_events(item)), message=_text(status.message),
        code=_CODES.get(code, 0) if isinstance(code, str) else _whole(status.code, "code"),
        flags=_whole(item.flags, "flags"), resource=resource,
    )  # fmt: skip


def _events(item: _Span) -> Iterator[Event]:
    if item.events == _NONE:
        return
    for event in _or_none(item.events, _EVENTS) or ():
        name = _text(event.name)
        if name in names.EVENTS:
            yield Event(name, _attributes(event.attributes, names.OF_EVENTS))


def _records(item: _Record, resource: Resource) -> Iterator[signals.Record]:
    attrs = _attributes(item.attributes, names.OF_EVENTS)
    name = _text(item.event_name) or str(attrs.get(names.EVENT_NAME, ""))
    if name == names.EVALUATION:
        at = _whole(item.time_unix_nano, "timeUnixNano") or _whole(item.observed_time_unix_nano, "observedTimeUnixNano")
        yield signals.record(
            _hex(item.trace_id, "traceId"), _hex(item.span_id, "spanId"), nano=at, attrs=attrs, resource=resource
        )


def _attributes(raw: Raw, wanted: frozenset[str]) -> Attributes:
    found: Attributes = {}
    if raw == _NONE:
        return found
    for pair in _or_none(raw, _PAIRS) or ():
        key = _text(pair.key)
        if key in wanted:
            found[key] = _value(pair.value)
    return found


def _value(raw: Raw) -> Any:
    """A scalar; lists, maps and bytes are nothing that is read here."""
    value = _or_none(raw, _Value)
    if value is None:
        return None
    text, flag, double = _scalar(value.string_value), _scalar(value.bool_value), _scalar(value.double_value)
    if isinstance(text, str):
        return text
    if isinstance(flag, bool):
        return flag
    if value.int_value != _NONE:
        try:
            return _whole(value.int_value, "intValue")
        except ValueError:
            return None
    return double if isinstance(double, int | float) and not isinstance(double, bool) else None


def _scalar(raw: Raw) -> Any:
    """A text, a number or a truth value; `None` for all else. Numbers are read by Python, which is never slow at it."""
    said = bytes(raw)
    if said[:1] == b'"':
        return _or_none(raw, str) if _ESCAPE in said else said[1:-1].decode("utf-8", "replace")
    if said in _WORDS:
        return _WORDS[said]
    if len(said) > _NUMBER or said[:1] in (b"{", b"["):
        return None
    return float(said) if _FRACTION.intersection(said) else int(said)


_WORDS: Final[dict[bytes, bool | None]] = {b"true": True, b"false": False, b"null": None}
_FRACTION: Final = frozenset(b".eE")
_ESCAPE: Final = b"\\"


def _hex(raw: Raw, key: str) -> str:
    found = _scalar(raw)
    if found is None and raw == _NONE:
        return ""
    if not isinstance(found, str):
        raise ValueError(f"{key}: expected hex digits")  # noqa: TRY004 - a refused item, like the others
    return found.lower()


def _text(raw: Raw) -> str:
    found = _scalar(raw)
    return found if isinstance(found, str) else ""


def _whole(raw: Raw, key: str) -> int:
    """A whole number, written as a number or as text."""
    found = _scalar(raw)
    if found is None and raw == _NONE:
        return 0
    if isinstance(found, str) and found.removeprefix("-").isascii() and found.removeprefix("-").isdigit():
        found = int(found) if len(found) <= _DIGITS else None
    if isinstance(found, float) and math.isfinite(found) and found.is_integer():
        found = int(found)
    if not isinstance(found, int) or isinstance(found, bool):
        raise ValueError(f"{key}: expected a whole number")  # noqa: TRY004 - as above
    return found

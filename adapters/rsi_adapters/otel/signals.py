"""What both encodings of OTLP become: spans and log records, with only the attributes that somebody here reads.

Checked values: ids are lower-case hex, times epoch seconds. Prompts and answers are not in here: they are skipped while
the request is read.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

Attributes = dict[str, Any]

ERROR: Final = 2
"""`STATUS_CODE_ERROR` (opentelemetry-proto, trace.proto); 0 is unset, 1 is ok."""
_REMOTE: Final = 0x300
"""`SpanFlags`: bit 8 says that bit 9 is set on purpose, bit 9 that the parent is in another process."""
_TRACE: Final = re.compile(r"(?!0{32})[0-9a-f]{32}")
_SPAN: Final = re.compile(r"(?!0{16})[0-9a-f]{16}")
_NO_SPAN: Final = frozenset({"", "0" * 16})
_NANO: Final = 1e9
#: A number that OTLP can say and no clock: the year 2554. Ingest refuses what is past 9999, nothing here is.
_LAST_NANO: Final = 2**64 - 1


class Resource(msgspec.Struct, frozen=True):
    """Who reports: its attributes, and the instrumentation's name."""

    attrs: Attributes
    scope: str = ""


class Event(msgspec.Struct, frozen=True):
    """Something that happened in a span."""

    name: str
    attrs: Attributes


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """One span. `parent` is empty for a root; `remote`: its parent is known to be in another process."""

    trace: str
    span: str
    parent: str
    name: str
    start: float
    end: float
    code: int
    message: str
    attrs: Attributes
    events: tuple[Event, ...]
    remote: bool
    resource: Resource


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One log record that is a grade; `trace` and `span` are empty where it belongs to none."""

    trace: str
    span: str
    at: float
    attrs: Attributes
    resource: Resource


class Taken(msgspec.Struct):
    """What one request held. `refused`: why, for each item that was not taken."""

    spans: list[Span] = msgspec.field(default_factory=list)
    records: list[Record] = msgspec.field(default_factory=list)
    refused: list[str] = msgspec.field(default_factory=list)


def span(
    trace: str,
    ident: str,
    *,
    parent: str,
    name: str,
    start_nano: int,
    end_nano: int,
    attrs: Attributes,
    events: tuple[Event, ...],
    message: str,
    code: int,
    flags: int,
    resource: Resource,
) -> Span:
    """A checked span.

    Raises:
        ValueError: says which field is wrong.
    """
    parent = "" if parent in _NO_SPAN else parent
    _check_ids(trace, ident)
    if parent and not _SPAN.fullmatch(parent):
        raise ValueError(f"parentSpanId: expected 16 hex digits, got {parent[:40]!r}")
    if not 0 < end_nano <= _LAST_NANO:
        raise ValueError("endTimeUnixNano: is missing; a span is reported when it has ended")
    start = start_nano if 0 < start_nano <= end_nano else end_nano
    return Span(
        trace=trace, span=ident, parent=parent, name=name, start=start / _NANO, end=end_nano / _NANO,
        code=code, message=message, attrs=attrs, events=events, remote=flags & _REMOTE == _REMOTE, resource=resource,
    )  # fmt: skip


def record(trace: str, ident: str, *, nano: int, attrs: Attributes, resource: Resource) -> Record:
    """A checked record.

    Raises:
        ValueError: says which field is wrong.
    """
    if trace or ident:
        _check_ids(trace, ident or "f" * 16)
    if not 0 <= nano <= _LAST_NANO:
        raise ValueError("timeUnixNano: is no time")
    return Record(trace=trace, span=ident, at=nano / _NANO, attrs=attrs, resource=resource)


def _check_ids(trace: str, ident: str) -> None:
    if not _TRACE.fullmatch(trace):
        raise ValueError(f"traceId: expected 32 hex digits, not all zero, got {trace[:40]!r}")
    if not _SPAN.fullmatch(ident):
        raise ValueError(f"spanId: expected 16 hex digits, not all zero, got {ident[:40]!r}")

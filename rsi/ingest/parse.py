"""Bytes → items: one bad line or element never stops the others, and every refusal says where and why.

Raises nothing for a single item; what cannot be read at all (not JSON, over the request limit) raises.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from rsi.config import Limits
from rsi.errors import InvalidInputError, TooLargeError
from rsi.ingest.located import located, reason, shown
from rsi.ingest.wire import ERROR_FIELDS, EXPECTED, FIELDS, Wire

#: Items of one request or file: 16 MiB of two-byte lines would otherwise become gigabytes of refusals.
MAX_ITEMS: Final = 250_000
#: An array with more commas is cut with the count in view; with fewer, msgspec cuts it at once.
_COMMAS: Final = 4 * MAX_ITEMS

#: What editors on Windows put before UTF-8.
_BOM: Final = b"\xef\xbb\xbf"


def _float(digits: str) -> float:
    """A number of `metadata`. The decoder's own way takes 20 times as long where the exponent is large."""
    value = float(digits)
    if math.isinf(value):
        raise ValueError("Number out of range")  # as the decoder says it
    return value


#: The whole body at once: the fast path.
_many: Final = msgspec.json.Decoder(list[Wire], float_hook=_float).decode
_lines: Final = msgspec.json.Decoder(Wire, float_hook=_float).decode_lines
_one: Final = msgspec.json.Decoder(Wire, float_hook=_float).decode
_any: Final = msgspec.json.Decoder(float_hook=_float).decode
_raws: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Refused(msgspec.Struct, frozen=True):
    """An item that is no outcome: why, and what it was (as it came)."""

    error: str
    raw: bytes
    field: str | None = None


Item: TypeAlias = Wire | Refused


class Parsed(msgspec.Struct, frozen=True):
    """Items in order. `single`: the body was one object, so messages say `outcome` and not `outcome[0]`."""

    items: Sequence[Item]
    single: bool = False


def parse(body: bytes, limits: Limits, *, ndjson: bool = False) -> Parsed:
    """JSON (object or array) or NDJSON → items.

    Raises:
        TooLargeError: the body is over `limits.request_bytes`, or it is one object over `limits.outcome_bytes`.
        InvalidInputError: not JSON at all.
    """
    check_size(len(body), limits)
    body = body.removeprefix(_BOM)
    if ndjson:
        return Parsed(_ndjson(body, limits))
    if body.lstrip(b" \t\r\n")[:1] == b"[":
        return Parsed(_array(body, limits))
    if len(body) > limits.outcome_bytes:
        raise TooLargeError(_too_large("outcome", len(body), limits))
    item = one(body, limits, "outcome")
    if isinstance(item, Refused) and item.error.startswith(_NOT_JSON):
        raise InvalidInputError(item.error.removeprefix("outcome: "))
    return Parsed((item,), single=True)


def encode_items(items: Sequence[Any], limits: Limits) -> Parsed:
    """Already decoded items, as a door in Python has them → the same items as if they had come as JSON."""
    return Parsed([_from_python(i, item, limits) for i, item in enumerate(items)])


def check_size(size: int, limits: Limits) -> None:
    """Raises `TooLargeError` for a body over `limits.request_bytes`."""
    if size > limits.request_bytes:
        raise TooLargeError(
            f"{size} bytes are over the limit of {limits.request_bytes} for one request or file "
            "(setting limits.request_bytes); send less at once"
        )


def _check_count(items: int) -> None:
    if items > MAX_ITEMS:
        raise TooLargeError(f"more than {MAX_ITEMS} items in one request or file; send less at once")


def _ndjson(body: bytes, limits: Limits) -> Sequence[Item]:
    _check_count(body.count(b"\n"))
    found = _at_once(_lines, body, limits)
    return found or [one(line, limits, f"outcome[{i}]") for i, line in enumerate(lines(body))]


def _array(body: bytes, limits: Limits) -> Sequence[Item]:
    found = _at_once(_many, body, limits)
    return found or [one(raw, limits, f"outcome[{i}]") for i, raw in enumerate(_elements(body))]


def _at_once(decode: Callable[[bytes], list[Wire]], body: bytes, limits: Limits) -> list[Wire] | None:
    """The fast path: everything, if everything is right and plain; else `None`, and each item is read by itself."""
    if len(body) > limits.outcome_bytes:
        return None
    try:
        found = decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    for item in found:  # metadata is the only field whose depth its type does not bound
        if item.metadata and depth(item.metadata) >= limits.depth:
            return None
    return found


def lines(body: bytes) -> list[bytes]:
    """The lines that count: an item's index is its place among them."""
    return [line for line in body.split(b"\n") if line.strip()]


def _elements(body: bytes) -> Sequence[bytes | msgspec.Raw]:
    """The elements of an array; also of one that has a bad element, as long as the brackets match.

    Raises:
        InvalidInputError: no array.
    """
    if body.count(b",") > _COMMAS:
        return list(_split(body))
    try:
        found: Sequence[bytes | msgspec.Raw] = _raws(body)
    except (msgspec.DecodeError, RecursionError) as error:
        found = list(_split(body))
        if not any(_is_json(element) for element in found):
            raise InvalidInputError(f"not JSON: {reason(error)}") from error
    _check_count(len(found))
    return found


_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[\]{},]', re.DOTALL)


def _split(body: bytes) -> Iterator[bytes]:
    """Cut `[a, b, …]` at its own commas; nothing where the brackets do not match."""
    level, start, cuts, end = 0, 0, [], -1
    for found in _TOKEN.finditer(body):
        mark = found[0]
        if mark in (b"[", b"{"):
            level += 1
            if level == 1:
                start = found.end()
        elif mark in (b"]", b"}"):
            level -= 1
            if level == 0:
                end = found.start()
                break
        elif mark == b"," and level == 1:
            cuts.append(found.start())
            if len(cuts) > MAX_ITEMS:
                break
    _check_count(len(cuts))
    if end < 0 or body[end + 1 :].strip():
        return
    for cut in [*cuts, end]:
        yield body[start:cut]
        start = cut + 1


def _is_json(element: bytes | msgspec.Raw) -> bool:
    try:
        _any(element)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


_NOT_JSON: Final = "outcome: not JSON: "


def one(raw: bytes | msgspec.Raw, limits: Limits, where: str) -> Item:
    """One element or line → an item; `where` begins its messages (`outcome[3]`)."""
    size = len(memoryview(raw))
    if size > limits.outcome_bytes:
        return Refused(_too_large(where, size, limits), bytes(raw[:_KEPT]) if isinstance(raw, bytes) else b"")
    try:
        found = _one(raw)
    except msgspec.ValidationError:
        return _slowly(bytes(raw), limits, where)
    except RecursionError:
        return _too_deep(where, bytes(raw), limits)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Refused(f"{where}: not JSON: {reason(error)}", bytes(raw))
    if found.metadata and depth(found.metadata) >= limits.depth:
        return _too_deep(where, bytes(raw), limits)
    return found


#: How much of a refused item is worth keeping.
_KEPT: Final = 16 * 1024


def _slowly(raw: bytes, limits: Limits, where: str) -> Item:
    """Unknown fields go under `metadata`; whatever else is wrong gets its message."""
    try:
        value = _any(raw)
    except RecursionError:
        return _too_deep(where, raw, limits)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return Refused(f"{where}: not JSON: {reason(error)}", raw)
    if not isinstance(value, dict):
        return Refused(f"{where}: expected an object, got {shown(value)}", raw)
    if depth(value) > limits.depth:
        return _too_deep(where, raw, limits)
    known = {name: field for name, field in value.items() if name in FIELDS}
    extra = {name: field for name, field in value.items() if name not in FIELDS}
    for name in ("error", "error_message", "error_msg"):
        known[name] = _known_error(known.get(name), name, extra)
    try:
        found = msgspec.convert(known, Wire)
    except msgspec.ValidationError as error:
        message, field = located(str(error), value, where)
        return Refused(message, raw, field)
    found.metadata = _with_extra(found.metadata or {}, extra)
    return found


def _known_error(error: Any, name: str, extra: dict[str, Any]) -> Any:
    if not isinstance(error, dict) or not error.keys() - ERROR_FIELDS:
        return error
    extra[name] = {key: value for key, value in error.items() if key not in ERROR_FIELDS}
    return {key: value for key, value in error.items() if key in ERROR_FIELDS}


def _with_extra(metadata: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """The sender's own metadata wins; an unknown field of the same name stands beside it as `field.<name>`."""
    kept = dict(metadata)
    for name, value in extra.items():
        kept[f"field.{name}" if name in metadata else name] = value
    return kept


def _from_python(index: int, item: Any, limits: Limits) -> Item:
    where = f"outcome[{index}]"
    try:
        problem = _not_json(item, limits)
        if problem:
            return Refused(f"{where}{problem}", repr(item)[:_KEPT].encode(errors="replace"))
        raw = msgspec.json.encode(item)
    except RecursionError:
        return _too_deep(where, b"", limits)
    except (TypeError, ValueError, OverflowError) as error:
        return Refused(f"{where}: cannot be JSON: {error}", repr(item)[:_KEPT].encode(errors="replace"))
    return one(raw, limits, where)


def _not_json(value: Any, limits: Limits, path: str = "", level: int = 0) -> str | None:
    """Where a decoded value holds NaN or Infinity, or is too deep: `.quality: …`; msgspec would write null."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"{path}: expected {EXPECTED.get(path.lstrip('.'), 'a finite number')}, got {value}"
    if level > limits.depth + 1:
        return None
    children: Any = ()
    if isinstance(value, dict):
        children = ((f"{path}.{key}", child) for key, child in value.items())
    elif isinstance(value, list | tuple):
        children = ((f"{path}[{i}]", child) for i, child in enumerate(value))
    for below, child in children:
        problem = _not_json(child, limits, below, level + 1)
        if problem:
            return problem
    return None


def depth(value: Any) -> int:
    """How deep containers are nested: a scalar is 0, `{}` is 1. Counted without recursion, at C speed per level."""
    level, layer = 0, [value]
    while True:
        layer = [found for found in layer if isinstance(found, dict | list)]
        if not layer:
            return level
        level += 1
        layer = [child for found in layer for child in (found.values() if isinstance(found, dict) else found)]


def _too_large(where: str, size: int, limits: Limits) -> str:
    return (
        f"{where}: {size} bytes are over the limit of {limits.outcome_bytes} for one outcome "
        "(setting limits.outcome_bytes)"
    )


def _too_deep(where: str, raw: bytes, limits: Limits) -> Refused:
    return Refused(f"{where}: nested deeper than {limits.depth} (setting limits.depth)", raw[:_KEPT])

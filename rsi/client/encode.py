"""What was handed in → one redacted line of JSON. Runs in the sender's thread."""

from __future__ import annotations

from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, TypeAlias

import msgspec

from rsi.client.facts import ErrorFacts
from rsi.client.recorded import Recorded
from rsi.client.tally import Tally
from rsi.client.wire import MAX_TEXT, TEXTS, Item
from rsi.redact import Redactor

Pending: TypeAlias = Item | Recorded

#: The daemon's limit for one outcome (contract §2); beyond it the large optional parts stay behind.
MAX_ITEM_BYTES: Final = 1024 * 1024
_MAX_OBJECT: Final = 1_000  # characters of a metadata value that is not JSON
_NAME: Final = 64  # characters: up to here it is a name that comes again, and is looked at once
_NAMES: Final = 2_048
_NUMBERS: Final = frozenset({int, float, bool, type(None)})
_REST: Final = tuple(field for field in TEXTS if field not in ("task", "source"))
_rest: Final = attrgetter(*_REST)
_NOTHING: Final = (None,) * len(_REST)
_HEAVY: Final = ("metadata", "input", "output", "tags", "issues")


class Encoder:
    """Redacts and encodes; what cannot be encoded is counted and named, never raised.

    Args:
        redactor: takes the secrets out.
        tally: counts what was cut or lost.
    """

    def __init__(self, redactor: Redactor, tally: Tally) -> None:
        self._redactor = redactor
        self._name = lru_cache(_NAMES)(redactor.text)
        self._json = msgspec.json.Encoder()
        self._tally = tally

    def line(self, pending: Pending, lost: int = 0) -> bytes | None:
        """One JSON object without a newline; `None` where that is not possible.

        Args:
            pending: what was handed in; it is used up.
            lost: outcomes dropped before this one; they are reported in its metadata.
        """
        try:
            if isinstance(pending, Item):
                return self._own(pending, lost)
            return self._foreign(pending.item(), lost)
        except Exception as error:  # noqa: BLE001 - the border to whatever the host put into metadata
            self._tally.count("unencodable")
            self._tally.say_once(f"an outcome could not be encoded and is lost: {type(error).__name__}: {error}")
            return None

    def _own(self, item: Item, lost: int) -> bytes:
        """What guard and step report: only some of its fields can hold a secret."""
        if item.duration_ms is not None:
            item.duration_ms = int(item.duration_ms * 1000) / 1000  # microseconds; `round` takes three times as long
        if lost:
            item.metadata = {**(item.metadata or {}), "rsi_dropped": lost}
        item.task, item.source = self._clean(item.task), self._clean(item.source)
        rest = _rest(item)
        if rest != _NOTHING:  # most calls work, and have no more to say
            for field, value in zip(_REST, rest, strict=True):
                if value is not None:
                    setattr(item, field, self._clean(value))
        try:
            line = self._json.encode(item)
        except UnicodeEncodeError:
            return self._foreign(msgspec.structs.asdict(item), 0)
        return line if len(line) <= MAX_ITEM_BYTES else self._cut(msgspec.to_builtins(item))

    def _foreign(self, item: dict[str, Any], lost: int) -> bytes:
        """What somebody recorded: any field can hold anything."""
        for key in ("input", "output"):
            if isinstance(item.get(key), str):
                item[key] = item[key][:MAX_TEXT]
        if lost:
            item["metadata"] = {**(item.get("metadata") or {}), "rsi_dropped": lost}
        plain = {key: self._clean(value) for key, value in item.items()}
        line = self._encode(plain)
        return line if len(line) <= MAX_ITEM_BYTES else self._cut(plain)

    def _cut(self, plain: dict[str, Any]) -> bytes:
        self._tally.count("cut")
        light = {key: _shortened(value) for key, value in plain.items() if key not in _HEAVY} | {"tags": ["rsi:cut"]}
        line = self._encode(light)
        if len(line) > MAX_ITEM_BYTES:
            raise ValueError(f"{len(line)} bytes are over the limit of {MAX_ITEM_BYTES}")
        return line

    def _encode(self, plain: dict[str, Any]) -> bytes:
        try:
            return self._json.encode(plain)
        except UnicodeEncodeError:  # a lone surrogate, from a file name or a broken decoder
            return self._json.encode(_mend(plain))

    def _clean(self, value: Any) -> Any:
        kind = type(value)
        if kind is str:
            return self._name(value) if len(value) <= _NAME else self._redactor.text(value)
        if kind in _NUMBERS:
            return value
        if kind is ErrorFacts:
            value = value.item()
        return self._redactor.value(msgspec.to_builtins(value, str_keys=True, enc_hook=_as_text))


def _shortened(value: Any) -> Any:
    """Long texts keep their two ends: an error says what it is at one of them."""
    if isinstance(value, str) and len(value) > MAX_TEXT:
        return f"{value[: MAX_TEXT // 2]} … {value[-MAX_TEXT // 2 :]}"
    return {key: _shortened(item) for key, item in value.items()} if isinstance(value, dict) else value


def _as_text(value: Any) -> str:
    return str(value)[:_MAX_OBJECT]


def _mend(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_mend(key): _mend(item) for key, item in value.items()}
    return [_mend(item) for item in value] if isinstance(value, list) else value

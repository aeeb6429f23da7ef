"""What was handed in → one redacted line of JSON. Runs in the sender's thread."""

from __future__ import annotations

from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, TypeAlias

import msgspec

from rsi.client.facts import MAX_MESSAGE, ErrorFacts
from rsi.client.recorded import Recorded, texts_in
from rsi.client.tally import Tally
from rsi.client.wire import MAX_TEXT, TEXTS, Item
from rsi.redact import Redactor
from rsi.redact.cutting import ends, head

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
_LONG: Final = ("input", "output")
_HEAVY: Final = ("metadata", "input", "output", "tags", "issues")
_LONGEST_ERROR: Final = 64 * 1024  # characters of an error that was given as text: more is not looked at
_CUT: Final = ["rsi:cut"]


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
            return self._light(pending, error)

    def _light(self, pending: Pending, first: Exception) -> bytes | None:
        """Without what may hold anything: that something failed is worth more than what was noted beside it."""
        try:
            item = msgspec.structs.asdict(pending) if isinstance(pending, Item) else pending.item()
            line = self._foreign({key: value for key, value in item.items() if key not in _HEAVY} | {"tags": _CUT}, 0)
        except Exception as error:  # noqa: BLE001 - as above
            self._tally.count("unencodable")
            self._tally.say_once(f"an outcome could not be encoded and is lost: {type(error).__name__}: {error}")
            return None
        self._tally.count("cut")
        self._tally.say_once(f"an outcome came without its metadata: {type(first).__name__}: {first}", key="light")
        return line

    def _own(self, item: Item, lost: int) -> bytes:
        """What guard and step report: only some of its fields can hold a secret."""
        if item.duration_ms is not None:
            item.duration_ms = int(item.duration_ms * 1000) / 1000  # microseconds; `round` takes three times as long
        if lost:
            item.metadata = {**(item.metadata or {}), "rsi_dropped": lost}
        item.task, item.source = self._clean(item.task), self._clean(item.source)
        if item.metadata and texts_in(item.metadata) > MAX_ITEM_BYTES:
            return self._foreign(msgspec.structs.asdict(item), 0)
        rest = _rest(item)
        if rest != _NOTHING:  # most calls work, and have no more to say
            for field, value in zip(_REST, rest, strict=True):
                if value is not None:
                    clean = self._clean(value)
                    setattr(item, field, clean[:MAX_TEXT] if field in _LONG and isinstance(clean, str) else clean)
        try:
            line = self._json.encode(item)
        except UnicodeEncodeError:
            return self._foreign(msgspec.structs.asdict(item), 0)
        return line if len(line) <= MAX_ITEM_BYTES else self._cut(msgspec.to_builtins(item))

    def _foreign(self, item: dict[str, Any], lost: int) -> bytes:
        """What somebody recorded: any field can hold anything."""
        item = _bounded(item)
        if texts_in(item) > MAX_ITEM_BYTES:  # looking for secrets in megabytes would stop the host for a while
            self._tally.count("cut")
            item = {key: value for key, value in item.items() if key not in _HEAVY} | {"tags": _CUT}
        if lost:
            item["metadata"] = {**(item.get("metadata") or {}), "rsi_dropped": lost}
        plain = {key: self._clean(value) for key, value in item.items()}
        for key in _LONG:
            if isinstance(plain.get(key), str):
                plain[key] = plain[key][:MAX_TEXT]
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
            found: dict[str, Any] = self._redactor.value(value.item())
            return found | {"message": found["message"][:MAX_MESSAGE]}
        return self._redactor.value(msgspec.to_builtins(value, str_keys=True, enc_hook=_as_text))


def _shortened(value: Any) -> Any:
    """Long texts keep their two ends: an error says what it is at one of them."""
    if isinstance(value, str) and len(value) > MAX_TEXT:
        return f"{value[: MAX_TEXT // 2]} … {value[-MAX_TEXT // 2 :]}"
    return {key: _shortened(item) for key, item in value.items()} if isinstance(value, dict) else value


def _bounded(item: dict[str, Any]) -> dict[str, Any]:
    """Long texts cut, with what has to be seen to find the secrets at the cut."""
    found = dict(item)
    for key in _LONG:
        if isinstance(found.get(key), str):
            found[key] = head(found[key], MAX_TEXT)
    error = found.get("error")
    if isinstance(error, str):
        found["error"] = ends(error, _LONGEST_ERROR)
    elif isinstance(error, dict):
        found["error"] = {
            key: ends(value, _LONGEST_ERROR) if isinstance(value, str) else value for key, value in error.items()
        }
    return found


def _as_text(value: Any) -> str:
    try:
        return head(str(value), _MAX_OBJECT)
    except Exception:  # noqa: BLE001 - the host's own `__str__`
        return f"<{type(value).__name__}>"


def _mend(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_mend(key): _mend(item) for key, item in value.items()}
    return [_mend(item) for item in value] if isinstance(value, list) else value

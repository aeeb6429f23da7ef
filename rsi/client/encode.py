"""What was handed in → one redacted line of JSON. Runs in the sender's thread."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, Protocol

import msgspec

from rsi.client.tally import Tally
from rsi.redact import Redactor

#: The daemon's limit for one outcome (contract §2); beyond it the large optional parts stay behind.
MAX_ITEM_BYTES: Final = 1024 * 1024
MAX_TEXT: Final = 16 * 1024  # characters of `input` and `output`
_MAX_OBJECT: Final = 1_000  # characters of a metadata value that is not JSON
_NAME: Final = 64  # characters: up to here it is a name that comes again, and is looked at once
_NAMES: Final = 2_048
_NUMBERS: Final = frozenset({int, float, bool, type(None)})
_HEAVY: Final = ("metadata", "input", "output", "tags")


class Pending(Protocol):
    """Something that waits in the queue. `texts` are the fields that can hold the host's words; `None`: any can."""

    @property
    def texts(self) -> tuple[str, ...] | None:
        """Fields to be redacted."""

    def item(self) -> dict[str, Any]:
        """The outcome as the contract spells it; called once, in the sender's thread."""


class Encoder:
    """Redacts and encodes; what cannot be encoded is counted and named, never raised.

    Args:
        redactor: takes the secrets out.
        tally: counts what was cut or lost.
        made: how ids begin that this process makes; they hold nothing to look for.
    """

    def __init__(self, redactor: Redactor, tally: Tally, made: str) -> None:
        self._redactor = redactor
        self._name = lru_cache(_NAMES)(redactor.text)
        self._tally = tally
        self._made = made

    def line(self, pending: Pending, lost: int = 0) -> bytes | None:
        """One JSON object without a newline; `None` where that is not possible.

        Args:
            pending: what was handed in.
            lost: outcomes dropped before this one; they are reported in its metadata.
        """
        try:
            return self._line(pending.item(), pending.texts, lost)
        except Exception as error:  # noqa: BLE001 - the border to whatever the host put into metadata
            self._tally.count("unencodable")
            self._tally.say_once(f"an outcome could not be encoded and is lost: {type(error).__name__}: {error}")
            return None

    def _line(self, item: dict[str, Any], texts: tuple[str, ...] | None, lost: int) -> bytes:
        for key in ("input", "output"):
            if isinstance(item.get(key), str):
                item[key] = item[key][:MAX_TEXT]
        if lost:
            item["metadata"] = {**(item.get("metadata") or {}), "rsi_dropped": lost}
        line = self._encode(item, texts)
        if len(line) <= MAX_ITEM_BYTES:
            return line
        self._tally.count("cut")
        line = self._encode(
            {key: value for key, value in item.items() if key not in _HEAVY} | {"tags": ["rsi:cut"]}, texts
        )
        if len(line) > MAX_ITEM_BYTES:
            raise ValueError(f"{len(line)} bytes are over the limit of {MAX_ITEM_BYTES}")
        return line

    def _encode(self, item: dict[str, Any], texts: tuple[str, ...] | None) -> bytes:
        plain = item if texts is not None else dict(item)
        for key in texts if texts is not None else list(plain):
            if key in plain:
                plain[key] = self._clean(key, plain[key])
        try:
            return msgspec.json.encode(plain)
        except UnicodeEncodeError:  # a lone surrogate, from a file name or a broken decoder
            return msgspec.json.encode(_mend(plain))

    def _clean(self, key: str, value: Any) -> Any:
        kind = type(value)
        if kind in _NUMBERS or key == "fixes":  # the policy's own words
            return value
        if kind is not str:
            return self._redactor.value(msgspec.to_builtins(value, str_keys=True, enc_hook=_as_text))
        if len(value) > _NAME:
            return self._redactor.text(value)
        return value if value.startswith(self._made) else self._name(value)


def _as_text(value: Any) -> str:
    return str(value)[:_MAX_OBJECT]


def _mend(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_mend(key): _mend(item) for key, item in value.items()}
    return [_mend(item) for item in value] if isinstance(value, list) else value

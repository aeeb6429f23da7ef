"""JSON by a scanner that knows where every value stands; comments and trailing commas are not JSON and are refused."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any, Final

from rsi.fix.targets.formats.model import Gap, NotEditableError, Spot, number, only
from rsi.fix.targets.keypath import KeyPath

_BLANK: Final = re.compile(r"[ \t\r\n]*")


class JsonDocument:
    """One JSON text, read by the standard library; positions by walking the same text along the path."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._data = _load(text)
        self._decoder = json.JSONDecoder()

    def find(self, path: KeyPath) -> Spot | None:
        """See `Document`."""
        at = self._skip(0)
        for depth, part in enumerate(path):
            found = self._child(at, part)
            if found is None:
                if depth + 1 < len(path):
                    raise NotEditableError(f"there is no {part!r} above it; add it by hand first")
                return None
            at = found
        value, end = self._decoder.raw_decode(self._text, at)
        return Spot(value, at, end)

    def gap(self, path: KeyPath) -> Gap:
        """Before the first key of its object, with the blanks that stand before that."""
        above = self.find(path[:-1]) if len(path) > 1 else Spot(self._data, self._skip(0), 0)
        if above is None or not isinstance(above.value, dict) or not above.value:
            raise NotEditableError("its parent is no object with keys; add the key by hand with the value it has now")
        first = self._skip(above.start + 1)
        blank = self._text[above.start + 1 : first]
        return Gap(first, f"{json.dumps(path[-1])}: ", f",{blank or ' '}")

    def write(self, value: Any, raw: str | None) -> str:
        """See `Document`; what was ASCII stays ASCII."""
        if isinstance(value, int | float) and not isinstance(value, bool):
            return number(value)
        return json.dumps(value, ensure_ascii=raw is None or raw.isascii(), allow_nan=False)

    def only(self, new: str, path: KeyPath, value: Any) -> None:
        """See `Document`."""
        only(self._data, _load(new), path, value, inserted=self.find(path) is None)

    def _skip(self, at: int) -> int:
        found = _BLANK.match(self._text, at)
        return found.end() if found else at

    def _child(self, at: int, part: str) -> int | None:
        """Where the value of one entry starts."""
        opening = self._text[at]
        if opening not in "{[":
            raise NotEditableError(f"{part!r} lies inside a plain value")
        if opening == "[" and not (part.isascii() and part.isdigit()):
            raise NotEditableError(f"{part!r} is no index of a list")
        at, index = self._skip(at + 1), 0
        while self._text[at] not in "}]":
            name = str(index)
            if opening == "{":
                name, at = self._decoder.raw_decode(self._text, at)
                at = self._skip(self._skip(at) + 1)
            if name == part:
                return at
            _, end = self._decoder.raw_decode(self._text, at)
            at, index = self._skip(end), index + 1
            if self._text[at] == ",":
                at = self._skip(at + 1)
        if opening == "[":
            raise NotEditableError(f"the list has {index} entries, none at {part}")
        return None


@lru_cache(maxsize=2)
def read(text: str) -> JsonDocument:
    """The document of a text, kept for the next question about it (`remembered`); raises `NotEditableError`."""
    return JsonDocument(text)


def _load(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError as error:
        raise NotEditableError("it is nested too deeply to be read") from error
    except ValueError as error:
        raise NotEditableError(f"not JSON ({error}); comments and trailing commas are not JSON") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise NotEditableError(
            f"the key {twice!r} is there twice in one object, and readers differ on which one counts"
        )
    return found


def _no_constant(name: str) -> Any:
    raise NotEditableError(f"{name} is not JSON")

"""Key paths: `llm.retries`, `models.0.timeout`, `"a.b".c`. Digits are an index where the parent is a list."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Final

from rsi.errors import InvalidInputError

KeyPath = tuple[str, ...]
BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
MAX_DEPTH: Final = 32
"""As deep as an outcome may be (contract, limits); no configuration goes there."""


def parse(text: str) -> KeyPath:
    """`a."b.c".0` → `("a", "b.c", "0")`; a quoted segment is a JSON string.

    Raises:
        InvalidInputError: not a key path.
    """
    found: list[str] = []
    at = 0
    while True:
        match = _QUOTED.match(text, at) or BARE.match(text, at)
        if match is None:
            raise InvalidInputError(f'{text!r} is no key path; write it like llm.retries or "a.b".c', field=text)
        found.append(_segment(text, match[0]))
        at = match.end()
        if at == len(text):
            break
        if text[at] != ".":
            raise InvalidInputError(f'{text!r}: expected "." at character {at + 1} of the key path', field=text)
        at += 1
    if len(found) > MAX_DEPTH:
        raise InvalidInputError(f"{text!r}: a key path has at most {MAX_DEPTH} parts", field=text)
    return tuple(found)


def shown(path: Iterable[str]) -> str:
    """The canonical text of a path."""
    return ".".join(part if BARE.fullmatch(part) else json.dumps(part) for part in path)


def _segment(text: str, raw: str) -> str:
    if not raw.startswith('"'):
        return raw
    try:
        return str(json.loads(raw))
    except ValueError as error:
        raise InvalidInputError(f"{text!r}: {raw} is not a quoted key: {error}", field=text) from error

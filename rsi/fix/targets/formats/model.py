"""One value in a text: where it stands, what it says, and how another would be written in its place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from rsi.fix.targets.keypath import KeyPath


class NotEditableError(Exception):
    """Why this text or this place in it cannot be edited; the caller adds the file, `key` is set where it is known."""

    def __init__(self, reason: str, *, key: str = "") -> None:
        super().__init__(reason)
        self.key = key


class Spot(NamedTuple):
    """Characters `start` to `end` of the text hold `value`."""

    value: Any
    start: int
    end: int


class Gap(NamedTuple):
    """Where a missing key goes: `head`, the value, `tail`, all inserted at character `at`."""

    at: int
    head: str
    tail: str


class Document(Protocol):
    """A text that was read once. Every method raises `NotEditableError`."""

    def find(self, path: KeyPath) -> Spot | None:
        """The value at `path`; `None`: its parent has no such key."""

    def gap(self, path: KeyPath) -> Gap:
        """Where a key that `find` did not find would be inserted."""

    def write(self, value: Any, raw: str | None) -> str:
        """`value` in this format, in the manner of `raw`, the characters that it replaces."""

    def only(self, new: str, path: KeyPath, value: Any) -> None:
        """Check that `new` says what this text says, but `value` at `path` (`None`: no such key), to every reader."""


def same(a: Any, b: Any) -> bool:
    """Equal, types included: 1 is not 1.0 and not true. NaN is itself."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float) and math.isnan(a):
        return math.isnan(b)
    return bool(a == b)


def number(value: float) -> str:
    """A finite number as every reader of YAML 1.1, YAML 1.2, JSON and TOML reads it: a float keeps its point."""
    text = repr(value)
    if isinstance(value, int) or "." in text or "e" not in text:
        return text
    whole, exponent = text.split("e")
    return f"{whole}.0e{exponent}"


def without(data: Any, path: KeyPath) -> Any:
    """Plain data with the key at `path` removed; containers on the way are copied."""
    step, below = _step(data, path[0]), path[1:]
    copied = list(data) if isinstance(data, list) else dict(data)
    if below:
        copied[step] = without(data[step], below)
    else:
        del copied[step]
    return copied


def at(data: Any, path: Sequence[str]) -> Any:
    """What plain data says at `path`. `KeyError` or `IndexError` where there is nothing."""
    for part in path:
        data = data[_step(data, part)]
    return data


def _step(data: Any, part: str) -> Any:
    if isinstance(data, list):
        if not part.isascii() or not part.isdigit():
            raise KeyError(part)
        return int(part)
    if not isinstance(data, dict):
        raise KeyError(part)
    return part


def only(old: Any, new: Any, path: KeyPath, value: Any, *, inserted: bool) -> None:
    """Check plain data of both texts: alike but for `path`, which says `value` in the new one (`None`: is gone).

    Raises:
        NotEditableError: something else changed too.
    """
    try:
        rest_old = old if inserted else without(old, path)
        rest_new = new if value is None else without(new, path)
        said = None if value is None else at(new, path)
    except (LookupError, TypeError) as error:
        raise NotEditableError("the edit could not be checked: the key is not where it was written") from error
    if not same(rest_old, rest_new) or not same(said, value):
        raise NotEditableError("the edit would change more than this key; change it by hand")

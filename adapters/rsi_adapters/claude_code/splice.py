"""Hooks into a settings file and out of it again: only our own characters are added, and exactly those are removed.

Nothing is printed from a parsed tree. A position is found by walking the text, the text is cut there, and the result is
read again and compared with what it should say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from rsi.errors import InvalidInputError

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_INDENT: Final = re.compile(r"\n([ \t]+)\S")
_DECODER: Final = json.JSONDecoder()
HOOKS: Final = "hooks"


class Spliced(msgspec.Struct, frozen=True):
    """The new text, and the pieces that were put into it, in the order they stand."""

    text: str
    pieces: list[str]


class _Part(msgspec.Struct, frozen=True):
    """A member of an object or an item of an array: where it begins (with its key), its value begins, and it ends."""

    key: str | None
    begin: int
    value: int
    end: int


def add(text: str, groups: Mapping[str, Sequence[Any]], where: str = "settings.json") -> Spliced:
    """Add matcher groups to the hooks of a settings text; an empty text becomes a new one.

    Raises:
        InvalidInputError: not a JSON object, or its hooks have another shape; names the place.
    """
    before = _read(text, where) if text.strip() else None
    if before is None:
        made = json.dumps({HOOKS: groups}, indent=2) + "\n"
        return Spliced(made, [made])
    found = before.get(HOOKS, {})
    if not isinstance(found, dict) or not all(isinstance(found.get(event, []), list) for event in groups):
        raise InvalidInputError(f"{where}: hooks has another shape than Claude Code's; put it right by hand first")
    done = _insert(text, groups, found)
    after = json.loads(done.text.removeprefix("\ufeff"))
    wanted = {**before, HOOKS: {**found, **{event: [*found.get(event, []), *groups[event]] for event in groups}}}
    if after != wanted or take_back(done.text, done.pieces) != text:
        raise InvalidInputError(f"{where}: it cannot be edited without touching what is there; add the hooks by hand")
    return done


def take_back(text: str, pieces: Sequence[str]) -> str | None:
    """The text without these pieces; `None` if one of them is not where it should be any more."""
    kept, at = [], 0
    for piece in pieces:
        found = text.find(piece, at)
        if found < 0:
            return None
        kept.append(text[at:found])
        at = found + len(piece)
    return "".join([*kept, text[at:]])


def without(text: str, ours: Callable[[object], bool], where: str = "settings.json") -> str:
    """The text without the matcher groups that `ours` knows, and without what is empty then.

    For a text that somebody reformatted since: everything else keeps its characters.

    Raises:
        InvalidInputError: not a JSON object.
    """
    while (cut := _next_cut(text, ours, where)) is not None:
        text = text[: cut[0]] + text[cut[1] :]
    return text


def _insert(text: str, groups: Mapping[str, Sequence[Any]], found: Mapping[str, Any]) -> Spliced:
    """From the end to the beginning, so that positions stay true."""
    newline = "\r\n" if "\r\n" in text else "\n"
    indent = match[1] if (match := _INDENT.search(text)) else "  "
    flat = "\n" not in text.strip()

    def shown(value: Any, depth: int) -> str:
        if flat:
            return json.dumps(value)
        return json.dumps(value, indent=indent).replace("\n", newline + indent * depth)

    root = _start(text)
    hooks = _member(text, root, HOOKS)
    if hooks is None:
        return _put(text, [_into(text, root, f'"{HOOKS}": {shown(groups, 1)}', 1, (indent, newline, flat))])
    new = {event: groups[event] for event in groups if event not in found}
    edits: list[tuple[int, str]] = []
    if new:
        members = (newline + indent * 2 if not flat else " ").join(
            f'"{event}": {shown(value, 2)},' for event, value in new.items()
        )[:-1]
        edits.append(_into(text, hooks.value, members, 2, (indent, newline, flat)))
    for event in groups:
        if event in found:
            at = _member(text, hooks.value, event)
            assert at is not None  # noqa: S101 - it was read from this very text
            items = (newline + indent * 3 if not flat else " ").join(f"{shown(group, 3)}," for group in groups[event])[
                :-1
            ]
            edits.append(_into(text, at.value, items, 3, (indent, newline, flat)))
    return _put(text, edits)


def _into(text: str, at: int, piece: str, depth: int, style: tuple[str, str, bool]) -> tuple[int, str]:
    """Behind the last part of the object or array at `at`, or into it where it is empty."""
    indent, newline, flat = style
    lead = " " if flat else newline + indent * depth
    last = list(_parts(text, at))[-1:]
    if last:
        return last[0].end, f",{lead}{piece}"
    end = "" if flat else newline + indent * (depth - 1)
    if flat:
        return at + 1, piece
    rest = text[at + 1 : _space(text, at + 1)]
    return at + 1, f"{lead}{piece}{end if chr(10) not in rest else ''}"


def _put(text: str, edits: Sequence[tuple[int, str]]) -> Spliced:
    for at, piece in sorted(edits, reverse=True):
        text = text[:at] + piece + text[at:]
    return Spliced(text, [piece for _, piece in sorted(edits)])


def _next_cut(text: str, ours: Callable[[object], bool], where: str) -> tuple[int, int] | None:
    """The next span to take out: a group of ours, else what one of ours left empty."""
    _read(text, where)
    root = _start(text)
    hooks = _member(text, root, HOOKS)
    if hooks is None or text[hooks.value] != "{":
        return None
    for event in _parts(text, hooks.value):
        if text[event.value] != "[":
            continue
        groups = list(_parts(text, event.value))
        for number, group in enumerate(groups):
            if ours(json.loads(text[group.value : group.end])):
                if len(groups) > 1:
                    return _span(groups, number)
                members = list(_parts(text, hooks.value))
                if len(members) > 1:
                    return _span(members, [member.key for member in members].index(event.key))
                whole = list(_parts(text, root))
                if len(whole) > 1:
                    return _span(whole, [member.key for member in whole].index(HOOKS))
                return root + 1, _space(text, hooks.end)
    return None


def _span(parts: Sequence[_Part], number: int) -> tuple[int, int]:
    """A part with the comma and the blanks that belong to it."""
    if number:
        return parts[number - 1].end, parts[number].end
    return parts[0].begin, parts[1].begin


def _start(text: str) -> int:
    return _space(text, 1 if text.startswith("\ufeff") else 0)


def _member(text: str, at: int, key: str) -> _Part | None:
    return next((part for part in _parts(text, at) if part.key == key), None)


def _parts(text: str, at: int) -> Iterator[_Part]:
    """The members or items of the object or array at `at`; the text is known to be JSON."""
    closing = "}" if text[at] == "{" else "]"
    at = _space(text, at + 1)
    while text[at] != closing:
        begin, key = at, None
        if closing == "}":
            key, at = _DECODER.raw_decode(text, at)
            at = _space(text, _space(text, at) + 1)
        _, end = _DECODER.raw_decode(text, at)
        yield _Part(key, begin, at, end)
        at = _space(text, end)
        if text[at] == ",":
            at = _space(text, at + 1)


def _space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _read(text: str, where: str) -> dict[str, Any]:
    try:
        found = json.loads(text.removeprefix("\ufeff"))
    except ValueError as error:
        raise InvalidInputError(f"{where}: not JSON ({error}); put it right first") from error
    if not isinstance(found, dict):
        raise InvalidInputError(f"{where}: expected an object, found {type(found).__name__}")
    return found

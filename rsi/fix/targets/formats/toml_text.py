"""TOML: tomlkit says where a value stands (a mark is put in its place), `tomllib` is the second reader."""

from __future__ import annotations

import json
import tomllib
from functools import lru_cache
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT, Array, InlineTable, String, StringType, Table, Trivia

from rsi.fix.targets.formats.model import Gap, NotEditableError, Spot, number, only
from rsi.fix.targets.keypath import BARE, KeyPath


class TomlDocument:
    """One TOML text. tomlkit changes its tree when it marks, so it reads the text again each time."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._data = _load(text)

    def find(self, path: KeyPath) -> Spot | None:
        """See `Document`."""
        value: Any = self._data
        for depth, part in enumerate(path):
            if isinstance(value, list):
                value = _entry(value, part)
            elif not isinstance(value, dict):
                raise NotEditableError(f"{part!r} lies inside a plain value")
            elif part not in value:
                if depth + 1 < len(path):
                    raise NotEditableError(f"there is no {part!r} above it; add it by hand first")
                return None
            else:
                value = value[part]
        start, end = self._span(path)
        return Spot(value, start, end)

    def gap(self, path: KeyPath) -> Gap:
        """A line of its own before the first plain key of its table."""
        above = _walk(self._parse(), path[:-1])
        body = (
            above.body if isinstance(above, tomlkit.TOMLDocument) else getattr(getattr(above, "value", 0), "body", ())
        )
        entries = [(key, item) for key, item in body if key is not None]
        if isinstance(above, InlineTable) or not entries or isinstance(entries[0][1], Table | AoT):
            raise NotEditableError("its table has no plain first key; add the key by hand with the value it has now")
        first, _ = self._span((*path[:-1], entries[0][0].key))
        line = self._text.rfind("\n", 0, first) + 1
        indent = self._text[line : len(self._text) - len(self._text[line:].lstrip(" \t"))]
        newline = "\r\n" if "\r\n" in self._text else "\n"
        name = path[-1] if BARE.fullmatch(path[-1]) else _quoted(path[-1])
        return Gap(line + len(indent), f"{name} = ", newline + indent)

    def write(self, value: Any, raw: str | None) -> str:
        """See `Document`; a literal string stays one where it can."""
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int | float):
            return number(value)
        if isinstance(value, list):
            return "[" + ", ".join(self.write(item, None) for item in value) + "]"
        if isinstance(value, dict):
            return "{ " + ", ".join(f"{_quoted(key)} = {self.write(item, None)}" for key, item in value.items()) + " }"
        literal = raw is not None and raw.startswith("'") and "'" not in value
        return f"'{value}'" if literal else _quoted(value)

    def only(self, new: str, path: KeyPath, value: Any) -> None:
        """See `Document`."""
        try:
            at: Any = self._data
            for part in path[:-1]:
                at = at[int(part) if isinstance(at, list) else part]
            inserted = isinstance(at, dict) and path[-1] not in at
        except (LookupError, ValueError) as error:
            raise NotEditableError("the edit could not be checked") from error
        only(self._data, _load(new), path, value, inserted=inserted)

    def _parse(self) -> tomlkit.TOMLDocument:
        try:
            return tomlkit.parse(self._text)
        except (TOMLKitError, RecursionError) as error:
            raise NotEditableError(f"not TOML: {error}") from error

    def _span(self, path: KeyPath) -> tuple[int, int]:
        """The characters of a value: those between what stays the same when a mark takes its place."""
        document = self._parse()
        mark = "rsi-mark"
        while mark in self._text:
            mark += "-"
        above = _walk(document, path[:-1])
        step: Any = int(path[-1]) if isinstance(above, list) else path[-1]
        try:
            if isinstance(above[step], Table | AoT):
                raise NotEditableError("it is a table, not a value")
            above[step] = String(StringType.SLB, mark, mark, Trivia())
            marked = tomlkit.dumps(document)
        except (TOMLKitError, LookupError, TypeError, ValueError) as error:
            raise NotEditableError(f"it stands where no value can be replaced ({error}); change it by hand") from error
        start = marked.find(f'"{mark}"')
        tail = marked[start + len(mark) + 2 :]
        end = len(self._text) - len(tail)
        if start < 0 or end <= start or self._text[:start] != marked[:start] or self._text[end:] != tail:
            raise NotEditableError("it stands where no value can be replaced; change it by hand")
        return start, end


@lru_cache(maxsize=2)
def read(text: str) -> TomlDocument:
    """The document of a text, kept for the next question about it (`remembered`); raises `NotEditableError`."""
    return TomlDocument(text)


def _walk(document: Any, path: KeyPath) -> Any:
    at = document
    for part in path:
        try:
            at = at[int(part) if isinstance(at, list | AoT | Array) else part]
        except (LookupError, ValueError, TypeError, TOMLKitError) as error:
            raise NotEditableError(f"there is no {part!r} above it; add it by hand first") from error
    return at


def _entry(value: list[Any], part: str) -> Any:
    if not (part.isascii() and part.isdigit()) or int(part) >= len(value):
        raise NotEditableError(f"the list has {len(value)} entries, none at {part!r}")
    return value[int(part)]


def _quoted(text: str) -> str:
    """A JSON string is a TOML basic string, but for the one character that only TOML forbids."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def _load(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise NotEditableError(f"not TOML: {error}") from error

"""Edits of one file's bytes: several keys at once, each checked by itself, and the way back key by key."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final, NamedTuple

import msgspec

from rsi.fix.targets import keypath
from rsi.fix.targets.formats.model import Document, NotEditableError

#: Loaded when a file of that kind is first edited: a home without targets loads neither ruamel.yaml nor tomlkit.
_READERS: Final = {
    ".yaml": "yaml_text",
    ".yml": "yaml_text",
    ".json": "json_text",
    ".toml": "toml_text",
}


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What was done to one key: its own characters and their values; `before` is `None` where the key was not there.

    For a key that was inserted `head` and `tail` are what was written around its characters.
    """

    key: str
    before: str | None
    after: str
    old: Any = None
    new: Any = None
    head: str = ""
    tail: str = ""


class Edit(NamedTuple):
    """The new bytes, and what was done."""

    data: bytes
    entries: list[Entry]


def change(name: str, data: bytes, values: Mapping[str, Any]) -> Edit:
    """Set keys (path → value) in a file's bytes; every character outside of the values stays.

    Raises:
        NotEditableError: its `key` says where.
    """
    text = _Text(name, data)
    entries = []
    for key, value in values.items():
        with _about(key):
            entries.append(_set(text, keypath.parse(key), value))
    return Edit(text.encoded(), entries)


def read(name: str, data: bytes, keys: Sequence[str]) -> dict[str, Any]:
    """What these keys say now; `None` is a key that is not there.

    Raises:
        NotEditableError: its `key` says where.
    """
    document = _Text(name, data).document()
    found = {}
    for key in keys:
        with _about(key):
            spot = document.find(keypath.parse(key))
        found[key] = spot.value if spot else None
    return found


def check_size(name: str, data: bytes) -> None:
    """That reading this file takes no longer than about a second; what is not read so often may be larger.

    Raises:
        NotEditableError: names the limit.
    """
    module = _module(name)
    if hasattr(module, "check_size"):
        module.check_size(_Text(name, data).text)


def put_back(name: str, data: bytes, entries: Sequence[Entry]) -> bytes:
    """Give keys, all of which say what was written, their own characters back.

    Raises:
        NotEditableError: its `key` says where.
    """
    text = _Text(name, data)
    for entry in reversed(entries):
        with _about(entry.key):
            _unset(text, entry)
    return text.encoded()


@contextmanager
def remembered() -> Iterator[None]:
    """Texts are read once while this lasts; then large ones are let go: a document is many times its text."""
    try:
        yield
    finally:
        _forget()


def _forget() -> None:
    for module in set(_READERS.values()):
        loaded = sys.modules.get(f"rsi.fix.targets.formats.{module}")
        if loaded is not None:
            loaded.read.cache_clear()


class _Text:
    """A file's text on its way through several edits."""

    def __init__(self, name: str, data: bytes) -> None:
        self._bom = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
        self._reader = _reader(name)
        try:
            self.text = data[len(self._bom) :].decode("utf-8")
        except UnicodeDecodeError as error:
            raise NotEditableError(f"not UTF-8 (byte {error.start}); save it as UTF-8") from error

    def document(self) -> Document:
        try:
            return self._reader(self.text)
        except RecursionError as error:
            raise NotEditableError("it is nested too deeply to be read") from error

    def encoded(self) -> bytes:
        return self._bom + self.text.encode("utf-8")


def _reader(name: str) -> Callable[[str], Document]:
    found: Callable[[str], Document] = _module(name).read
    return found


def _module(name: str) -> Any:
    suffix = next((suffix for suffix in _READERS if name.lower().endswith(suffix)), None)
    if suffix is None:
        raise NotEditableError(f"keys are edited in files that end in {', '.join(_READERS)}")
    return import_module(f"rsi.fix.targets.formats.{_READERS[suffix]}")


@contextmanager
def _about(key: str) -> Iterator[None]:
    try:
        yield
    except NotEditableError as error:
        error.key = key
        raise
    except RecursionError as error:
        raise NotEditableError("it is nested too deeply to be edited", key=key) from error


def _set(text: _Text, path: keypath.KeyPath, value: Any) -> Entry:
    document, old = text.document(), text.text
    spot, key = document.find(path), keypath.shown(path)
    if spot is None:
        at, head, tail = document.gap(path)
        raw = document.write(value, None)
        text.text = old[:at] + head + raw + tail + old[at:]
        entry = Entry(key=key, before=None, after=raw, new=value, head=head, tail=tail)
    else:
        before = old[spot.start : spot.end]
        raw = document.write(value, before)
        text.text = old[: spot.start] + raw + old[spot.end :]
        entry = Entry(key=key, before=before, after=raw, old=spot.value, new=value)
    document.only(text.text, path, value)
    return entry


def _unset(text: _Text, entry: Entry) -> None:
    path, old = keypath.parse(entry.key), text.text
    document = text.document()
    spot = document.find(path)
    if spot is None:
        raise NotEditableError("the key is gone")
    if entry.before is not None:
        text.text = old[: spot.start] + entry.before + old[spot.end :]
        document.only(text.text, path, entry.old)
        return
    start, end = spot.start - len(entry.head), spot.end + len(entry.tail)
    if start < 0 or old[start : spot.start] != entry.head or old[spot.end : end] != entry.tail:
        raise NotEditableError("the line that rsi added was rewritten; remove it by hand")
    text.text = old[:start] + old[end:]
    document.only(text.text, path, None)

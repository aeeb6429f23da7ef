"""`lessons:<path>`: a file of lessons that agents read, or a marked block in a file of the user's.

`Change.after` is `{"lesson": {template, slots, quotes}}`; `before` is `{"lesson": null}` and the file's hash.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from rsi.change import MAX_LESSONS
from rsi.config import Bounds
from rsi.errors import InvalidInputError
from rsi.fix.targets import block
from rsi.fix.targets.diffs import unified
from rsi.fix.targets.editing import Back, Editing, Entries, Forward, Heirs
from rsi.fix.targets.errors import TargetRefusedError
from rsi.fix.targets.journal import Record
from rsi.fix.targets.lesson import digest, read, render, summary
from rsi.fix.targets.model import FILE_HASH, Applied, Edited, Reverted, Where
from rsi.fix.targets.place import Place, sha256
from rsi.model import Change

LESSON: Final = "lesson"
#: What agents read is text; in anything else a comment of ours would be a syntax error.
SUFFIXES: Final = (".md", ".markdown", ".mdc", ".txt")


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """One lesson in the file: its name and its characters. `lead`: what stands before the block that it opened."""

    name: str
    chunk: str
    lead: str | None = None


class LessonTarget:
    """The lessons of one file; see `Target`."""

    def __init__(self, target: str, place: Place) -> None:
        if not place.file.lower().endswith(SUFFIXES):
            raise TargetRefusedError(place.file, "", f"lessons go into files that end in {', '.join(SUFFIXES)}")
        self._target = target
        self._place = place
        self._way = LessonWay(place.file)
        self._editing = Editing(place, self._way)

    def make(self, after: Mapping[str, Any]) -> Change:
        """See `Target`; the file need not be there."""
        found = self._place.read()
        self._place.check_writable(found)
        change = Change(target=self._target, before={LESSON: None, FILE_HASH: sha256(found)}, after=dict(after))
        self._rendered(change)
        return change

    def values(self, keys: Sequence[str]) -> dict[str, Any]:
        """See `Target`; a file of lessons has no keys."""
        return dict.fromkeys(keys)

    def validate(self, change: Change, bounds: Bounds) -> None:
        """See `Target`; the limits of lessons are rsi's own."""
        del bounds
        self._rendered(change)

    def diff(self, change: Change) -> str:
        """See `Target`."""
        return unified(self.preview(change))

    def summary(self, change: Change) -> str:
        """See `Target`."""
        name = digest(self._rendered(change))
        return f"{self._place.file}: lesson {name} ({summary(read(change.after[LESSON]))})"

    def preview(self, change: Change) -> Edited:
        """See `Target`."""
        self._rendered(change)
        found = self._place.read()
        self._place.check_writable(found)
        data = found.data if found else None
        return Edited(file=self._place.file, before=data, after=self._way.forward(data, change).data)

    def apply(self, change: Change, *, undo: Path) -> Applied:
        """See `Target`."""
        self._rendered(change)
        return self._editing.apply(self._target, change, undo)

    def revert(self, applied: Applied) -> Reverted:
        """See `Target`."""
        return self._editing.revert(applied)

    def release(self, applied: Applied) -> None:
        """See `Target`."""
        self._editing.release(applied)

    def settle(self) -> None:
        """See `Target`."""
        self._editing.settle()

    def state(self, change: Change) -> Where:
        """See `Target`."""
        text = self._rendered(change)
        found = self._place.read()
        if found is None:
            return "before"
        try:
            held = _Text(self._place.file, found.data)
        except TargetRefusedError:
            return "changed"
        name = digest(text)
        if name not in held.chunks:
            return "before"
        return "after" if _alike(held.chunks[name], block.chunk_of(name, text, "\n")) else "changed"

    def _rendered(self, change: Change) -> str:
        if change.target != self._target:
            raise TargetRefusedError(self._place.file, "", f"the change is about {change.target}; resolve that")
        if set(change.after) != {LESSON}:
            raise TargetRefusedError(self._place.file, LESSON, 'expected exactly {"lesson": {template, slots, quotes}}')
        try:
            return render(read(change.after[LESSON]))
        except InvalidInputError as error:
            raise TargetRefusedError(self._place.file, LESSON, str(error)) from error


class LessonWay:
    """Lessons: chunks of one block, each undone by itself; the block goes with its last chunk."""

    def __init__(self, file: str) -> None:
        self._file = file

    def forward(self, data: bytes | None, change: Change) -> Forward:
        """See `Way`."""
        text = _Text(self._file, data or b"")
        lesson = render(read(change.after[LESSON]))
        name = digest(lesson)
        if name in text.chunks:
            raise TargetRefusedError(self._file, LESSON, f"this lesson ({name}) is there already")
        if len(text.chunks) >= MAX_LESSONS:
            raise TargetRefusedError(self._file, LESSON, f"it holds {MAX_LESSONS} lessons; take one out first")
        chunk = block.chunk_of(name, lesson, text.newline)
        lead = text.add(chunk)
        entry = Held(name=name, chunk=chunk, lead=lead)
        return Forward(text.encoded(), [msgspec.to_builtins(entry)])

    def back(self, data: bytes | None, entries: Entries, *, last: bool, created: bool) -> Back:
        """See `Way`. A lesson that somebody rewrote is his and stays; one that he deleted is gone."""
        if data is None:
            return Back(None, [])
        text = _Text(self._file, data)
        left = []
        for held in _read(entries):
            there = text.chunks.get(held.name)
            if there is not None and not _alike(there, held.chunk):
                reason = "somebody rewrote it since, which stays; take it out by hand and `release` the fix"
                left.append((f"{LESSON}.{held.name}", reason))
            elif there is not None:
                text.remove(held.name)
            if not left:
                text.close(held.lead)
        done = text.encoded()
        return Back(None if last and created and not text.text else done, left)

    def stands(self, data: bytes | None, entries: Entries) -> bool:
        """See `Way`."""
        return data is not None and any(held.name in _Text(self._file, data).chunks for held in _read(entries))

    def inherit(self, gone: Record, others: Sequence[Record]) -> Heirs:
        """See `Way`. Lessons stand side by side: another one takes over the block, and the file if we made it."""
        held = _read(gone.entries)
        lead = next((each.lead for each in held if each.lead is not None), None)
        if not others or (lead is None and not gone.created):
            return Heirs([], gone.entries)
        heir = others[0]
        entries = _read(heir.entries)
        if lead is not None and entries[0].lead is None:
            entries = [msgspec.structs.replace(entries[0], lead=lead), *entries[1:]]
        passed = msgspec.structs.replace(
            heir,
            entries=[msgspec.to_builtins(each) for each in entries],
            created=heir.created or gone.created,
            made=sorted({*heir.made, *gone.made}),
        )
        return Heirs([passed], gone.entries)


class _Text:
    """A file's text on its way through edits of its block."""

    def __init__(self, file: str, data: bytes) -> None:
        self._file = file
        self._bom = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
        try:
            self.text = data[len(self._bom) :].decode("utf-8")
        except UnicodeDecodeError as error:
            raise TargetRefusedError(file, "", f"not UTF-8 (byte {error.start}); save it as UTF-8") from error
        self.newline = block.newline_of(self.text)
        self._find()

    def add(self, chunk: str) -> str | None:
        """Append a chunk to the block; what was put before a block that had to be opened."""
        if self._block is not None:
            at = self._block.inner
            self._replace(at, at, chunk)
            return None
        lead = block.opening(self.text, self.newline)
        whole = lead + block.BEGIN + self.newline + chunk + block.END + self.newline
        self._replace(len(self.text), len(self.text), whole)
        return lead

    def remove(self, name: str) -> None:
        """Take a chunk out."""
        chunk = next(chunk for chunk in self._block.chunks if chunk.name == name) if self._block else None
        if chunk is not None:
            self._replace(chunk.start, chunk.end, "")

    def close(self, lead: str | None) -> None:
        """Take the block out if nothing is left in it, and what was put before it; what follows keeps its own line."""
        found = self._block
        if found is None or found.chunks or self._between(found):
            return
        before = lead if lead and self.text[: found.start].endswith(lead) else ""
        start = found.start - len(before)
        self._replace(start, found.end, self._break(start, found.end))

    def _break(self, start: int, end: int) -> str:
        """The line end that two parts of the text need to stand side by side."""
        ends = ("\n", "\r")
        apart = start == 0 or end == len(self.text) or self.text[:start].endswith(ends) or self.text[end] in ends
        return "" if apart else self.newline

    def encoded(self) -> bytes:
        return self._bom + self.text.encode("utf-8")

    def _between(self, found: block.Block) -> str:
        """What somebody wrote between the markers, outside of any lesson."""
        return self.text[found.start : found.inner].split("-->", 1)[1].strip()

    def _replace(self, start: int, end: int, new: str) -> None:
        self.text = self.text[:start] + new + self.text[end:]
        self._find()

    def _find(self) -> None:
        try:
            self._block = block.find(self.text)
        except block.DamagedError as error:
            raise TargetRefusedError(self._file, "", f"{error}; put it right by hand") from error
        chunks = self._block.chunks if self._block else ()
        self.chunks = {chunk.name: self.text[chunk.start : chunk.end] for chunk in chunks}


def _alike(a: str, b: str) -> bool:
    """The same lesson, whatever an editor made of the line ends."""
    return a.replace("\r\n", "\n") == b.replace("\r\n", "\n")


def _read(entries: Entries) -> list[Held]:
    return msgspec.convert(entries, list[Held])

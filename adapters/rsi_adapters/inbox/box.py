"""The inbox's own folders: `.work` (claimed), `done`, `failed`. Every move is a rename, whole or not at all.

A claimed file lies at `.work/<uuid>` with its name beside it in `<uuid>.name`, written first. The uuid is the prefix of
its items' ids, so that a replay after a crash stores nothing twice.
"""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

from rsi import clock

_UUID: Final = re.compile(r"[0-9a-f]{32}")
_NAME_SUFFIX: Final = ".name"
_ERROR_SUFFIX: Final = ".error.txt"
#: Room for `.error.txt` and a uuid in the 255 bytes that file systems give a name.
_NAME_BYTES: Final = 200
_OURS: Final = 0o700


@dataclass(frozen=True, slots=True)
class Claim:
    """A file that is ours now: `key` is its uuid, `name` what it was called."""

    key: str
    name: str
    path: Path


class Box:
    """The folder `inbox/` and what we keep in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = folder / ".work"
        self.done = folder / "done"
        self.failed = folder / "failed"

    def prepare(self) -> None:
        """Make the folders; ours hold raw text, so they are for nobody else (0700)."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for ours in (self.work, self.done, self.failed):
            ours.mkdir(mode=_OURS, exist_ok=True)
            ours.chmod(_OURS)

    def is_ours(self, name: str) -> bool:
        """Whether this entry of the inbox is one of our own folders."""
        return name in (self.work.name, self.done.name, self.failed.name)

    def claim(self, name: str) -> Claim:
        """Take a file out of the inbox. Not durable before `sync`.

        Raises:
            OSError: it is gone, or may not be moved.
        """
        key = uuid.uuid4().hex
        path = self.work / key
        note = self.work / f"{key}{_NAME_SUFFIX}"
        _write(note, os.fsencode(name))
        try:
            (self.folder / name).rename(path)
        except OSError:
            note.unlink(missing_ok=True)
            raise
        return Claim(key, name, path)

    def sync(self) -> None:
        """Make claims survive a power cut: otherwise a stored file could come back under another uuid."""
        for folder in (self.work, self.folder):
            _sync(folder)

    def claimed(self) -> list[Claim]:
        """What was claimed and not finished, oldest first; notes without a file go."""
        found = []
        for entry in sorted(self.work.iterdir(), key=lambda path: path.name):
            if _UUID.fullmatch(entry.name):
                found.append(Claim(entry.name, self._name_of(entry.name), entry))
            elif entry.name.startswith(".") or not (self.work / entry.name.removesuffix(_NAME_SUFFIX)).exists():
                entry.unlink(missing_ok=True)
        return found

    def finish(self, claim: Claim) -> None:
        """It is stored: to `done/YYYY-MM-DD/`."""
        day = self.done / _today().isoformat()
        day.mkdir(mode=_OURS, exist_ok=True)
        claim.path.rename(_free(day, claim))
        self._forget(claim)

    def fail(self, claim: Claim, reason: str) -> None:
        """Nothing of it could be taken: to `failed/`, with the reason beside it."""
        told = f"{reason}\n".encode("utf-8", "replace")
        target = self.failed / _short(claim.name)
        if target.exists() or _taken(_beside(target), told):
            target = _with_key(self.failed, claim)
        _write(_beside(target), told)
        claim.path.rename(target)
        self._forget(claim)

    def keep_refused(self, claim: Claim, refused: bytes | None, reasons: Iterable[str]) -> None:
        """Parts of it were refused: these (if they can be cut out) and why; the file itself goes to `done`.

        After a crash between this and `finish` the same is written again, to the same place.
        """
        told = "".join(f"{reason}\n" for reason in reasons).encode("utf-8", "replace")
        target = self.failed / _short(claim.name)
        if _taken(_beside(target), told):
            target = _with_key(self.failed, claim)
        if refused is not None:
            _write(target, refused)
        _write(_beside(target), told)

    def prune(self, keep_days: float) -> None:
        """Delete the days of `done` that are older than `keep_days`."""
        last = _today() - timedelta(days=keep_days)
        for day in self.done.iterdir():
            try:
                old = date.fromisoformat(day.name) < last
            except ValueError:
                continue
            if old and day.is_dir() and not day.is_symlink():
                shutil.rmtree(day)

    def _name_of(self, key: str) -> str:
        try:
            name = os.fsdecode((self.work / f"{key}{_NAME_SUFFIX}").read_bytes())
        except FileNotFoundError:
            return key
        return Path(name).name or key

    def _forget(self, claim: Claim) -> None:
        (self.work / f"{claim.key}{_NAME_SUFFIX}").unlink(missing_ok=True)


def _free(folder: Path, claim: Claim) -> Path:
    """A path that overwrites nothing: the file's name, else with its uuid in it."""
    target = folder / _short(claim.name)
    return _with_key(folder, claim) if target.exists() else target


def _taken(note: Path, told: bytes) -> bool:
    """Whether a note of this name says something else; the same words are ours, from before a crash."""
    return note.exists() and note.read_bytes() != told


def _with_key(folder: Path, claim: Claim) -> Path:
    stem, dot, suffix = _short(claim.name).partition(".")
    return folder / f"{stem}-{claim.key}{dot}{suffix}"


def _short(name: str) -> str:
    raw = os.fsencode(name)
    return name if len(raw) <= _NAME_BYTES else os.fsdecode(raw[-_NAME_BYTES:])


def _beside(path: Path) -> Path:
    return path.with_name(path.name + _ERROR_SUFFIX)


def _today() -> date:
    return datetime.fromtimestamp(clock.now(), UTC).date()


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, readable by us alone, on disk before it has its name."""
    fresh = path.with_name(f".{path.name}.tmp")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(fd)
    fresh.replace(path)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

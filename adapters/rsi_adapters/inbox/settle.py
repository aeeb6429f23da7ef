"""When a file in the inbox is ready, and what there is that never will be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from rsi import clock
from rsi_adapters.inbox.box import Box
from rsi_adapters.inbox.reading import kind_of, wanted

#: What changes when somebody writes: inode, size, modification time in ns.
_Look: TypeAlias = tuple[int, int, int]


@dataclass(slots=True)
class Settling:
    """Remembers since when each file has looked the same.

    Args:
        box: the inbox.
        settle_s: unchanged this long is finished.
    """

    box: Box
    settle_s: float
    refused: dict[str, str] = field(default_factory=dict)  # name → why, for people
    _seen: dict[str, tuple[_Look, float]] = field(default_factory=dict)

    def ready(self, *, trust_mtime: bool = False) -> list[str]:
        """Names that are finished, in order; with `trust_mtime` an old file need not be watched first."""
        now, wall = clock.monotonic(), clock.now()
        here: dict[str, tuple[_Look, float]] = {}
        done: list[str] = []
        for name, stat in self._files():
            look = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
            before = self._seen.get(name)
            since = before[1] if before is not None and before[0] == look else now
            here[name] = (look, since)
            if now - since >= self.settle_s or (trust_mtime and wall - stat.st_mtime >= self.settle_s):
                done.append(name)
        self._seen = here
        return sorted(done)

    @property
    def waiting(self) -> bool:
        """Whether something was there that is not finished yet."""
        return bool(self._seen)

    def _files(self) -> Iterator[tuple[str, os.stat_result]]:
        refused: dict[str, str] = {}
        with os.scandir(self.box.folder) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith(".") or self.box.is_ours(name):
                    continue
                try:
                    stat = entry.stat(follow_symlinks=False)
                except OSError:
                    continue  # gone between the two calls
                kind = kind_of(stat.st_mode)
                if kind and (wanted(name) or kind == "folder"):
                    refused[name] = f"{_shown(name)}: is a {kind}; put a regular file into the inbox"
                elif not kind and wanted(name):
                    yield name, stat
        self.refused = refused

    def forget(self, name: str) -> None:
        """It was claimed."""
        self._seen.pop(name, None)


def _shown(name: str) -> str:
    return Path(name).name.encode("utf-8", "replace").decode()

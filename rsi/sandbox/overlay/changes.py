"""What differs between two stacks of layers, from the layers alone: the cost is what changed, never the workspace.

Two stacks share their lowest layers. Under a folder that both merge from the same shared parts, only names that the
other layers have can differ; where one side hides a shared part (an opaque folder), every name of both is compared.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from rsi.sandbox.model import Change, Entry
from rsi.sandbox.overlay.layers import Node
from rsi.sandbox.overlay.reader import Reader


def changes(reader: Reader, before: tuple[str, ...], after: tuple[str, ...]) -> list[Change]:
    """Every path that differs, sorted by its bytes.

    Args:
        reader: entered; nothing runs in the layers.
        before: the folders of the older stack, newest first, the workspace last.
        after: the same of the newer one.

    Raises:
        SandboxError: a layer cannot be read, or is not one of ours.
    """
    found = _Difference(reader, before, after).all()
    return sorted(found, key=lambda change: os.fsencode(change.path))


class _Difference:
    def __init__(self, reader: Reader, before: tuple[str, ...], after: tuple[str, ...]) -> None:
        self._reader = reader
        self._before, self._after = before, after
        for root in {*before, *after}:  # a layer may be closed by its own mode
            reader.node(root)
        shared = _common_end(before, after)
        self._shared, self._shared_prefixes = frozenset(shared), tuple(root + "/" for root in shared)

    def all(self) -> Iterator[Change]:
        todo = [("", self._before, self._after)]
        while todo:
            prefix, before, after = todo.pop()
            for name in self._candidates(before, after):
                path = prefix + name
                old, new = self._reader.child(before, name), self._reader.child(after, name)
                if old is not None and new is not None and old.kind == new.kind:
                    if not self._same(old, new):
                        yield Change(path=path, before=entry(old), after=entry(new))
                    if old.is_dir:
                        todo.append((path + "/", old.parts, new.parts))
                elif old is not None or new is not None:
                    yield from self._replaced(path, old, new)

    def _candidates(self, before: tuple[str, ...], after: tuple[str, ...]) -> set[str]:
        """The names in a folder that can differ."""
        old, new = self._unshared(before), self._unshared(after)
        if before[len(old) :] != after[len(new) :]:
            old, new = before, after
        return {name for part in {*old, *new} for name in self._reader.names(part)}

    def _unshared(self, parts: tuple[str, ...]) -> tuple[str, ...]:
        """The parts that are not in a shared layer; shared ones are always the last."""
        return tuple(part for part in parts if part not in self._shared and not part.startswith(self._shared_prefixes))

    def _replaced(self, path: str, old: Node | None, new: Node | None) -> Iterator[Change]:
        """A path that is new, gone, or another kind of thing, with everything below it."""
        yield Change(path=path, before=entry(old) if old else None, after=entry(new) if new else None)
        for where, node in self._below(path, old):
            yield Change(path=where, before=entry(node), after=None)
        for where, node in self._below(path, new):
            yield Change(path=where, before=None, after=entry(node))

    def _below(self, path: str, node: Node | None) -> Iterator[tuple[str, Node]]:
        todo = [(path, node.parts)] if node is not None and node.is_dir else []
        while todo:
            above, parts = todo.pop()
            for name in {name for part in parts for name in self._reader.names(part)}:
                found = self._reader.child(parts, name)
                if found is None:
                    continue
                yield f"{above}/{name}", found
                if found.is_dir:
                    todo.append((f"{above}/{name}", found.parts))

    def _same(self, old: Node, new: Node) -> bool:
        if old.path == new.path:
            return True
        if old.kind == "symlink":
            return os.readlink(old.path) == os.readlink(new.path)  # noqa: PTH115 - strings
        if old.mode != new.mode:
            return False
        if old.kind == "file":
            return self._same_bytes(old, new)
        return old.kind == "directory" or _device(old) == _device(new)

    def _same_bytes(self, old: Node, new: Node) -> bool:
        """A file that was copied up for its times only, or written with what it had, is the same."""
        if os.path.samestat(old.stat, new.stat):
            return True
        try:
            return self._reader.same(old, new)
        except PermissionError:  # a file of the workspace that only the view may read: it was copied up, so it changed
            return False


def entry(node: Node) -> Entry:
    """A node as a change tells of it."""
    what = node.kind
    return Entry(
        kind=what,
        mode=node.mode,
        size=node.stat.st_size if what == "file" else 0,
        source=Path(node.path) if what == "file" else None,
        link=os.readlink(node.path) if what == "symlink" else None,  # noqa: PTH115 - strings
    )


def _device(node: Node) -> tuple[int, int]:
    return stat.S_IFMT(node.stat.st_mode), node.stat.st_rdev


def _common_end(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    count = 0
    while count < min(len(one), len(other)) and one[-1 - count] == other[-1 - count]:
        count += 1
    return one[len(one) - count :]

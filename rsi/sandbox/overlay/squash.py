"""Making one layer of many, which means the same: overlayfs takes 500 lower folders, and fewer are faster.

Layers are frozen, so this goes on in the background while commands run, and the checkpoints that name the old layers
keep them. Files are hard links: a squash costs names, not bytes. Runs of equal level are squashed into one of the next
level, as in a log-structured merge tree, so that a name is linked once per level (log₃₂ of the number of checkpoints).
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from pathlib import Path
from typing import Final

from rsi.sandbox.overlay.layers import OPAQUE, XATTR, Node, attribute, attributes, is_opaque, is_whiteout
from rsi.sandbox.overlay.reader import Reader

#: Layers of one level that become one of the next. An exec grows by 0.1 ms a layer, so 32 cost less than its noise.
RUN: Final = 32
#: A chain this long waits for its squash: far below the kernel's 500, and its names fit in one mount option page.
MOST: Final = 128
#: File systems limit the links of one file (ext4: 65,000), and some have none at all.
_NO_LINK: Final = (errno.EMLINK, errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP)
_PIECE: Final = 1 << 20
#: Attributes of a folder that are about where it came from, which a squashed folder did not.
_NOT_OURS: Final = (OPAQUE, XATTR + "origin", XATTR + "whiteout")


def due(chain: tuple[str, ...]) -> tuple[str, ...]:
    """The oldest `RUN` neighbours of one level in a chain, oldest first; empty if there are fewer everywhere."""
    start = 0
    for end in range(1, len(chain) + 1):
        if level(chain[end - 1]) != level(chain[start]):
            start = end - 1
        if end - start == RUN:
            return chain[start:end]
    return ()


def level(layer: str) -> int:
    """How often it was squashed, which its name says (`LINE.TOKEN.N-LEVEL`)."""
    return int(layer.rpartition("-")[2]) if "-" in layer else 0


def replaced(chain: tuple[str, ...], run: tuple[str, ...], squashed: str) -> tuple[str, ...]:
    """The chain with `run` replaced; the chain itself when it does not have it."""
    for start in range(len(chain) - len(run) + 1):
        if chain[start : start + len(run)] == run:
            return (*chain[:start], squashed, *chain[start + len(run) :])
    return chain


def squash(reader: Reader, layers: tuple[Path, ...], target: Path) -> None:
    """Write into `target`, which does not exist, what `layers` (newest first) mean together over anything below.

    Raises:
        SandboxError: a layer cannot be read.
    """
    parts = tuple(str(layer) for layer in layers)
    tops = [reader.node(part) for part in parts]  # all of them: a layer may be closed by its own mode
    top = tops[0]
    if top is None:
        raise FileNotFoundError(errno.ENOENT, "no such layer", parts[0])
    done: list[tuple[Node, str]] = []
    copies: dict[int, str] = {}
    todo = [(Node(top.path, top.stat, top.mode, parts), str(target), False)]
    while todo:
        node, where, opaque = todo.pop()
        _folder(node, where, opaque=opaque)
        done.append((node, where))
        for name in {name for part in node.parts for name in reader.names(part)}:
            below = _resolved(reader, node.parts, name)
            if isinstance(below, tuple):
                todo.append((below[0], f"{where}/{name}", below[1]))
            else:
                _link(reader, below, f"{where}/{name}", copies)
    for node, where in reversed(done):  # last, and from below: a time is changed by each name, a mode may shut us out
        os.utime(where, ns=(node.stat.st_atime_ns, node.stat.st_mtime_ns))
        os.chmod(where, node.mode)  # noqa: PTH101 - strings


def _resolved(reader: Reader, parts: tuple[str, ...], name: str) -> Node | tuple[Node, bool]:
    """What one name means: a file or whiteout as it is, or a merged folder and whether it is opaque."""
    top: Node | None = None
    merged: list[str] = []
    for part in parts:
        node = reader.node(f"{part}/{name}")
        if node is None:
            continue
        if not node.is_dir or is_whiteout(node.path, node.stat):
            if top is None:
                return node
            return Node(top.path, top.stat, top.mode, tuple(merged)), True
        top = top or node
        merged.append(node.path)
        if is_opaque(node.path):
            return Node(top.path, top.stat, top.mode, tuple(merged)), True
    if top is None:
        raise FileNotFoundError(errno.ENOENT, "gone while it was read", name)
    return Node(top.path, top.stat, top.mode, tuple(merged)), False


def _folder(node: Node, where: str, *, opaque: bool) -> None:
    os.mkdir(where, 0o700)  # noqa: PTH102 - strings
    _own(node, where)
    for name in attributes(node.path).difference(_NOT_OURS):
        value = attribute(node.path, name)
        if name.startswith("user.") and value is not None:
            os.setxattr(where, name, value)
    if opaque:
        os.setxattr(where, OPAQUE, b"y")


def _link(reader: Reader, node: Node, where: str, copies: dict[int, str]) -> None:
    """A further name of the file; of a copy where it has as many as the file system allows, one copy for all of them.

    One copy a *name* would let a small file with 65,000 names fill the disk, past every limit.
    """
    try:
        if not (stat.S_ISREG(node.stat.st_mode) and is_whiteout(node.path, node.stat)):
            os.link(node.path, where, follow_symlinks=False)
            return
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
    copied = copies.get(node.stat.st_ino) if node.kind == "file" else None
    if copied is not None:
        with contextlib.suppress(OSError):  # the copy has all the names it may have, too: another one
            os.link(copied, where)
            return
    _copy(reader, node, where)
    copies[node.stat.st_ino] = where


def _copy(reader: Reader, node: Node, where: str) -> None:
    """Where it cannot be linked; an attribute that means a whiteout becomes a device that means one."""
    if is_whiteout(node.path, node.stat):
        os.mknod(where, stat.S_IFCHR, 0)
        return
    what = node.kind
    if what == "symlink":
        os.symlink(os.readlink(node.path), where)  # noqa: PTH115, PTH211 - strings
    elif what == "other":
        os.mknod(where, node.stat.st_mode, node.stat.st_rdev)
    else:
        with reader.open(node) as source, open(where, "xb") as copy:  # noqa: PTH123 - strings
            _fill(source.fileno(), copy.fileno(), node.stat.st_size)
        shutil.copystat(node.path, where, follow_symlinks=False)
    _own(node, where)
    if what != "symlink":
        os.chmod(where, node.mode)  # noqa: PTH101 - strings; after chown, which clears set-uid
    os.utime(where, ns=(node.stat.st_atime_ns, node.stat.st_mtime_ns), follow_symlinks=False)


def _fill(source: int, copy: int, size: int) -> None:
    """The bytes of a file; its holes stay holes."""
    at = 0
    while at < size:
        try:
            at = os.lseek(source, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break  # a hole up to the end
        end = os.lseek(source, at, os.SEEK_HOLE)
        while at < end:
            part = os.pread(source, min(_PIECE, end - at), at)
            if not part:
                break
            at += os.pwrite(copy, part, at)
        at = max(at, end)
    os.ftruncate(copy, size)


def _own(node: Node, where: str) -> None:
    if os.geteuid() == 0:
        os.chown(where, node.stat.st_uid, node.stat.st_gid, follow_symlinks=False)

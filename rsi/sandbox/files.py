"""Reading and writing one file *inside*, by a command: a link that leads out of the workspace leads nowhere.

The host never opens a path that something in the sandbox could have made a link of.
"""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import Final

from rsi.errors import InvalidInputError, SandboxError, TooLargeError
from rsi.sandbox import given
from rsi.sandbox.model import ExecResult, Limits, MiB

#: Of one file; larger ones are for commands.
MAX_BYTES: Final = 16 * MiB
#: To read or write one file; a slow disk, not a program.
_PATIENCE_S: Final = 30.0
_FOLDER, _MISSING, _DENIED, _SPECIAL = 40, 41, 42, 43
#: Said by the script itself: the caller's PATH begins in the workspace, and a command may have put a `cat` there.
_OWN_PROGRAMS: Final = "PATH=/usr/bin:/bin; export PATH"
_READ: Final = f"""
{_OWN_PROGRAMS}
[ -d "$1" ] && exit {_FOLDER}
[ -e "$1" ] || exit {_MISSING}
[ -f "$1" ] || exit {_SPECIAL}
[ -r "$1" ] || exit {_DENIED}
exec head -c "$2" < "$1"
"""
_WRITE: Final = f"""
{_OWN_PROGRAMS}
[ -d "$1" ] && exit {_FOLDER}
[ -e "$1" ] && [ ! -f "$1" ] && exit {_SPECIAL}
mkdir -p -- "$2" || exit {_DENIED}
exec 3> "$1" || exit {_DENIED}
exec cat >&3
"""


class FileMissingError(SandboxError, FileNotFoundError):
    """There is no such file in the sandbox."""


class FileIsFolderError(SandboxError, IsADirectoryError):
    """It is a folder."""


class FileDeniedError(SandboxError, PermissionError):
    """It may not be read or written there, or is no regular file."""


def place(path: str | Path, workspace: Path) -> str:
    """A path as the scripts take it: `./` and relative to the workspace, or absolute when it is outside.

    Raises:
        InvalidInputError: no name of a file, or relative and outside.
    """
    text = given.path(path)
    if not text or "\0" in text:
        raise InvalidInputError(f"path: expected the name of a file, got {text!r}", field="path")
    inside = posixpath.relpath(posixpath.join(workspace, text), workspace)
    if not _leaves(inside):
        return f"./{inside}"
    if not text.startswith("/"):
        raise InvalidInputError(f"path: {text!r} is outside the workspace {workspace}; name a file in it", field="path")
    return posixpath.normpath(text)


def _leaves(inside: str) -> bool:
    return inside == ".." or inside.startswith("../")


def reading(path: str | Path, workspace: Path, max_bytes: int) -> tuple[tuple[str, ...], Limits]:
    """The command that prints a file, one byte over the limit at most."""
    room = max_bytes + 1
    limits = Limits(wall_s=_PATIENCE_S, output=2 * room, keep=2 * room)
    return ("/bin/sh", "-c", _READ, "sh", place(path, workspace), str(room)), limits


def writing(path: str | Path, workspace: Path) -> tuple[tuple[str, ...], Limits]:
    """The command that writes its input to a file, making the folders above it.

    Raises:
        InvalidInputError: outside the workspace, where nothing outlives a command.
    """
    text = place(path, workspace)
    if text.startswith("/"):
        raise InvalidInputError(f"path: {text!r} is outside the workspace {workspace}; name a file in it", field="path")
    return ("/bin/sh", "-c", _WRITE, "sh", text, posixpath.dirname(text)), Limits(wall_s=_PATIENCE_S)


def contents(path: str | Path, result: ExecResult, max_bytes: int) -> bytes:
    """What was read.

    Raises:
        FileMissingError, FileIsFolderError, FileDeniedError: as they say.
        TooLargeError: more than `max_bytes`.
    """
    done(path, result, "read")
    if result.stdout_total > max_bytes:
        raise TooLargeError(f"{path}: more than {max_bytes} bytes (max_bytes); read it by a command", field="max_bytes")
    return result.stdout_bytes


def done(path: str | Path, result: ExecResult, verb: str) -> None:
    """Nothing, if the script came to its end.

    Raises:
        FileMissingError, FileIsFolderError, FileDeniedError: as they say.
        SandboxError: something else, with what the shell said.
    """
    said = result.stderr.strip()[-500:]
    if result.ok:
        return
    if result.returncode == _FOLDER:
        raise FileIsFolderError(f"{path}: is a folder")
    if result.returncode == _MISSING:
        raise FileMissingError(f"{path}: no such file in the sandbox")
    if result.returncode == _SPECIAL:
        raise FileDeniedError(f"{path}: is not a regular file")
    if result.returncode == _DENIED or "denied" in said or "Read-only" in said:
        raise FileDeniedError(f"{path}: cannot be {'read' if verb == 'read' else 'written'} in the sandbox: {said}")
    raise SandboxError(f"{path}: could not {verb} it in the sandbox: {result.killed_by or result.returncode} {said}")

"""What may be shown to a command at all: never a home folder, never what is above one, never where stores are."""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rsi.errors import InvalidInputError
from rsi.sandbox.merge.names import is_protected
from rsi.sandbox.overlay.place import homes


def workspace(given: Path) -> Path:
    """The folder, without links.

    Raises:
        InvalidInputError: it is none, or holds the very things that are to be kept out.
    """
    if not given.is_dir():
        raise InvalidInputError(f"workspace: {given} is not a folder; name an existing one", field="workspace")
    folder = given.resolve()
    if any(home.is_relative_to(folder) for home in _homes()):
        raise InvalidInputError(
            f"workspace: {folder} holds your home folder and all that is in it; name a project's folder",
            field="workspace",
        )
    return folder


def readable(given: Sequence[str | Path]) -> list[Path]:
    """Folders to show read-only, as the caller calls them.

    Raises:
        InvalidInputError: names the one, by its number, that is not there or is never shown.
    """
    found = [Path(path) for path in given]
    for number, path in enumerate(found):
        if (why := refused(path)) is not None:
            raise InvalidInputError(f"readable[{number}]: {why}", field=f"readable[{number}]")
    return found


def refused(path: Path) -> str | None:
    """Why it is never shown; `None` when it may be."""
    if not path.is_absolute() or not path.exists():
        return f"expected an absolute path that exists, got {str(path)!r}"
    real = path.resolve()
    if not real.is_dir() and not real.is_file():
        return f"{path} is no folder and no file: a socket, a fifo or a device leads out of the sandbox"
    if any(is_protected(name) for name in (*path.parts, *real.parts)):
        return f"{path} is never shown; name the one folder that is needed"
    if any(home.is_relative_to(real) for home in _homes()):
        return f"{path} holds your home folder and all that is in it; name the one folder that is needed"
    if any(store.is_relative_to(real) or real.is_relative_to(store) for store in homes()):
        return f"{path} is where the files of other sandboxes are kept; name the one folder that is needed"
    return None


def _homes() -> set[Path]:
    """As `$HOME` says, and as the system does: ssh looks for its keys in that one, whatever `$HOME` is."""
    found = {Path("/"), Path(os.environ.get("HOME") or "/")}
    with suppress(KeyError):  # a user without a name, as in many containers
        found.add(Path(pwd.getpwuid(os.getuid()).pw_dir))
    return {home.resolve() for home in found if home.is_absolute()}

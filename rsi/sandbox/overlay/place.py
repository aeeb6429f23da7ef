"""Where the stores of all boxes go: never where a command could see them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

from rsi.errors import SandboxError

#: Says where, before anything else does.
VARIABLE: Final = "RSI_SANDBOX_STORE"


def place(shown: tuple[Path, ...]) -> Path:
    """A folder for stores that is neither in nor above any of these folders.

    `$RSI_SANDBOX_STORE`, else `$XDG_STATE_HOME/rsi/sandbox`, else a folder of the user's own among the temporary ones
    (when the workspace is the home folder itself, say).

    Raises:
        SandboxError: each of them is shown to commands.
    """
    chosen = os.environ.get(VARIABLE)
    candidates = (_real(Path(chosen)),) if chosen else _usual()
    for path in candidates:
        if not any(path.is_relative_to(folder) or folder.is_relative_to(path) for folder in shown):
            return path
    tried = ", ".join(map(str, candidates))
    raise SandboxError(f"{tried}: would be visible to commands; set {VARIABLE} to a folder outside of the workspace")


def homes() -> tuple[Path, ...]:
    """Every folder in which this user's boxes may have their stores, there or not, whoever made them."""
    chosen = os.environ.get(VARIABLE)
    return (*((_real(Path(chosen)),) if chosen else ()), *_usual())


def user_home() -> Path | None:
    """The home folder of this user; None for one without, as `docker run --user 4711` makes them."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def _usual() -> tuple[Path, ...]:
    said, home = os.environ.get("XDG_STATE_HOME"), user_home()
    state = Path(said) if said else home / ".local/state" if home is not None else None
    temporary = Path(tempfile.gettempdir()) / f"rsi-sandbox-{os.getuid()}"
    return (*((_real(state / "rsi/sandbox"),) if state is not None else ()), _real(temporary))


def _real(path: Path) -> Path:
    return path.absolute().resolve()

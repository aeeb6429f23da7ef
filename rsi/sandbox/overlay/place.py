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
    if chosen := os.environ.get(VARIABLE):
        candidates = [Path(chosen)]
    else:
        state = os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()
        candidates = [Path(state) / "rsi/sandbox", Path(tempfile.gettempdir()) / f"rsi-sandbox-{os.getuid()}"]
    for candidate in candidates:
        path = candidate.absolute().resolve()
        if not any(path.is_relative_to(folder) or folder.is_relative_to(path) for folder in shown):
            return path
    tried = ", ".join(map(str, candidates))
    raise SandboxError(f"{tried}: would be visible to commands; set {VARIABLE} to a folder outside of the workspace")

"""Where a command starts."""

from __future__ import annotations

import os
from pathlib import Path

from rsi.errors import LaunchError


def inside(workspace: Path, cwd: str) -> Path:
    """`Command.cwd` as an absolute path: relative to the workspace, or absolute inside it.

    Raises:
        LaunchError: outside of the workspace.
    """
    path = Path(os.path.normpath(workspace / cwd))
    if not path.is_relative_to(workspace):
        raise LaunchError(f"order: cwd {cwd!r} is outside of {workspace}")
    return path

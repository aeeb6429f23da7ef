"""Folders and files for the prober, gone when it ends."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path


def other_place() -> str | None:
    """A second place for secrets, where a box that hides only `/tmp` still shows it."""
    other = "/var/tmp"  # noqa: S108 - a random name is made in it
    return other if os.access(other, os.W_OK) else None


def folder(stack: ExitStack, where: str | None) -> Path:
    """A new folder in `where` (default: the system's temporary one) that anybody may enter."""
    made = Path(tempfile.mkdtemp(prefix="rsi-probe-", dir=where)).resolve()
    stack.callback(shutil.rmtree, made, ignore_errors=True)
    made.chmod(0o755)
    return made


def write(path: Path, text: str) -> None:
    """A file that anybody may read and write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o666)

"""Which agent a session belongs to: `claude-code:<repo>`, the same wherever in the repository it works."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

PREFIX: Final = "claude-code"


def source_of(cwd: str | None, env: Mapping[str, str] | None = None) -> str:
    """`RSI_SOURCE`, else `claude-code:` and the name of the repository that `cwd` is in, else of the folder."""
    said = (os.environ if env is None else env).get("RSI_SOURCE")
    return said or f"{PREFIX}:{_repository(Path(cwd)) if cwd else 'unknown'}"


def _repository(folder: Path) -> str:
    for place in (folder, *folder.parents):
        mark = place / ".git"
        try:
            if mark.is_dir():
                return place.name or "root"
            if mark.is_file():  # a worktree: it points into the repository that it is of
                return _main(mark.read_text(encoding="utf-8", errors="replace")) or place.name
        except OSError:
            break
    return folder.name or "root"


def _main(pointer: str) -> str | None:
    """`gitdir: /src/app/.git/worktrees/fix` → `app`."""
    parts = Path(pointer.removeprefix("gitdir:").strip()).parts
    return parts[parts.index(".git") - 1] if ".git" in parts[1:] and "worktrees" in parts else None

"""The address of the daemon's door for hooks: what both sides of it have to know."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

PATH: Final = "/v1/hooks/claude-code"


def home_mark(home: Path) -> str:
    """What stands for a home in a hook's address, so that no other home's daemon takes its events."""
    return hashlib.sha256(str(home.resolve()).encode("utf-8", "surrogatepass")).hexdigest()[:12]


def context(event: str, text: str | None) -> dict[str, Any]:
    """What a hook prints so that the model reads `text`."""
    return {} if not text else {"hookSpecificOutput": {"hookEventName": event, "additionalContext": text}}

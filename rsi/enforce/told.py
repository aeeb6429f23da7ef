"""Lessons of a policy as one text for a model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

#: Models are given a few hundred tokens of lessons; hosts cut or refuse more (Claude Code at 10,000 characters).
MAX_CHARS: Final = 9_000
_HEAD: Final = "Lessons from earlier runs of this work:"


def told(lessons: Iterable[Any] | None, *, head: str = _HEAD, limit: int = MAX_CHARS) -> str:
    """The lessons under a headline, an empty text for none; whole lessons only, at most `limit` characters.

    Lessons are made by the daemon from templates with typed slots; what they quote is fenced there and labelled as
    untrusted. Nothing is added to them here.
    """
    lines: list[str] = []
    left = limit - len(head) - 1
    for lesson in lessons or ():
        text = str(lesson).strip()
        line = text if text.startswith("- ") else f"- {text}"
        if not text or len(line) + 1 > left:
            continue
        lines.append(line)
        left -= len(line) + 1
    return "\n".join((head, *lines)) if lines else ""

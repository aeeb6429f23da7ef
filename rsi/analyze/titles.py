"""The title of a new issue, from the first text that was seen of it."""

from __future__ import annotations

from typing import Final

from rsi.analyze.template import mask
from rsi.model import Category, Fingerprint
from rsi.store import wording
from rsi.store.titles import prefixed, title

#: Lines of a text that are masked for a title: its head and its tail, where errors say what they are.
_LINES = 12
#: The title of `((((`: it is a text, and says nothing.
NO_WORDS: Final = "text without words"


def of(category: Category, fingerprint: Fingerprint, text: str | None) -> str:
    """A title in masked words; lines of `text` stay lines, which a template no longer has."""
    lines = (text or fingerprint.template).splitlines()
    shown = lines if len(lines) <= 2 * _LINES else [*lines[:_LINES], *lines[-_LINES:]]
    said = "\n".join(mask(line) for line in shown)
    if not fingerprint.error_type and not wording.informative(said):
        return prefixed(category.name, NO_WORDS)
    return title(category.name, said, fingerprint.error_type)

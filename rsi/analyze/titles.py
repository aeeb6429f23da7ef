"""The title of a new issue, from the first text that was seen of it."""

from __future__ import annotations

from rsi.analyze.template import mask
from rsi.model import Category, Fingerprint
from rsi.store.titles import title

#: Lines of a text that are masked for a title: its head and its tail, where errors say what they are.
_LINES = 12


def of(category: Category, fingerprint: Fingerprint, text: str | None) -> str:
    """A title in masked words; lines of `text` stay lines, which a template no longer has."""
    lines = (text or fingerprint.template).splitlines()
    shown = lines if len(lines) <= 2 * _LINES else [*lines[:_LINES], *lines[-_LINES:]]
    return title(category.name, "\n".join(mask(line) for line in shown), fingerprint.error_type)

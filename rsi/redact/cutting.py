"""Cuts long texts before secrets are taken out, so that no half of one is left that nothing recognises any more.

A secret that is cut in two has lost what it is known by: `postgres://bob:S3cr3t` without its `@`. So more is kept than
is asked for, without the word at the cut, and what is too much goes after the secrets are out: `head(text, n)`, then
`redactor.text`, then `[:n]`.
"""

from __future__ import annotations

from typing import Final

#: Characters beyond the limit that are looked at: longer than any key or address that is known by its form.
MARGIN: Final = 1_024


def head(text: str, limit: int) -> str:
    """The beginning, somewhat longer than `limit`, to be redacted and then cut."""
    if len(text) <= limit:
        return text
    kept = text[: limit + MARGIN]
    if len(kept) == len(text):
        return kept
    whole = kept.rstrip() if text[len(kept)].isspace() else kept[: -len(kept.rsplit(maxsplit=1)[-1])]
    return whole if len(whole) >= max(limit // 2, limit - MARGIN) else kept


def tail(text: str, limit: int) -> str:
    """The end, likewise."""
    if len(text) <= limit + MARGIN:
        return text
    kept = text[-(limit + MARGIN) :]
    whole = kept if text[-(limit + MARGIN) - 1].isspace() else kept[len(kept.split(maxsplit=1)[0]) :]
    return whole if len(whole) >= max(limit // 2, limit - MARGIN) else kept


def ends(text: str, limit: int) -> str:
    """Both ends of a text of more than `limit` characters, to be redacted; an error says what it is at one of them."""
    return text if len(text) <= limit else f"{head(text, limit // 2)} … {tail(text, limit // 2)}"

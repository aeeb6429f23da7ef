"""What a decision is bound to: this fix with exactly this change. A decision about another change is stale."""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from rsi.fix import edit
from rsi.store.fixes import FixRow

SHORT: Final = 16
"""Hex digits that a proposal shows: 64 bits, against mistakes; a token is compared with all of them."""


def digest(fix: FixRow) -> str:
    """64 hex digits over the fix's id and its change: target, before, after and bounds.

    Of a file the keys' old values count, not its hash: a comment that somebody wrote elsewhere voids no decision.
    """
    change = fix.change
    before = edit.decided(change)["before"]
    said = [fix.ref, change.target, before, change.after, change.bounds]
    return hashlib.sha256(msgspec.json.encode(said, order="deterministic")).hexdigest()


def short(fix: FixRow) -> str:
    """The first 16 of them."""
    return digest(fix)[:SHORT]

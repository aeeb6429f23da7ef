"""A rail: one reason why a fix is not applied, by its name and in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from rsi.store.fixes import RAILS, FixRow


class Rail(msgspec.Struct, frozen=True):
    """One refusal. `yields` means that a person's approval goes over it; `at_once` that `--now` does too."""

    name: str
    sentence: str
    yields: bool = False
    at_once: bool = False


def refusal(fix: FixRow, rails: Sequence[Rail], evidence: dict[str, Any] | None = None) -> dict[str, Any]:
    """The columns that say so: sentences, and in the evidence the name of each."""
    held = fix.evidence if evidence is None else evidence
    return {
        "rails": [rail.sentence for rail in rails],
        "evidence": {**held, RAILS: {rail.sentence: rail.name for rail in rails}},
    }

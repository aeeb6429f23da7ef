"""The one table of a fix's states: what may follow what, and what a verdict makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from rsi.errors import ConflictError
from rsi.model import FixState, VerdictOutcome

#: From a state to those that may follow. What leads nowhere is over; the row stays as the memory of it.
NEXT: Final[Mapping[FixState, tuple[FixState, ...]]] = {
    "proposed": ("approved", "checking", "rejected", "superseded"),
    "approved": ("checking", "kept_unverified", "rejected", "superseded"),
    "checking": (
        "canary", "kept_unverified", "proposed", "approved", "rejected", "rolled_back", "superseded", "failed",
    ),
    "canary": ("verified", "kept_unverified", "rolled_back", "removed", "superseded"),
    "verified": ("rolled_back", "superseded"),
    "kept_unverified": ("rolled_back", "superseded"),
    "rolled_back": (),
    "removed": (),
    "rejected": (),
    "superseded": (),
    "failed": (),
}  # fmt: skip

#: What a verdict does to a canary (contract §4). The two that are missing wait for the deadline.
ON_VERDICT: Final[Mapping[VerdictOutcome, FixState]] = {
    "verified": "verified",
    "worse": "rolled_back",
    "no_difference": "removed",
}

#: Ended in a way that says "not this again" for the same thing (rule, scope, knob and value).
ENDED: Final[tuple[FixState, ...]] = ("rolled_back", "removed", "rejected", "superseded", "failed")


def after_verdict(
    outcome: VerdictOutcome, *, deadline_passed: bool, undecided: Literal["keep", "remove"]
) -> FixState | None:
    """The state that follows a verdict on a canary; `None`: go on watching.

    Args:
        outcome: the verdict's word.
        deadline_passed: `verify.max_days` are over.
        undecided: the setting `fix.undecided`.
    """
    if outcome in ON_VERDICT:
        return ON_VERDICT[outcome]
    if not deadline_passed:
        return None
    if outcome == "undecided" and undecided == "keep":
        return "kept_unverified"
    return "removed"


def check(ref: str, before: FixState, after: FixState) -> None:
    """Refuse a step that the table does not have.

    Raises:
        ConflictError: names the fix, its state and what is possible from there.
    """
    if after not in NEXT[before]:
        possible = ", ".join(NEXT[before]) or "nothing: it is over"
        raise ConflictError(f"{ref} is {before}; from there: {possible}")

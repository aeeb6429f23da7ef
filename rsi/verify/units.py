"""What a unit is: one session, run or outcome; for what a whole process shares, the client process."""

from __future__ import annotations

from typing import Final

from rsi.model import PROCESS_KNOBS, Outcome

CLIENT: Final = "client"
"""In an outcome's `metadata`: the id of the client process. A top-level `client` lands there, too."""
MAX_CHARS: Final = 128


def is_process(knob: str) -> bool:
    """Whether the arm of this knob is drawn for a client process: it cannot hold for one call and not for the next."""
    return knob in PROCESS_KNOBS


def name(outcome: Outcome, knob: str) -> str | None:
    """The unit that this outcome belongs to in an experiment with `knob`.

    None: it belongs to a process and does not say which; nobody can tell its arm.
    """
    if not is_process(knob):
        return outcome.unit
    found = outcome.metadata.get(CLIENT)
    return found if isinstance(found, str) and 0 < len(found) <= MAX_CHARS else None

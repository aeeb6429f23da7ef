"""What a pass over the fixes did, for the report and for whoever listens."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from rsi.model import Policy, Regression, Verdict
from rsi.store.fixes import FixRow


class Regressed(NamedTuple):
    """A verified fix whose scope fails again, or does not any more, or for another reason."""

    fix: FixRow
    was: Regression | None
    now: Regression | None


class Acted(msgspec.Struct, kw_only=True):
    """What a pass did."""

    planned: list[FixRow] = []
    checking: list[FixRow] = []  # nothing else speaks against them: their check, or their edit, has begun
    returned: list[FixRow] = []  # from the check or their file, to wait for a person or for something else
    checked: set[int] = set()  # whose check or edit is over: they waited for nobody
    started: list[FixRow] = []
    judged: list[tuple[FixRow, Verdict]] = []
    ended: list[FixRow] = []
    filed: list[FixRow] = []  # whose edit was taken out of its file
    regressed: list[Regressed] = []
    moved: bool = False  # trials were fed: a stage may have begun
    policy: Policy | None = None
    published: bool = False


def both(one: Acted, other: Acted) -> Acted:
    """What two passes did, one after the other."""
    return Acted(
        planned=one.planned + other.planned,
        checking=one.checking + other.checking,
        returned=one.returned + other.returned,
        checked=one.checked | other.checked,
        started=one.started + other.started,
        judged=one.judged + other.judged,
        ended=one.ended + other.ended,
        filed=one.filed + other.filed,
        regressed=one.regressed + other.regressed,
        moved=one.moved or other.moved,
        policy=other.policy or one.policy,
        published=one.published or other.published,
    )

"""What a rule's past says: how sure it may be, and whether it may act without being asked. Pure.

*Confidence* is the probability that a fix of the rule ends `verified`, given that it gets a verdict either way. It is
the rule's share of won verdicts, drawn towards the share of all rules here by `PRIOR_WEIGHT` verdicts of prior:
`(won + 4 m) / (won + lost + 4)` with `m = (W + 1) / (W + L + 2)` over all rules (empirical Bayes; Laplace's rule of
succession for `m`). With nothing known that is .5. It is written on the fix when it is planned, and scored when the
verdict falls: the Brier score is the mean of (confidence - verified)² (Brier 1950), 0 at best; always .5 scores .25.

A rule *acts* by itself as long as its standing says so; every other rule proposes:
- a built-in stable one, unless it has lost 3 verdicts or more, and more than it has won;
- any other (yours, or experimental) once it has won 5 or more and the lower end of the 95 % Wilson interval of its won
  share is above one half: 5 of 5, 7 of 8, 9 of 11. It is lost again the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal, Protocol, TypeAlias

import msgspec

from rsi.stats import wilson
from rsi.store.endings import Ending
from rsi.store.fixes import Record

PRIOR_WEIGHT: Final = 4.0
"""Verdicts: a rule's own record outweighs the others' from its fifth on."""
LOSING_AT: Final = 3
EARNED_AT: Final = 5
EARNED_ABOVE: Final = 0.5
_LOST: Final = ("worse", "no_difference")

Rail: TypeAlias = Literal["rule", "record"]


class Scored(Record, frozen=True):
    """Won, lost and undecided; the Brier score over the `scored` verdicts before which a confidence was given."""

    brier: float | None = None
    scored: int = 0


class Standing(msgspec.Struct, frozen=True):
    """Whether a rule may act by itself; if not, the rail's name and one sentence. `earned`: by its record."""

    acts: bool
    rail: Rail | None = None
    sentence: str = ""
    earned: bool = False


class RuleLike(Protocol):
    """As much of a rule as this needs."""

    @property
    def id(self) -> str: ...  # noqa: D102 - as a rule has it
    @property
    def origin(self) -> str: ...  # noqa: D102 - as a rule has it
    @property
    def status(self) -> str: ...  # noqa: D102 - as a rule has it


def count(endings: Iterable[Ending]) -> dict[str, Scored]:
    """The record of every rule that has one."""
    by_rule: dict[str, list[Ending]] = {}
    for ending in endings:
        by_rule.setdefault(ending.rule, []).append(ending)
    return {rule: _count(found) for rule, found in by_rule.items()}


def _count(found: list[Ending]) -> Scored:
    won = sum(one.outcome == "verified" for one in found)
    lost = sum(one.outcome in _LOST for one in found)
    undecided = sum(one.outcome == "undecided" and not one.open for one in found)
    missed = [
        (one.confidence - (one.outcome == "verified")) ** 2
        for one in found
        if one.confidence is not None and (one.outcome == "verified" or one.outcome in _LOST)
    ]
    return Scored(won, lost, undecided, sum(missed) / len(missed) if missed else None, len(missed))


def confidence(rule: str, records: Mapping[str, Record]) -> float:
    """The probability that the next fix of a rule is verified, if it gets a verdict.

    Args:
        rule: its id.
        records: of all rules here.
    """
    won, lost = sum(one.won for one in records.values()), sum(one.lost for one in records.values())
    mean = (won + 1.0) / (won + lost + 2.0)
    own = records.get(rule, Record())
    return (own.won + PRIOR_WEIGHT * mean) / (own.won + own.lost + PRIOR_WEIGHT)


def standing(rule: RuleLike, record: Record) -> Standing:
    """Whether a rule may act by itself, by the documented rule of promotion and demotion."""
    decided = record.won + record.lost
    if record.lost >= LOSING_AT and record.lost > record.won:
        sentence = f"{rule.id} has lost {record.lost} of {decided} verdicts: it only proposes"
        return Standing(acts=False, rail="record", sentence=sentence)
    if rule.origin == "builtin" and rule.status == "stable":
        return Standing(acts=True)
    if record.won >= EARNED_AT and wilson(record.won, decided)[0] > EARNED_ABOVE:
        return Standing(acts=True, earned=True)
    whose = f"{rule.id} is a rule of yours" if rule.origin != "builtin" else f"{rule.id} is {rule.status}"
    sofar = f"so far it has won {record.won} of {decided}" if decided else f"{EARNED_AT} won verdicts in a row will do"
    return Standing(acts=False, rail="rule", sentence=f"{whose}: it proposes until it has earned more ({sofar})")

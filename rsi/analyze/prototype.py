"""What rules do not decide, or only weakly, compared with written prototypes: a category, or none. Pure.

The worker learns from the prototypes and says how like each category a text is; here is decided whether that is enough.
The best category must be clearly ahead of the second. `not_a_failure` may name an issue, but excuses nothing: only a
rule takes a failure out of the counters. How the thresholds were measured: docs/design/032-prototypes.md.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from rsi.classify import NEVER_RETRIED, retryable
from rsi.model import Category

BY: Final = "prototype"
NOT_A_FAILURE: Final = "not_a_failure"
UNKNOWN: Final = "unknown"
#: A rule that is this sure decides alone; what others say may be overruled.
SURE: Final = 0.92
#: Characters that are compared: what an error says first is what it is about.
COMPARED: Final = 400
#: Lead over the second category → how often that was right, on texts by authors whose texts were not learned from.
#: Below the first, nothing is decided.
LEADS: Final = ((0.2, 0.85), (0.3, 0.95), (0.5, 0.98))
#: The lead that overrules a weak rule: below it the rule was right as often.
OVERRULES: Final = 1.0
#: Templates of one issue that are compared, the newest.
MOST: Final = 16

_WORD: Final = re.compile(r"[^\W\d_]{2}")
#: What stands before the words: a list mark, times, `[planner] WARN:`.
_LEADING: Final = re.compile(r"^[\s>*-]*(?:<\w+>[:\s\u00b7\u2014-]*)*(?:\[[\w -]{1,40}\]\s*(?:[A-Z]{1,10}:)?)?")
_MARKS: Final = re.compile(r"<\w+>|[{}\[\]\"]+")


class Likeness(msgspec.Struct, frozen=True):
    """How like a category a text is: `score` is a distance from its border, `nearest` its prototype that is nearest."""

    category: str
    score: float
    nearest: str


class Choice(msgspec.Struct, frozen=True):
    """The category that was chosen, and why in words."""

    category: Category
    why: str


def subject(template: str, error_type: str | None) -> str:
    """What is compared: the class, which a template leaves out, and the template's first words without its marks."""
    words = _MARKS.sub(" ", _LEADING.sub("", template, count=1))
    typed = f"{error_type}: {words}" if error_type and error_type not in template else words
    return " ".join(typed[:COMPARED].split())


def wordings(subjects: Sequence[str]) -> list[str]:
    """By what each of these is compared: what all have in common, if that is most of them; names then say nothing."""
    words = dict.fromkeys(map(tuple, map(str.split, subjects)))
    common = [word for word in next(iter(words), ()) if all(word in other for other in words)]
    if len(common) * 2 > max(map(len, words), default=0):
        return [" ".join(common)] * len(subjects)
    return [*subjects]


def open_to(ruled: Category) -> bool:
    """Whether prototypes are asked beside this answer of the rules."""
    return ruled.confidence < SURE and ruled.name != NOT_A_FAILURE


def decide(text: str, likeness: Sequence[Likeness], ruled: str = UNKNOWN) -> Choice | None:
    """The category of a text, or `None`: never a guess.

    Args:
        text: what was compared.
        likeness: best first, at least the best two.
        ruled: the category by a weak rule, if one spoke. It falls only to a clear lead, and one that forbids another
            try (quota, auth, permission, refusal) never falls to one that advises it; the other way a small lead is
            enough. `not_a_failure` is the rules'
            word alone: it neither falls nor replaces what they say.
    """
    if not likeness or not _WORD.search(text):
        return None
    best, *others = likeness
    if ruled == NOT_A_FAILURE or (best.category == NOT_A_FAILURE and ruled != UNKNOWN):
        return None
    lead = best.score - (others[0].score if others else 0.0)
    warns = best.category in NEVER_RETRIED and retryable(ruled)
    needed = LEADS[0][0] if ruled == UNKNOWN or warns else OVERRULES
    if best.category in (UNKNOWN, ruled) or lead < needed:
        return None
    if ruled in NEVER_RETRIED and retryable(best.category):
        return None
    right = max(precision for least, precision in LEADS if lead >= least)
    return Choice(Category(best.category, right, BY), f"{BY}: like {best.nearest!r}, ahead by {lead:.2f}")


def remembered(category: str) -> Category:
    """What prototypes have said before of the same template."""
    return Category(category, LEADS[0][1], BY)

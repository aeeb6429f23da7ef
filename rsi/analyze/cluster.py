"""What a new fingerprint is like: the same as something known, possibly related, or new; with the reason in words.

Pure: the worker's cosines come in, a decision goes out, and the pipeline stores it. Similarity alone never merges.
Measured with MiniLM on 152 agent errors of 34 causes and on Loghub-2k (16 systems, 2,285 masked templates):
"was / was not created" has cosine .973, exit 137 and exit 1 .89, 502 and 504 .83, rate limit and quota .82, missing
pandas and missing requests .67; so everything that tells those apart has to be the same as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

#: At .95, as a leader threshold on Loghub-2k, merged pairs are right at .978 before the conditions below.
MERGE_AT: Final = 0.95
#: Different causes have .29 at p90 and .50 at p99: below it, "related" would be noise.
RELATED_AT: Final = 0.50
#: So many are shown; a person reads no more.
MOST_RELATED: Final = 5
_OTHER_CATEGORY: Final = "other category"

_NUMBER = re.compile(r"(?<![\w.])-?\d{1,4}(?![\w])")
_MADE_WORD = re.compile(r"\b(?=[\w.-]*\d)(?=[\w.-]*[A-Za-z])[A-Za-z][\w.-]*\w\b")
_SYMBOL = re.compile(r"\b(?:[A-Z][A-Z0-9]*_[A-Z0-9_]+|E[A-Z]{4,}|[a-z]+(?:_[a-z]+)+)\b")
_QUOTED = re.compile(r"(?<![A-Za-z])'([^'\n]{1,80})'|\"([^\"\n]{1,80})\"|`([^`\n]{1,80})`")
_NEGATION = re.compile(r"\b(?:not|no|never|without|cannot|none|neither|nor)\b|n't\b|n\u2019t\b", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"<[a-z]+>|\[redacted:[a-z0-9-]+\]")


@dataclass(frozen=True, slots=True)
class Item:
    """A fingerprint as clustering sees it. `id` is the caller's name for it or for its issue: it appears in `why`."""

    id: str
    category: str
    template: str
    error_type: str | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something known, and how near it is (cosine in [-1, 1])."""

    item: Item
    cosine: float


@dataclass(frozen=True, slots=True)
class Link:
    """A tie to something known, and why; `apart` has what tells the two apart besides their category, in few words."""

    id: str
    cosine: float
    why: str
    apart: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """`merge` is where it belongs, if anywhere; `related` are for a person to confirm, nearest first."""

    merge: Link | None
    related: tuple[Link, ...]
    why: str


def kept_codes(template: str) -> frozenset[str]:
    """What masking kept because it identifies: statuses, exit codes, `gpt-4o`, `ECONNRESET`, `rate_limit_exceeded`."""
    text = _PLACEHOLDER.sub(" ", template)
    return frozenset(found[0] for pattern in (_NUMBER, _MADE_WORD, _SYMBOL) for found in pattern.finditer(text))


def quoted_names(template: str) -> frozenset[str]:
    """What stands in quotes or backticks and is not masked: `'pandas'`, `"user_id"`."""
    names = (next(filter(None, found.groups())) for found in _QUOTED.finditer(template))
    return frozenset(name for name in names if _PLACEHOLDER.sub("", name).strip(" .,;:"))


def decide(new: Item, candidates: Sequence[Candidate], *, split: Callable[[str, str], bool] | None = None) -> Decision:
    """Where a new fingerprint belongs.

    Args:
        new: the fingerprint.
        candidates: the worker's nearest, in any order; ties go to the smaller id, so order never matters.
        split: says whether a person has parted these two ids; such a pair neither merges nor is suggested again.
    """
    parted = split or _never
    ranked = sorted(candidates, key=lambda known: (-known.cosine, known.item.id))
    allowed = [known for known in ranked if known.item.id != new.id and not parted(new.id, known.item.id)]
    merge: Link | None = None
    related: list[Link] = []
    for known in allowed:
        if known.cosine < RELATED_AT:
            break
        apart = _differences(new, known.item)
        if merge is None and known.cosine >= MERGE_AT and not apart:
            merge = _link(known, "same category, class, codes and names")
        elif len(related) < MOST_RELATED:
            related.append(_link(known, "; ".join(apart.values()) or "similar in wording only", apart))
    return Decision(merge, tuple(related), merge.why if merge else _why_new(ranked, related, allowed))


def _never(_one: str, _other: str) -> bool:
    return False


def _link(known: Candidate, reason: str, apart: Iterable[str] = ()) -> Link:
    words = tuple(word for word in apart if word != _OTHER_CATEGORY)
    return Link(known.item.id, known.cosine, f"{known.cosine:.2f} to {known.item.id}, {reason}", words)


def _differences(one: Item, other: Item) -> dict[str, str]:
    """What forbids a merge, in few words and in many; empty if nothing does."""
    found = {}
    if one.category != other.category:
        found[_OTHER_CATEGORY] = f"category {one.category} not {other.category}"
    if _last(one.error_type) != _last(other.error_type):
        found["other class"] = f"class {_last(one.error_type) or 'none'} not {_last(other.error_type) or 'none'}"
    for what, read in (("codes", kept_codes), ("names", quoted_names)):
        mine, theirs = read(one.template), read(other.template)
        if mine != theirs:
            found[f"other {what}"] = f"{what} {_said(mine - theirs)} not {_said(theirs - mine)}"
    if _negations(one.template) != _negations(other.template):
        found["one says not"] = "one of them says not"
    return found


def _said(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)[:3]) or "none"


def _last(error_type: str | None) -> str:
    return (error_type or "").rsplit(".", 1)[-1]


def _negations(template: str) -> int:
    return len(_NEGATION.findall(template))


def _why_new(ranked: Sequence[Candidate], related: Sequence[Link], allowed: Sequence[Candidate]) -> str:
    if not ranked:
        return "new: nothing is known yet"
    if related:
        return f"new: nearest is {related[0].why}"
    if not allowed:
        return "new: a person parted it from everything near"
    return f"new: nearest is {allowed[0].cosine:.2f} to {allowed[0].item.id}, too far"

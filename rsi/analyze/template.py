"""Error text → template → fingerprint: what varies is masked, what tells two faults apart is kept.

Kept: HTTP statuses, errno, exit codes, model names, quoted identifiers, digits inside words (`psycopg2`). Masked: ids,
hashes, times, addresses, paths, sizes. Masking is idempotent and examines at most `EXAMINED` characters. A text of a
known shape (other digits, other ids) costs a look-up.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from rsi.analyze.codes import is_code, is_place, status
from rsi.analyze.masks import SHAPE, mask_word, steady
from rsi.analyze.phrases import fold, mask_quoted, unescape
from rsi.analyze.record import unwrap
from rsi.analyze.trace import condense
from rsi.model import Fingerprint

#: Stored with every fingerprint and vector; raise it whenever a template changes.
MASK_VERSION: Final = 4
#: Part of every hash, and never changed again: a template that a newer version leaves as it was keeps its fingerprint,
#: its issue and what a person decided about it.
_SEED: Final = 3
#: Characters looked at: the head and the tail of anything longer (a trace says what it is at one of its ends).
EXAMINED: Final = 8192
#: Characters of a template that are kept; MiniLM reads some 1,000.
LONGEST: Final = 2000
_CACHE: Final = 1 << 15
_CACHED_TEXT: Final = 512

#: Colours and cursor movements (ECMA-48 CSI sequences): a coloured log says the same as a plain one.
_ANSI: Final = re.compile(r"\x1b\[[0-?]{0,32}[ -/]{0,4}[@-~]")
#: What is left of a broken one; taken out, or taking one out could make another.
_ESCAPE: Final = "\x1b"
_DIGIT: Final = re.compile(r"[0-9]")
_CLASS: Final = re.compile(r"((?:[A-Za-z_]\w*\.){0,8}([A-Z]\w{2,80}))(?::\s+|\(|:?$|\s+(?=at \S+:\S))")
_HUMPS: Final = re.compile(r"[A-Z][a-z]\w*[A-Z]\w*")
_CLASS_ENDS: Final = (
    "Error",
    "Exception",
    "Timeout",
    "Exit",
    "Interrupt",
    "Warning",
    "Failure",
    "Fault",
    "Throttled",
    "ExceptionGroup",
)


@dataclass(frozen=True, slots=True)
class _Plan:
    """A template that keeps digits, for texts of one shape: its parts between them, and the words they stand in."""

    parts: tuple[str, ...]
    words: tuple[int, ...] | None
    """`None`: the digits come from words that are masked in part; such a text is masked for itself."""

    def fill(self, text: str) -> str:
        if self.words is None:
            return _slowly(text)
        words = text.split()
        digits = _DIGIT.findall(" ".join([words[place] for place in self.words]))
        return "".join([piece for pair in zip(self.parts, [*digits, ""], strict=True) for piece in pair])


class _Choice:
    """Texts of one shape in which statuses could stand: a plan for each of those that do, `""` for other numbers."""

    __slots__ = ("places", "plans")

    def __init__(self, places: tuple[int, ...]) -> None:
        self.places = places
        self.plans: dict[tuple[str, ...], str | _Plan] = {}

    def plan(self, text: str) -> str | _Plan:
        words = text.split()
        statuses = tuple([status(words[place]) for place in self.places])
        found = self.plans.get(statuses)
        if found is None:
            if len(self.plans) >= _STATUSES_TOGETHER:
                self.plans.clear()
            found = self.plans[statuses] = _planned(text)
        return found


#: Plans of one shape: as many as there are statuses.
_STATUSES_TOGETHER: Final = 100
_plans: dict[str, str | _Plan | _Choice] = {}


def mask(text: str) -> str:
    """The template of `text`: one line, at most `LONGEST` characters; masking a template changes nothing."""
    if len(text) > _CACHED_TEXT or "\x1b" in text:
        return _slowly(text)
    plan = _plans.get(text.translate(SHAPE))
    if plan is None:
        text = steady(text)
        shape = text.translate(SHAPE)
        plan = _plans.get(shape)
        if plan is None:
            if len(_plans) >= _CACHE:
                _plans.clear()
            plan = _plans[shape] = _chosen(text)
    if isinstance(plan, _Choice):
        plan = plan.plan(text)
    return plan if isinstance(plan, str) else plan.fill(text)


def _slowly(text: str) -> str:
    return _settled(_once(steady(_uncoloured(text))))


def _uncoloured(text: str) -> str:
    return _ANSI.sub("", text).replace(_ESCAPE, "") if _ESCAPE in text else text


def _chosen(text: str) -> str | _Plan | _Choice:
    words = text.split()
    places = tuple(place for place in range(len(words)) if is_place(words, place))
    if not places:
        return _planned(text)
    return _Choice(places) if mask_quoted(text) == text else _Plan((), None)


def _planned(text: str) -> str | _Plan:
    template = _slowly(text)
    digits = _DIGIT.findall(template)
    if not digits:
        return template
    parts = tuple(_DIGIT.split(template))
    words = text.split()
    masked = _words(words)
    kept = tuple(place for place, word in enumerate(masked) if _DIGIT.search(word))
    whole = all(masked[place] == words[place] for place in kept) and mask_quoted(text) == text
    same = _DIGIT.findall(" ".join(words[place] for place in kept)) == digits
    return _Plan(parts, kept if whole and same else None)


@lru_cache(_CACHE)
def _settled(template: str) -> str:
    """Masked until nothing changes: each round takes digits or words away and adds none, so it ends."""
    while (again := _once(template)) != template:
        template = again
    return template


def _once(text: str) -> str:
    if len(text) > EXAMINED and len(text := text.strip()) > EXAMINED:
        half = EXAMINED // 2
        text = f"{text[:half].rsplit(None, 1)[0]} … {text[-half:].split(None, 1)[-1]}"  # at a space: half a word varies
    return _cut(fold(" ".join(_words(mask_quoted(text).split()))))


def _words(words: list[str]) -> list[str]:
    out: list[str] = []
    for place, word in enumerate(words):
        if word.isalpha():
            out.append(word)
            continue
        masked = mask_word(word)
        out.append(word if masked != word and is_code(words, place) else masked)
    return out


def _cut(line: str) -> str:
    return line if len(line) <= LONGEST else line[:LONGEST].rsplit(" ", 1)[0]


def fingerprint(text: str, error_type: str | None = None, *, stack: str | None = None) -> Fingerprint:
    """The identity of an error.

    `Class: message`, `module.Class: message` and `Class('message')` with that class are the same as `message` with
    `error_type` given; a log record around it does not count. A stack, in the text or beside it, adds its
    innermost frames.

    Returns:
        `hash` of 16 hex characters over class (without module) and template.
    """
    text, logged = unwrap(text.strip())
    line = condense(_uncoloured(_joined(text, stack)))
    written, message = _split_class(line)
    kind = (error_type or logged or "").rsplit(".", 1)[-1].strip() or written
    template = mask(message if kind and kind == written else line) or kind or "(no text)"
    key = f"{_SEED}\0{kind or ''}\0{template}".encode("utf-8", "replace")
    return Fingerprint(hashlib.blake2b(key, digest_size=8).hexdigest(), template, kind)


def _joined(text: str, stack: str | None) -> str:
    """The stack alone when it repeats the text, otherwise the text before it."""
    half = EXAMINED // 2
    whole = text if not stack else stack if text.strip()[:half] in stack else f"{text}\n{stack}"
    return whole if len(whole) <= EXAMINED else f"{whole[:half]}\n{whole[-half:]}"


def _split_class(line: str) -> tuple[str | None, str]:
    """`openai.RateLimitError: text` → its class and the text; a line that begins otherwise → `None` and the line."""
    found = _CLASS.match(line)
    if not found:
        return None, line
    rest = line[found.end() :].strip()
    if line[found.end() - 1 : found.end()] == "(":
        if not rest.endswith(")"):
            return None, line
        rest = rest[:-1].rstrip(",")
        quoted = len(rest) > 1 and rest[0] == rest[-1] and rest[0] in "'\""
        rest = unescape(rest[1:-1]) if quoted else rest
        known = quoted and _HUMPS.fullmatch(found[2])  # `ModelRetry('…')` is a repr, `Point(1, 2)` may be anything
    else:
        known = None
    if not known and not found[2].endswith(_CLASS_ENDS) and "." not in found[1]:
        return None, line
    return found[2], rest.strip()

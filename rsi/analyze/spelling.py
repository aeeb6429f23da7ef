"""One fault in several spellings: `str(e)`, `Class: text`, a traceback, a JSON body, a wrapper's sentence, a cut text.

A template is taken apart into the *message* that all spellings share and its *marks*: class, place in the code, and the
codes around the message. A spelling that says less than another (no class, no status) is the same fault as long as it
fits one fault only that says more; `together` decides that over all spellings of one message.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from rsi.analyze.cluster import Item, kept_codes, quoted_names
from rsi.analyze.phrases import unescape
from rsi.analyze.variable import place

#: A message of fewer words says too little to be one fault whatever else is said of it: `timeout`.
WORDS: Final = 2
#: A template is taken for cut only from this length: tools cut at 200, 255, 256, 300, 500 …, and masking shortens.
CUT: Final = 100
_PARTS: Final = 8
#: A bug is where it is; a rate limit is the same wherever it is met.
_PLACED: Final = frozenset({"code_bug", "unknown"})

#: What agents and their frameworks put before an error: who did not manage, after how many attempts.
_WHO: Final = re.compile(
    r"\b(?:call|tool|task|agent|step|run|model|llm|chat|completion|request|session|node|job"
    r"|worker|retry|attempts?"
    r"|action|chain|graph|workflow|pipeline|invocation|execution|function|operation|order|query|handler|turn"
    r"|giving up)\b",
    re.IGNORECASE,
)
_GAVE_UP: Final = re.compile(
    r"(?:[^\s:]+ ){0,7}?(?:failed|failing|raised|errored|crashed|aborted|exhausted|gave up"
    r"|giving up(?: on [^\s:]+ [^\s:]+)?)"
    r"(?: (?:after|in|on) (?:all )?(?:attempt )?<num>(?: (?:attempts?|tries|retries|times))?)?"
    r"(?:[,;.]? [Ll]ast (?:error|exception)(?: was)?| with(?: an?)?(?: error| exception)?)?(?:: |(?<=raised) )"
)
_HAPPENED: Final = re.compile(
    r"(?:(?:an?|the|last|unhandled|unexpected|uncaught|fatal) ){0,3}(?:error|exception|failure)"
    r"(?: (?:occurred|raised))?"
    r"(?: (?:while|during|when|in|on|from) (?:[^\s:]+ ){0,4}[^\s:]+)?(?:: | - )"
    r"|(?:caused by|uncaught(?: \w+)?|error|warning|critical|fatal|<ts>|\[\w+\]) ?[:-] ",
    re.IGNORECASE,
)
#: Whatever stands before `Class: …` says where it was met, not what it is.
_BEFORE_CLASS: Final = re.compile(
    r"[^:{}\"]{1,80}: (?=(?:[a-z_]\w*\.){0,8}[A-Z]\w{2,60}(?:Error|Exception|Timeout|Failure|Fault|Interrupt)(?:: |\())"
)
#: Phrases that clients put before the server's own words; their codes are marks.
_CODED: Final = re.compile(
    r"(?:Error code|HTTP|Status|status(?: code)?):? (?P<status>\d{3})(?: [A-Z_]{3,40}\.?)? ?[-:.]+ "
    r"|An error occurred \((?P<name>\w{1,80})\) when calling the \w{1,80} operation"
    r"(?: \(reached max retries: <num>\))?: "
)
_CLASS: Final = re.compile(r"(?:[A-Za-z_]\w*\.){0,8}([A-Z]\w{2,80})(?:: |\()")
_REPR: Final = re.compile(r"[A-Z][a-z]\w*[A-Z]\w*\((?:'.*'|\".*\"),?\)")
_CLASS_ENDS: Final = (
    "Error", "Exception", "Timeout", "Exit", "Interrupt", "Warning", "Failure", "Fault", "Throttled", "ExceptionGroup",
)  # fmt: skip
#: Keys of error bodies: how it is written, not what happened.
_KEYS: Final = frozenset({
    "error", "message", "type", "__type", "code", "param", "status", "detail", "details", "request_id", "errors",
    "data", "object", "None", "null",
})  # fmt: skip
_BODY: Final = re.compile(
    r"[\"'](?:message|detail|error_description|errorMessage|error)[\"']: ?(?:\"((?:[^\"\\]|\\.)*)|'((?:[^'\\]|\\.)*))"
)
_ENDS: Final = (".", "!", "?", ")", "}", "]", "'", '"', ">", "`")


@dataclass(frozen=True, slots=True)
class Marks:
    """What tells faults of one message apart; empty where a spelling does not say."""

    kind: str
    at: str
    codes: frozenset[str]

    def within(self, other: Marks) -> bool:
        """Whether this says nothing that the other does not say too."""
        return self.kind in ("", other.kind) and self.at in ("", other.at) and self.codes <= other.codes

    def fits(self, other: Marks) -> bool:
        """Whether nothing that both say differs."""
        if "" not in (self.kind, other.kind) and self.kind != other.kind:
            return False
        if "" not in (self.at, other.at) and self.at != other.at:
            return False
        return all(mine <= theirs or theirs <= mine for mine, theirs in zip(self.said(), other.said(), strict=True))

    def said(self) -> tuple[frozenset[str], frozenset[str]]:
        """Statuses, and codes that are names: one may be said without the other."""
        statuses = frozenset(code for code in self.codes if code.isdigit())
        return statuses, self.codes - statuses


@dataclass(frozen=True, slots=True)
class Spelling:
    """A template as message and marks; `cut` if the text may have ended before the message did."""

    message: str
    marks: Marks
    cut: bool


def spelling(item: Item) -> Spelling:
    """Message and marks of a template. A message that says too little has only spellings with the same marks."""
    text, at = place(item.template)
    said, kind = _unwrapped(text.strip())
    plain, coded = _uncoded(said)
    message = _body(plain)
    codes = kept_codes(said) | quoted_names(said)
    own = kept_codes(message) | quoted_names(message)
    outside = {name for name in codes - own if " " not in name and name not in _KEYS} | coded
    cut = not at and len(item.template) >= CUT and not message.endswith(_ENDS)
    named = (item.error_type or "").rsplit(".", 1)[-1] or kind
    marks = Marks(named, at if item.category in _PLACED else "", frozenset(outside - {named}))
    bare = message.rstrip(": .…")
    if not bare or bare == named or (named and bare.endswith(f".{named}")):
        message = named or text  # a class and nothing else
    return Spelling(message.rstrip(" .…"), marks, cut or message.endswith(("…", "...")))


def _unwrapped(text: str) -> tuple[str, str]:
    """The text without what was put before it, and the innermost class that stood there, if any."""
    kind = ""
    for _ in range(_PARTS):
        found = _CLASS.match(text)
        if found and (found[1].endswith(_CLASS_ENDS) or "." in found[0].split("(")[0] or _REPR.fullmatch(text)):
            kind = found[1]
            text = _unquoted(text[found.end() :], bracket=found[0].endswith("("))
        elif found := _wrapper(text):
            text = text[found.end() :]
        else:
            break
    return text, kind


def _wrapper(text: str) -> re.Match[str] | None:
    found = _GAVE_UP.match(text)
    if found and _WHO.search(found[0]):
        return found
    return _HAPPENED.match(text) or _BEFORE_CLASS.match(text)


def _unquoted(text: str, *, bracket: bool) -> str:
    if not bracket:
        return text
    if text.endswith(")"):
        text = text[:-1].rstrip(",")
    return unescape(text[1:-1]) if len(text) > 1 and text[0] in "'\"" and text[-1] == text[0] else text


def _uncoded(text: str) -> tuple[str, set[str]]:
    """The server's words and the codes that a client put before them."""
    found = _CODED.match(text)
    if not found:
        return text, set()
    return text[found.end() :], {found["status"] or found["name"]}


def _body(text: str) -> str:
    """The message in a JSON or Python body, else the text."""
    if "{" not in text:
        return text
    found = _BODY.search(text)
    return unescape(found[1] or found[2] or text) if found else text


def together(marks: Iterable[Marks]) -> list[tuple[Marks, Marks]]:
    """Which spellings of one message are one fault, as pairs.

    All, if no two contradict one another. Of several places in the code each is a fault of its own, and those without a
    place are one together. Else a spelling goes to the one fuller that it fits, and to none if there are several.
    """
    every = sorted(set(marks), key=_order)
    if len({one.at for one in every} - {""}) > 1:
        every = [one for one in every if not one.at]
    fullest: list[Marks] = []
    for one in sorted(every, key=_fullest_first):
        if not any(one.within(other) for other in fullest):
            fullest.append(one)
    if all(one.fits(other) for one, other in combinations(fullest, 2)):
        return [(every[0], one) for one in every[1:]]
    held = set(fullest)
    pairs = []
    for one in every:
        fuller = [other for other in fullest if one.within(other)] if one not in held else []
        if len(fuller) == 1:
            pairs.append((fuller[0], one))
    return pairs


def _fullest_first(marks: Marks) -> tuple[int, bool, bool, str, str, list[str]]:
    """Nothing that says less stands before what says more."""
    return (-len(marks.codes), not marks.kind, not marks.at, marks.kind, marks.at, sorted(marks.codes))


def _order(marks: Marks) -> tuple[int, str, str, list[str]]:
    return (-len(marks.codes), marks.kind, marks.at, sorted(marks.codes))

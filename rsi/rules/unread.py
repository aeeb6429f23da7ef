r"""What of a text no rule reads: ids that systems made, and the model's own words where an error quotes them.

A request called `req_dead10c…` or a task called 401 has nothing to say, and `Could not parse LLM output: I could not
connect to …` is about parsing. The same definition serves masking, so that what is read and what tells two errors apart
agree.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from rsi.rules.shape import ClassifyRule
from rsi.rules.statuses import without_owned

#: What systems put before the ids that they make.
PREFIXES: Final = (
    r"org|req|proj|call|run|acct|msg|chatcmpl|toolu|thread|asst|sess|session|gr|blk|container|attempt|trace|span"
    r"|application|job|task|request|user|order|resp|file|batch|cust|cus|pi|ch|evt"
)
_ID: Final = re.compile(
    r"(?<![\w.@*/+-])(?:(?P<uuid>[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12})"
    rf"|(?P<id>(?:{PREFIXES})[-_])(?=[A-Za-z]{{0,64}}\d{{1,64}}[A-Za-z])[A-Za-z0-9]{{4,64}}"
    r"|(?P<hex>(?=[a-f]{0,64}\d)(?=\d{0,64}[a-f])[0-9a-f]{7,64}))(?![\w@*/+-]|[.:]\w)"
)
#: A text without these holds no id.
_HEX: Final = re.compile(r"[0-9a-fA-F]{7}")
_PREFIXED: Final = re.compile(r"[-_](?=[A-Za-z]{0,64}[0-9]{1,64}[A-Za-z])[A-Za-z0-9]{4}")
_ALNUM: Final = re.compile(r"[A-Za-z0-9]")
_NUMBER: Final = re.compile(r"(?<![0-9])[45][0-9]{2}(?![0-9])")
#: In place of each character of an id: no word of any language, and no digit.
_ANY: Final = "x"

#: No text that is examined is longer: an unquoted answer ends with it at the latest.
_LONGEST: Final = 8200
_SAID: Final = r"(?:output|response|completion|answer|reply)"
_FROM: Final = r"(?:llm|model(?:'s)?|language model|agent|ai|assistant|raw|json)"
_SOME: Final = r"[^\S\n](?:[\w'-]{1,20}[^\S\n]){0,4}?"
#: An invalid *response* may be a server's: then what it said is read.
_PARSED: Final = (
    rf"(?:(?:pars(?:e|ed|ing)|decod(?:e|ed|ing)){_SOME}(?:output|response|completion|answer|reply|json)"
    rf"|(?:invalid|malformed|unpars(?:e)?able){_SOME}(?:output|completion|answer|json))"
)
#: Not a form, and what came instead; a name there is a type, and tells errors apart.
_INSTEAD: Final = (
    r"\bexpect(?:ed|ing)[^\S\n](?:an?[^\S\n])?(?:valid[^\S\n])?(?:json|yaml|xml|dict|list|object|schema|format)"
    r"[^\n`'\"]{0,30}\bgot:?[^\S\n]"
)
_AS: Final = r"(?:[^\S\n](?:as|to|into)[^\S\n]\w{1,12}|[^\S\n](?:was|is|got|from|received))?"
#: What a parser says rather than a model: it is read, and tells errors apart.
_COMPLAINT: Final = (
    r"(?!(?:expecting|expected|unterminated|extra data|unexpected|empty|none\b|null\b"
    r"|(?:invalid|not|not a|no) (?:valid|json|control|escape|literal|syntax|character|token|number|utf|output|content)"
    r"|missing (?:field|key|quote|comma|required|closing)|<[a-z]+>|\d|[\w.]{0,60}(?:error|exception)\b))"
)
#: Where an unquoted answer ends: a trace, the place that one was condensed to, what frameworks put behind.
_END: Final = (
    r"(?=\s{1,4}for troubleshooting\b|\n\s{0,4}(?:traceback \(|during handling of|the above exception)"
    r"| at [\w./-]{1,80}:[\w<>.]{1,60}(?: <|$| caused)|\Z)"
)
_PROSE: Final = r"(?=\S{1,60}\s\S{1,60}\s\S)"
_QUOTED: Final = rf"'{_COMPLAINT}{_PROSE}[^']{{1,{_LONGEST}}}'|\"{_COMPLAINT}{_PROSE}[^\"]{{1,{_LONGEST}}}\""
_ANSWER: Final = re.compile(
    rf"\b(?P<lead>(?:{_FROM}[^\S\n]{_SAID}|{_PARSED}){_AS}(?::\s{{0,2}}|[^\S\n]))"
    rf"(?:`(?!<str>)[^`]{{1,{_LONGEST}}}`|{_QUOTED})"
    rf"|(?P<got>{_INSTEAD})(?:`{_PROSE}[^`]{{1,{_LONGEST}}}`|{_QUOTED})"
    rf"|\b(?P<open>{_FROM}[^\S\n]{_SAID}(?:[^\S\n](?:was|is))?:\s{{1,2}})"
    rf"(?:[{{\[](?=[^\n])|[`'\"]?{_COMPLAINT}{_PROSE})(?s:.{{1,{_LONGEST}}}?){_END}",
    re.IGNORECASE,
)
#: A text without this quotes no answer; lower case.
_ASKED: Final = re.compile(
    r"(?:output|response|completion|answer|reply|json|got)(?:[:`]| [`'\"]| (?:as|to|into|was|is|got|from|received)[ :])"
)
_PLACE: Final = "<str>"


def unread(text: str, named: frozenset[str] = frozenset()) -> str:
    """The text with `x` for what an id is made of, and with `<str>` for a quoted answer.

    Args:
        text: any text.
        named: ids and numbers that stay, because a rule names them (`named`).
    """
    text = without_owned(without_answers(text), named)
    if not (_HEX.search(text) or _PREFIXED.search(text)):
        return text
    return _ID.sub(lambda found: found[0] if found[0].lower() in named else _same(found), text)


def without_answers(text: str) -> str:
    """The text with `<str>` for what a model answered, where the words before it say that this is its answer.

    In quotes or backticks; without them, all that follows `LLM output:`, unless it is a parser's complaint.
    """
    return _ANSWER.sub(_answered, text) if _ASKED.search(text.lower()) else text


def named(rules: Iterable[ClassifyRule]) -> frozenset[str]:
    """The ids, and the numbers that could be statuses, that rules of a home name: they are read."""
    found: set[str] = set()
    for rule in rules:
        if rule.origin == "user":
            match = rule.match
            written = list(match.not_message)
            for condition in (*match.any, *match.all):
                written += (*condition.message, *condition.not_message, *condition.code)
            for one in written:
                found.update(id_[0].lower() for id_ in _ID.finditer(one))
                found.update(_NUMBER.findall(one))
    return frozenset(found)


def _same(found: re.Match[str]) -> str:
    kept = found["id"] or ""
    return kept + _ALNUM.sub(_ANY, found[0][len(kept) :])


def _answered(found: re.Match[str]) -> str:
    return f"{found['lead'] or found['got'] or found['open']}{_PLACE}"

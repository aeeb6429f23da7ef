"""What varies over several words: `12 s`, `1165 bytes (1.13 KB)`, `Sun Jul 10 03:55:15 2005`, lists, quoted values."""

from __future__ import annotations

import re
from typing import Final

from rsi.rules.unread import without_answers

_DURATION: Final = (
    r"(?:[mµun]?s|secs?|seconds?|mins?|minutes?|hrs?|hours?|days?|milliseconds?|microseconds?|nanoseconds?)"
)
_SIZE: Final = r"(?:[KMGTP]i?B|[kmgt]b|B|[Bb]ytes?|(?:kilo|mega|giga)bytes?)"
_DAY: Final = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]{0,6},?"
_MONTH: Final = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}[.,]?"
_DATE: Final = rf"(?:{_MONTH} <num>,?|<num>,? {_MONTH})"
_ZONE: Final = r"(?: (?:UTC|GMT|AM|PM|am|pm|[PECM][DS]T|BST|CES?T|EES?T|MSK|JST|IST|KST|HKT|AES?T)(?!\w))?"
_FOLDS: Final = re.compile(
    r"(?:(?<![\w>])[<>~≤≥]=?)?<(?:num|dur)> (?P<dur>" + _DURATION + r")(?![\w/-])"
    r"|(?:(?<![\w>])[<>~≤≥]=?)?<num> (?P<size>" + _SIZE + r")(?![\w/-])"
    rf"|\b{_DAY} {_DATE} (?:(?:<num>,? )?<ts>{_ZONE}(?: <num>)?|<num>)(?P<ts1>)"
    rf"|\b{_DATE} (?:<num>,? )?<ts>{_ZONE}(?P<ts2>)"
    rf"|\b{_MONTH[:-5]}\.? <num>, <num>(?P<ts3>)"
    rf"|\b{_DAY} {_DATE}(?P<ts4>)"
    rf"|<ts>(?:,? <ts>)*{_ZONE}(?P<ts5>)"
    r"|<size> \((?P<size1><size>)\)"
    r"|(?<![^\s(\[{])(?P<one><[a-z]+>)(?:[,;]? (?P=one))+(?![\w<])"
)
_FOLDABLE: Final = re.compile(r"<(?:num|dur|size|ts)>[,;)]? |(<[a-z]+>)[,;]? \1| \(<size>\)")
#: Words after which a quoted text is a value and not a name; names of types are kept even there.
_VALUED: Final = re.compile(
    r"(\b(?:input_value|input|value|got|received|given"
    r"|literal for \w{1,20}\(\) with base \d{1,3}:|string to float:)(?:[=:] ?| ))"
    r"(?:'([^'\n]{0,400})'|\"([^\"\n]{0,400})\"|`([^`\n]{0,400})`)"
)
#: What was answered, in quotes or backticks: a value if it is a sentence, a name if it is a word.
_ANSWERED: Final = re.compile(
    r"(\b(?:output|response|completion|answer|reply|json|text)(?: was| is| got)?(?:: ?| ))"
    r"(?:'([^'\n]{0,400})'|\"([^\"\n]{0,400})\"|`([^`\n]{0,400})`)",
    re.IGNORECASE,
)
#: Three words at least; JSON and placeholders are no prose.
_PROSE: Final = re.compile(r"(?![\[{<])\S{1,60}(?:\s{1,4}\S{1,60}){2}")
_TYPES: Final = re.compile(
    r"(?:<[a-z]+>|int|integer|number|float|str|string|bool|boolean|bytes|dict|object|list|array|tuple|set|null|none|NoneType"
    r"|undefined|[A-Z][a-z]+(?:[A-Z][a-z]+)+)"
)


def fold(line: str) -> str:
    """A masked line with what spans several words folded; each fold takes words away, so repeating it ends."""
    return _FOLDS.sub(_folded, line) if _FOLDABLE.search(line) else line


def _folded(found: re.Match[str]) -> str:
    name = (found.lastgroup or "").rstrip("12345")
    return found["one"] if name == "one" else f"<{name}>"


def mask_quoted(text: str) -> str:
    """Quoted text that is a value by the word before it → `<str>`; quoted names stay, they tell faults apart.

    `No module named 'x'`, `unknown tool "y"` keep their names; `input_value='abc'`, `could not convert string to float:
    'n/a'` and the model's own words do not.
    """
    text = without_answers(text)
    if "'" in text or '"' in text or "`" in text:
        text = _ANSWERED.sub(_answer, _VALUED.sub(_value, text))
    return text


def _value(found: re.Match[str]) -> str:
    return found[0] if _TYPES.fullmatch(_said(found)) else _replaced(found)


def _answer(found: re.Match[str]) -> str:
    return _replaced(found) if _PROSE.match(_said(found)) else found[0]


def _said(found: re.Match[str]) -> str:
    return next(said for said in found.groups()[1:] if said is not None)


def _replaced(found: re.Match[str]) -> str:
    quote = found[0][-1]
    return f"{found[1]}{quote}<str>{quote}"


_ESCAPES: Final = re.compile(r"\\\\?([nrt'\"])")


def unescape(text: str) -> str:
    """What `repr` or JSON escaped, as it was; line ends and tabs become spaces."""
    return _ESCAPES.sub(lambda found: " " if found[1] in "nrt" else found[1], text) if "\\" in text else text

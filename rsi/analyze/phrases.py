"""What varies over several words: `12 s`, `1165 bytes (1.13 KB)`, `Sun Jul 10 03:55:15 2005`, lists, quoted values."""

from __future__ import annotations

import re
from typing import Final

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
    r"(?:'([^'\n]{0,400})'|\"([^\"\n]{0,400})\")"
)
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
    'n/a'` do not.
    """
    return _VALUED.sub(_value, text) if "'" in text or '"' in text else text


def _value(found: re.Match[str]) -> str:
    lead, single, double = found.groups()
    said = single if single is not None else double
    if _TYPES.fullmatch(said):
        return found[0]
    quote = found[0][len(lead)]
    return f"{lead}{quote}<str>{quote}"


_ESCAPES: Final = re.compile(r"\\\\?([nrt'\"])")


def unescape(text: str) -> str:
    """What `repr` or JSON escaped, as it was; line ends and tabs become spaces."""
    return _ESCAPES.sub(lambda found: " " if found[1] in "nrt" else found[1], text) if "\\" in text else text

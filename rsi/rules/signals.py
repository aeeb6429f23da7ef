"""What an error text says about itself: which lines count, class names, HTTP statuses.

Everything looks at `examined(text)` at most, so cost does not grow with a hostile text's length.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from rsi.rules.noise import bare, decoded
from rsi.rules.spelt import spelt

HEAD: Final = 4096  # characters from the start: messages name their cause first …
TAIL: Final = 4096  # … and tracebacks last
FIRST: Final = 2  # a number this near the start (after a bracket or quote) may stand alone
MAX_NAMES: Final = 40
MAX_NUMBERS: Final = 40
TRACEBACK: Final = "Traceback (most recent call last)"

_NAME: Final = re.compile(r"(?<![A-Za-z0-9])_?[A-Z][A-Za-z0-9]{2,80}(?![A-Za-z0-9])")
_LEADING: Final = re.compile(r"\s{0,8}(?:\w{1,60}\.){0,8}([A-Z]\w{2,80})(?=[:(<]|$)")
_TYPE_PARTS: Final = re.compile(r"[\w.$]{2,200}")
_GROUP_PREFIX: Final = re.compile(r"(?m)^ {0,12}[|+](?:-{1,60}[ \d.]{0,8}-{1,60})? ?")
_AT_LINE: Final = re.compile(r"(?m)^\s{1,12}at .{0,400}$\n?")
_NUMBER: Final = re.compile(r"(?<![a-z0-9_.,$#/-])[45]\d\d(?=s?(?![a-z0-9_]))(?![.,]\d|[-/]\w|%)")
#: What makes a three-digit number an HTTP status: the words before it …
_BEFORE: Final = re.compile(
    r"(?:(?<!exit )(?<!exit_)(?:errors?|status|https?|code|response|status_?code|error_?code|reason)"
    r"(?:/\d(?:\.\d)?)?(?: (?:status|code))?(?: (?:was|is|of|from server))?"
    r"|(?:returned|returns|return|got|gets|getting|received|responded|responds|replied|answered|answers|failed|failing|threw"
    r"|gave|gives|sent|saw|seeing|hit|with)(?: (?:an?|with|http|status|code|error|many|another|back)){0,3}"
    r"|too many|\ban?|\bdevolvió|\bfehler|\berreur|\bcódigo|\berrore|\berro|\bfout|\bbłąd|\bhata"
    r"|ошибк[аиу]|статус|код|خطأ|الخطأ|त्रुटि|错误码?|状态码|返回了?|エラー|에러|오류|코드)[\s\\:='\"(\[]{0,6}$"
)
#: … or those after it …
_AFTER: Final = re.compile(
    r"s?[\s:\-'\")\]]{0,3}(?:too many requests|unauthori[sz]ed|forbidden|not found|bad request|payment required"
    r"|conflict|gone|request timeout|request entity|payload too|content too|unprocessable|service unavailable"
    r"|service temporarily|internal (?:server )?error|bad gateway|gateway time|not implemented|method not|overloaded"
    r"|client error|server error|resource_exhausted|resource has been|unavailable|invalid_argument|permission_denied"
    r"|unauthenticated|not_found|internal\b|deadline_exceeded|failed_precondition|error|status|from\b|response"
    r"|http\b|rate limit|quota|fehler|erreur|fout\b|hata|ошибк|错误|エラー|오류|에러|त्रुटि)"
)
#: … unless it counts something.
_UNIT: Final = re.compile(
    r"\s?(?:rows?|results?|items?|records?|files?|lines?|tokens?|ms|sec|secs|seconds?|minutes?|bytes?|chars?|characters"
    r"|times|kb|mb|gb|k|pages?|orders?|users?|documents?|chunks|words|points|entries|tests?|passed|steps|usd|eur|dollars"
    r"|requests? (?:per|processed|served))\b|\s?[条件个行次回個개건]"
)
_ALONE: Final = re.compile(r"[\s\"'\[({<]{0,4}$")
_ALONE_AFTER: Final = re.compile(r"[\s\"'\])}>]{0,2}(?:[:;,.\-\u2013]|$|[a-z{\[<])")
STATUSES: Final = frozenset(
    {*range(400, 432), 440, 444, 449, 451, 498, 499, *range(500, 512), *range(520, 531), 598, 599}
)


class Signals(msgspec.Struct, frozen=True):
    """One view of an error: lower-cased `text`, class `names` in lower case, HTTP `statuses`, `provider`."""

    text: str
    names: tuple[str, ...]
    statuses: frozenset[int]
    provider: str


def examined(text: str) -> str:
    """The part of a text that is looked at: its first and last 4,096 characters."""
    if len(text) <= HEAD + TAIL:
        return text
    return f"{text[:HEAD]}\n{text[-TAIL:]}"


def views(text: str) -> list[str]:
    """The parts of an examined text that may decide, most telling first.

    Of a traceback: its last exception (message included), then all its exceptions without frames, then everything.
    The first of these comes once more before, without what only says where and when, and once more last, with class
    names as words.
    """
    text = decoded(text)
    if "ExceptionGroup" in text:
        text = _GROUP_PREFIX.sub("", text)
    if TRACEBACK in text:
        last, body = _exceptions(text)
        found = [last, body, text]
    elif "\n" in text and _AT_LINE.search(text):
        found = [_AT_LINE.sub("", text), text]
    else:
        found = [text]
    found.insert(0, bare(found[0]))
    found.append(spelt(found[0]))
    return list(dict.fromkeys(view for view in found if view.strip()))


def _exceptions(text: str) -> tuple[str, str]:
    """The last exception of a Python traceback, and all text outside of frames."""
    kept: list[str] = []
    last: list[str] = []
    in_frames = False
    for line in text.splitlines():
        if line.lstrip().startswith(TRACEBACK):
            in_frames, last = True, []
        elif in_frames and (not line or line[0] in " \t"):
            continue
        else:
            in_frames = False
            kept.append(line)
            last.append(line)
    return "\n".join(last), "\n".join(kept)


def class_names(text: str, error_type: str | None) -> tuple[str, ...]:
    """Class names that a text and its declared type mention, in lower case, without modules, most telling first."""
    found: dict[str, None] = {}
    for part in _TYPE_PARTS.findall((error_type or "")[:2000]):
        found[part.rpartition(".")[2].lstrip("_$").lower()] = None
    leading = _LEADING.match(text)
    if leading:
        found[leading[1].lstrip("_").lower()] = None
    for number, match in enumerate(_NAME.finditer(text)):
        if number == MAX_NAMES:
            break
        name = match[0].lstrip("_")
        if not name[1:].islower():  # one hump is a word of a sentence
            found[name.lower()] = None
    return tuple(found)


def http_statuses(low: str) -> frozenset[int]:
    """HTTP statuses in lower-cased text: 4xx and 5xx numbers that stand where a status stands, never mere counts."""
    found = set()
    for number, match in enumerate(_NUMBER.finditer(low)):
        if number == MAX_NUMBERS:
            break
        value = int(match[0])
        if value in STATUSES and _is_status(low, match.start(), match.end()):
            found.add(value)
    return frozenset(found)


def _is_status(low: str, start: int, end: int) -> bool:
    if _UNIT.match(low, end):
        return False
    before = low[max(0, start - 40) : start]
    if _BEFORE.search(before) or _AFTER.match(low, end):
        return True
    if start <= FIRST and _ALONE.search(before):
        return bool(_ALONE_AFTER.match(low, end))
    return before.endswith("(") and low[end : end + 1] == ")"

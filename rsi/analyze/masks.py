"""One word of an error text → the same word with what varies in it masked.

The patterns never look at *which* digit stands somewhere, only that one does: two words of the same shape have the same
masks, so a word with fresh digits is answered from a cache (`<num>` has no digit left that could differ; a word whose
mask keeps one is masked for itself).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from rsi.rules.unread import PREFIXES

#: A longer word is taken apart at its punctuation, and what is still longer is `<blob>`: patterns are quadratic at
#: worst in one piece, so this bounds them.
PIECE: Final = 256
#: Shapes remembered; a full cache is emptied (some 15 MB).
_CACHED: Final = 1 << 16

_MODELS = (
    r"(?:gpt|gemini|llama|mistral|mixtral|qwen|deepseek|command|phi|gemma|nova|titan|grok|whisper|dall-e)-?v?\d[\w.]{0,9}"
    r"(?:-[a-z0-9.]{1,14}){0,6}|claude-(?:\d|opus|sonnet|haiku|instant|v\d)[\w.-]{0,40}"
    r"|text-embedding-[\w-]{1,20}|o\d(?:-[a-z]{2,10})?"
)
_CODE = (
    r"(?:(?:[a-zA-Z]{1,20}_)?status(?:_?code)?|error_?code|code|errno|exit_?code|exit|rc|signal|returncode)"
    r"[\"']?[:=][\"']?-?\d{1,5}|HTTP/\d(?:\.\d)?|HTTP-?\d\d\d|E-?\d{3,5}|SQLSTATE\[[0-9A-Z]{5}\]|[A-Z]{2,6}-?\d{3,6}(?=:)"
)
#: The same where words are not parted by blanks.
_WIDE_CODE = r"(?:状态码|错误码|ステータスコード|エラーコード|상태코드|오류코드)[\uff1a:=]?-?\d{1,5}(?![\w.])"
_STEMS = r"(?:utf|utf-|iso|sha|md|base|python|ipv|latin|cp|oauth|x|http|v|top|k)[-_]?\d{1,4}(?:-\d{1,2})?"
_ZONE = r"(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?"
_CLOCK = rf"\d{{1,2}}:\d\d:\d\d(?::\d{{3}})?{_ZONE}"
#: Last labels that only hosts have, and those of countries, which need two labels before them: `http.is`, `np.at`.
_TOP = r"(?:com|net|org|edu|gov|mil|info|biz|arpa|localdomain|internal|intranet|svc|lan|corp)"
_COUNTRY = (
    r"(?:uk|de|fr|jp|cn|tw|hk|kr|us|br|ru|nl|es|pl|cz|se|fi|dk|ch|ca|au|nz|za|mx|ar|cl|tr|gr|il|th|vn|sg|eu|pt|hu|ro|ua"
    r"|io|ai|dev|local|internal|lan|cloud|svc)"
)
_REVERSED = r"(?!(?:com|org|net|io|java|javax|jdk|sun|scala|kotlin|android|androidx)\.)"
_SOURCE = (
    r"(?:py|pyx|[mc]?js|jsx|tsx?|java|kt|go|rs|c|cc|cpp|h|hpp|rb|php|cs|scala|lua|sh|sql|json|ya?ml|toml|txt|html?|xml"
    r"|md|cfg|conf|log|ini|csv)"
)
_PATTERNS: Final = (
    ("keep", (rf"\[redacted:[a-z0-9-]+\]|<[a-z]+>|{_WIDE_CODE}|\b(?:{_MODELS})(?![\w-])|\b(?:{_CODE})(?![\w.])"
             rf"|\b{_STEMS}(?![\w.-])")),
    ("url", r"\b[a-zA-Z][a-zA-Z0-9+.-]{1,12}://[^\s'\"<>)\]},]+"),
    ("id", r"\barn:aws[\w-]{0,10}:[^\s'\"<>)\],]+"),
    ("email", r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+|\b[\w.+-]{0,64}\d{3}[\w.+-]{0,64}@[A-Za-z][\w.-]{0,62}"),
    ("uuid", r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"),
    ("ts", (rf"\b\d{{4}}[-/]\d\d?[-/]\d\d?(?:[T_:]\d\d:?\d\d(?::?\d\d)?{_ZONE})?(?!\w)"
           rf"|\b\d{{1,2}}/[A-Z][a-z][a-z]/\d{{4}}(?::{_CLOCK})?(?!\w)|\b\d{{8}}[-T](?:{_CLOCK}|\d{{6}}Z?)(?!\w)"
           rf"|(?<![\w.:/-])\d{{1,2}}(?P<sep>[/.-])\d{{1,2}}(?P=sep)\d{{4}}(?![\w.-])|(?<![\w.:]){_CLOCK}(?![\w:])")),
    ("hex", (r"(?<![\w:])(?:[0-9a-fA-F]{2}[:-]){5,}[0-9a-fA-F]{2}(?![\w:])"
            r"|(?<![\w:])(?:[0-9a-fA-F]{4}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.\d(?![\w:])")),
    ("host", (r"\b\d{1,3}(?:\.\d{1,3}){3}(?:[:/]\d{1,5})?(?![\w.])"
           r"|(?<![\w:])\[?(?=[0-9a-fA-F:]*\d)(?:[0-9a-fA-F]{0,4}:){3,7}[0-9a-fA-F]{1,4}\]?(?![\w:])")),
    ("host", (rf"(?<![\w.@/$-]){_REVERSED}(?:[\w-]+\.)+{_TOP}(?::\d{{2,5}})?(?![\w.@-])"
             rf"|(?<![\w.@/$-]){_REVERSED}(?:[\w-]+\.){{2,}}{_COUNTRY}(?::\d{{2,5}})?(?![\w.@-])"
             rf"|(?<![\w.@/$-]){_REVERSED}(?:[a-z0-9-]+\.)+(?!{_SOURCE}:)[a-z][a-z0-9-]*:\d{{2,5}}(?![\w.:])")),
    ("path", (r"(?<![\w/.<>])(?:[A-Za-z]:[\\/]|~?/|\.{1,2}/)[\w.@+<>~%=-]+"
           r"(?:[\\/]+[\w.@+<>~%=:-]*[\w.@+<>~%=-](?<!\.(?![\\/])))*[\\/]?"
             r"(?:\?[\w=&%.+<>:-]*)?"
             r"|(?<![\w/.])(?:[\w.@+-]+/)+[\w@+-]+\.[A-Za-z]\w{0,5}\b|(?<![\w/.])(?:[\w.@+-]+/){2,}[\w.@+-]+")),
    ("id", (rf"\b(?:{PREFIXES})[-_](?=[\w*-]*[\dA-Z*])[\w*-]+"
           r"|\b[a-z]{2,10}_(?=[a-z\d]*[A-Z])(?=[A-Z\d]*[a-z])[A-Za-z0-9]{12,}\b|[\w-]*\*{3,}[\w*-]*")),
    ("hex", r"\b\d[xX][0-9a-fA-F]+\b|\b(?=[a-fA-F]*\d)(?=\d*[a-fA-F])[0-9a-fA-F]{7,}\b"),
    ("id", (r"\b(?=(?:[A-Za-z_-]*\d){3})(?=[a-z\d_-]*[A-Z]|[\w-]{20})[A-Za-z0-9][\w-]{15,}\b"
           r"|\b(?=[A-Za-z0-9]{8})[A-Za-z]*\d+[A-Za-z]+\d+[A-Za-z][A-Za-z0-9]*\b"
           r"|\b(?=[A-Za-z0-9]{10})(?=[a-z\d]*[A-Z])(?=[A-Z\d]*[a-z])[A-Za-z]*\d+[A-Za-z]+\d{3,}\b")),
    ("dur", (r"(?<![\w.-])\d+(?:\.\d+)?(?:ms|us|µs|ns|s|m|h|d|secs?|mins?|hrs?)(?:\d+(?:\.\d+)?(?:ms|s|m|h))*(?!\w)"
            r"|(?<![\w.:/-])\d{1,2}:\d\d(?:\.\d+)?(?![\w:])")),
    ("size", r"(?<![\w.-])\d[\d,]*(?:\.\d+)?(?:[KMGTP]i?[Bb]?|[kmgt]b|B|[Bb]ytes?)(?![A-Za-z\d])"),
    ("ver", r"(?<![\w.-])v?\d+\.\d+\.\d+(?:[\w.+-]*\w)?"),
    ("num", (r"(?<![\w.-])\d+(?:-\d+)+(?![\w.])"
            r"|(?<![\w.-])[-+]?\d(?:[\d,]*\d)?(?:\.\d+)*(?:[eE][+-]?\d+)?(?=[A-Za-z%]{0,3}(?![A-Za-z0-9]))"
            r"|(?<=[A-Za-z][_#-])\d+(?:[_-]\d+)*(?!\.?\d|[A-Za-z])|(?<=[A-Za-z_-])\d{4,}(?![A-Za-z\d])"
            r"|(?<=[a-z]{3})\d{3,}(?![A-Za-z\d])|(?<=[A-Za-z.]\.)\d+(?![A-Za-z\d])|(?<=\#)\d+")),
)  # fmt: skip
_MODEL: Final = re.compile(_MODELS)
_KEPT: Final = re.compile(_PATTERNS[0][1])
_MASK: Final = re.compile("|".join(f"(?P<{name}{i}>{body})" for i, (name, body) in enumerate(_PATTERNS)))
_VARIES: Final = re.compile(r"[\d/\\@*]|:.*:|\w\.\w|_(?=\w*[A-Z])(?=\w*[a-z])")
_BREAKS: Final = re.compile(r"([^\w.:/@+%#*-]+)")
_DIGIT: Final = re.compile(r"\d")
#: A list of one placeholder is one placeholder: `<ip>,<ip>`.
_LISTED: Final = re.compile(r"(<[a-z]+>)(?:[,;]\1)+")
#: Digits → 0: what texts that differ only in their digits have in common.
SHAPE: Final = {ord(digit): "0" for digit in "123456789"}
#: Ids that stand alone and whose letters differ from text to text as their digits do.
_FRESH: Final = re.compile(
    r"(?<![\w.@*/+-])(?:(?P<uuid>[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})"
    rf"|(?P<id>(?:{PREFIXES})[-_])(?=[A-Za-z]*\d)[A-Za-z0-9]{{4,64}}"
    r"|(?P<hex>(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{7,64}))(?![\w@*/+-]|[.:]\w)"
)
_known: dict[str, str] = {}
#: Instead of a mask: words of this shape have nothing to mask, or keep digits beside what is masked.
_AS_IT_IS: Final = "\0="
_BY_DIGITS: Final = "\0#"


def mask_word(word: str) -> str:
    """The word with its placeholders: `core.1887,` → `core.<num>,`. Idempotence is the caller's (it repeats)."""
    shape = word.translate(SHAPE)
    found = _known.get(shape)
    if found is None:
        found = _masked(word)
        if len(_known) >= _CACHED:
            _known.clear()
        _known[shape] = _AS_IT_IS if found == word else _BY_DIGITS if _DIGIT.search(found) else found
        return found
    return word if found == _AS_IT_IS else _masked(word) if found == _BY_DIGITS else found


def steady(text: str) -> str:
    """The text with ids in place of other ids of their kind, so that it has the shape of other texts with such ids."""
    return _FRESH.sub(_steadied, text)


def _steadied(found: re.Match[str]) -> str:
    if found["id"]:
        return f"{found['id']}0"
    return "00000000-0000-0000-0000-000000000000" if found["uuid"] else "0a00000"


def is_model(word: str) -> bool:
    """Whether this word is a model's name: `gpt-4o`, `claude-3-opus`."""
    return _MODEL.fullmatch(word) is not None


def is_kept(word: str) -> bool:
    """Whether masking keeps this word because it identifies: `gpt-4o`, `HTTP/1.1`, `utf-8`."""
    return _KEPT.fullmatch(word) is not None


@lru_cache(_CACHED)
def _masked(word: str) -> str:
    if len(word) <= PIECE:
        return _LISTED.sub(r"\1", _MASK.sub(_placeholder, word)) if _VARIES.search(word) else word
    pieces = (piece if len(piece) <= PIECE else "<blob>" for piece in _BREAKS.split(word))
    return "".join(_MASK.sub(_placeholder, piece) if _VARIES.search(piece) else piece for piece in pieces)


def _placeholder(found: re.Match[str]) -> str:
    name = (found.lastgroup or "").rstrip("0123456789")
    return found[0] if name == "keep" else f"<{name}>"

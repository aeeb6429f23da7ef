"""Error text → template → fingerprint: what varies is masked, what tells two faults apart is kept.

Kept: HTTP statuses, errno, exit codes, model names, quoted identifiers, digits inside words (`psycopg2`). Masked: ids,
hashes, times, addresses, paths, sizes. Masking is idempotent, examines at most `EXAMINED` characters, and looks only at
tokens that are not plain words, each through a cache: known shapes cost little more than splitting the text.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Final

from rsi.analyze.trace import condense
from rsi.model import Fingerprint

#: Stored with every fingerprint and vector; raise it whenever a template changes.
MASK_VERSION: Final = 2
#: Characters looked at: the head and the tail of anything longer (a trace says what it is at one of its ends).
EXAMINED: Final = 8192
#: Characters of a template that are kept; MiniLM reads some 1,000.
LONGEST: Final = 2000
#: A longer token is taken apart at its punctuation, and what is still longer is `<blob>`: patterns are quadratic at
#: worst in one piece, so this bounds them.
_PIECE: Final = 256
_CACHE: Final = 1 << 15
_CACHED_TEXT: Final = 512

_MODELS = (
    r"(?:gpt|gemini|llama|mistral|mixtral|qwen|deepseek|command|phi|gemma|nova|titan|grok|whisper|dall-e)-?v?\d[\w.]{0,9}"
    r"(?:-[a-z0-9.]{1,14}){0,6}|claude-(?:\d|opus|sonnet|haiku|instant|v\d)[\w.-]{0,40}"
    r"|text-embedding-[\w-]{1,20}|o[1-9](?:-[a-z]{2,10})?"
)
_CODE = (
    r"(?:status(?:_?code)?|error_?code|code|errno|exit_?code|signal|returncode)[\"']?[:=][\"']?-?\d{1,4}"
    r"|HTTP/\d(?:\.\d)?|(?:HTTP|E)-?[1-5]\d\d"
)
_STEMS = r"(?:utf|utf-|iso|sha|md|base|python|ipv|latin|cp|oauth|x|http|v|top|k)[-_]?\d{1,4}(?:-\d{1,2})?"
_PATTERNS: Final = (
    ("keep", rf"\[redacted:[a-z0-9-]+\]|<[a-z]+>|\b(?:{_MODELS})(?![\w-])|\b(?:{_CODE})(?![\w.])|\b{_STEMS}(?![\w.-])"),
    ("url", r"\b[a-zA-Z][a-zA-Z0-9+.-]{1,12}://[^\s'\"<>)\]},]+"),
    ("email", r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+"),
    ("uuid", r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"),
    ("ts", (r"\b\d{4}[-/]\d\d[-/]\d\d(?:[T_]\d\d:?\d\d(?::?\d\d)?(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)?(?!\w)"
           r"|\b\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?(?!\w)")),
    ("ip", (r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?(?![\w.])"
           r"|(?<![\w:])\[?(?=[0-9a-fA-F:]*\d)(?:[0-9a-fA-F]{0,4}:){3,7}[0-9a-fA-F]{1,4}\]?(?![\w:])")),
    ("path", (r"(?<![\w/.<>])(?:[A-Za-z]:[\\/]|~?/|\.{1,2}/)[\w.@+<>-]+(?:[\\/][\w.@+ <>-]+)*[\\/]?"
             r"|(?<![\w/.])(?:[\w.@+-]+/)+[\w@+-]+\.[A-Za-z]\w{0,5}\b|(?<![\w/.])(?:[\w.@+-]+/){2,}[\w.@+-]+")),
    ("id", (r"\b(?:org|req|proj|call|run|acct|msg|chatcmpl|toolu|thread|asst|sess|session|gr|blk|container|attempt"
           r"|trace|span|application|job|task|request|user|order|resp|file|batch|cust|cus|pi|ch|evt)"
           r"[-_](?=[\w*-]*[\dA-Z*])[\w*-]+"
           r"|[\w-]*\*{3,}[\w*-]*")),
    ("hex", r"\b0[xX][0-9a-fA-F]+\b|\b(?=[a-fA-F]*\d)(?=\d*[a-fA-F])[0-9a-fA-F]{7,}\b"),
    ("id", r"\b(?=(?:[A-Za-z_-]*\d){3})(?=[a-z\d_-]*[A-Z]|[\w-]{20})[A-Za-z0-9][\w-]{15,}\b"),
    ("dur", r"(?<![\w.-])\d+(?:\.\d+)?(?:ms|us|µs|ns|s|m|h|d|secs?|mins?|hrs?)(?:\d+(?:\.\d+)?(?:ms|s|m|h))*(?!\w)"),
    ("ver", r"(?<![\w.-])v?\d+\.\d+\.\d+(?:[\w.+-]*\w)?"),
    ("num", (r"(?<![\w.-])[-+]?\d(?:[\d,]*\d)?(?:\.\d+)*(?:[eE][+-]?\d+)?(?=[A-Za-z%]{0,3}(?![A-Za-z0-9]))"
            r"|(?<=[A-Za-z][_#-])\d+(?![A-Za-z.\d])|(?<=[A-Za-z_-])\d{4,}(?![A-Za-z\d])|(?<=\#)\d+")),
)  # fmt: skip
_MASK: Final = re.compile("|".join(f"(?P<{name}{i}>{body})" for i, (name, body) in enumerate(_PATTERNS)))
_VARIES: Final = re.compile(r"[\d/\\@*]|:.*:")
#: Colours and cursor movements (ECMA-48 CSI sequences): a coloured log says the same as a plain one.
_ANSI: Final = re.compile(r"\x1b\[[0-?]{0,32}[ -/]{0,4}[@-~]")
_BREAKS: Final = re.compile(r"([^\w.:/@+%#*-]+)")
_CODE_HERE: Final = re.compile(r"[(\[\"']*-?\d{1,4}[)\]\"',.:;]*")
_STATUS_HERE: Final = re.compile(r"[(\[\"']*[1-5]\d\d[)\]\"',.:;]*")
#: Words after which a number is a code …
_BEFORE_CODE: Final = frozenset({
    "status", "status_code", "statuscode", "code", "errno", "signal", "exit", "exit_code", "exitcode", "returncode",
    "winerror",
})  # fmt: skip
#: … after which a number of three digits is a status …
_BEFORE_STATUS: Final = frozenset({"http", "https", "http/1.0", "http/1.1", "http/2", "error", "err"})
#: … and before which it is one (the reason phrases of RFC 9110).
_AFTER_STATUS: Final = frozenset({
    "bad", "unauthorized", "payment", "forbidden", "not", "method", "request", "conflict", "gone", "too",
    "unprocessable", "internal", "service", "gateway",
    "client", "server", "overloaded", "resource_exhausted", "unavailable",
})  # fmt: skip
_STRIP: Final = "([{\"'<=:,.;)]}"
_CLASS: Final = re.compile(r"((?:[A-Za-z_]\w*\.){0,8}([A-Z]\w{2,80}))(?::\s+|\(|$)")
_CLASS_ENDS: Final = ("Error", "Exception", "Timeout", "Exit", "Interrupt", "Warning", "Failure", "Fault", "Throttled")


def mask(text: str) -> str:
    """The template of `text`: one line, at most `LONGEST` characters; masking a template changes nothing."""
    text = _ANSI.sub("", text) if "\x1b" in text else text
    return _cached(text) if len(text) <= _CACHED_TEXT else _settled(_once(text))


@lru_cache(_CACHE)
def _cached(text: str) -> str:
    return _settled(_once(text))


@lru_cache(_CACHE)
def _settled(template: str) -> str:
    """Masked until nothing changes: each round takes digits or separators away and adds none, so it ends."""
    while (again := _once(template)) != template:
        template = again
    return template


def _once(text: str) -> str:
    if len(text) > EXAMINED and len(text := text.strip()) > EXAMINED:
        half = EXAMINED // 2
        text = f"{text[:half].rsplit(None, 1)[0]} … {text[-half:].split(None, 1)[-1]}"  # at a space: half a word varies
    words = text.split()
    out: list[str] = []
    for place, word in enumerate(words):
        if word.isalpha():
            out.append(word)
            continue
        masked = _token(word)
        if masked != word and _is_code(word, words, place):
            masked = word
        if masked != "<ts>" or not out or out[-1] != "<ts>":
            out.append(masked)
    return _cut(out)


def _cut(words: list[str]) -> str:
    line = " ".join(words)
    if len(line) <= LONGEST:
        return line
    return line[:LONGEST].rsplit(" ", 1)[0]


def _is_code(word: str, words: list[str], place: int) -> bool:
    """Whether this number is a status, an errno or an exit code, by the words beside it."""
    if not _CODE_HERE.fullmatch(word):
        return False
    if not place and word.endswith(":") and _STATUS_HERE.fullmatch(word):
        return True  # `503: {"error": …`
    before = words[place - 1].strip(_STRIP).lower() if place else ""
    if before in _BEFORE_CODE or before.endswith(("status_code", "errno", "exit_code", "code")):
        return True
    if not _STATUS_HERE.fullmatch(word):
        return False
    after = words[place + 1].strip(_STRIP).lower() if place + 1 < len(words) else ""
    return before in _BEFORE_STATUS or after in _AFTER_STATUS


@lru_cache(_CACHE)
def _token(word: str) -> str:
    if not _VARIES.search(word[:_PIECE]) and len(word) <= _PIECE:
        return word
    if len(word) <= _PIECE:
        return _MASK.sub(_placeholder, word)
    pieces = (piece if len(piece) <= _PIECE else "<blob>" for piece in _BREAKS.split(word))
    return "".join(_MASK.sub(_placeholder, piece) if _VARIES.search(piece) else piece for piece in pieces)


def _placeholder(found: re.Match[str]) -> str:
    name = (found.lastgroup or "").rstrip("0123456789")
    return found[0] if name == "keep" else f"<{name}>"


def fingerprint(text: str, error_type: str | None = None, *, stack: str | None = None) -> Fingerprint:
    """The identity of an error.

    `Class: message`, `module.Class: message` and `Class('message')` with that class are the same as `message` with
    `error_type` given. A stack, in the text or beside it, adds its innermost frames.

    Returns:
        `hash` of 16 hex characters over mask version, class (without module) and template.
    """
    line = condense(_ANSI.sub("", _joined(text, stack)))
    written, message = _split_class(line)
    kind = (error_type or "").rsplit(".", 1)[-1].strip() or written
    template = mask(message if kind and kind == written else line) or kind or "(no text)"
    key = f"{MASK_VERSION}\0{kind or ''}\0{template}".encode("utf-8", "replace")
    return Fingerprint(hashlib.blake2b(key, digest_size=8).hexdigest(), template, kind)


def _joined(text: str, stack: str | None) -> str:
    """The stack alone when it repeats the text, otherwise the text before it."""
    half = EXAMINED // 2
    whole = text if not stack else stack if text.strip()[:half] in stack else f"{text}\n{stack}"
    return whole if len(whole) <= EXAMINED else f"{whole[:half]}\n{whole[-half:]}"


def _split_class(line: str) -> tuple[str | None, str]:
    """`openai.RateLimitError: text` → its class and the text; a line that begins otherwise → `None` and the line."""
    found = _CLASS.match(line)
    if not found or not (found[2].endswith(_CLASS_ENDS) or "." in found[1]):
        return None, line
    rest = line[found.end() :]
    if line[found.end() - 1 : found.end()] == "(":
        if not rest.endswith(")"):
            return None, line
        rest = rest[:-1].rstrip(",")
        if len(rest) > 1 and rest[0] == rest[-1] and rest[0] in "'\"":
            rest = rest[1:-1]
    return found[2], rest.strip()

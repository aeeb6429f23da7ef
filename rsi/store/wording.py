"""What of an error's text tells a person something: without frames, wrappers, and what stands for masked values."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

#: Lines that frame an error without saying what it is.
_FRAME: Final = re.compile(
    r"traceback \(most recent call last\):|during handling of|the above exception was|caused by:?$|stack trace:?$"
    r'|file ".*|at (?:async |new )?[\w$.<>/]+ ?\(.*|at <path>.*|\^+$|[~^ ]+$|goroutine \S+ \[|-{3,}|={3,}|\.\.\.'
    r"|(?:for (?:more|further) (?:information|details)|for troubleshooting|see (?:also )?<url>|visit <url>).*",
    re.IGNORECASE,
)
_PYTHON_TRACE: Final = "traceback (most recent call last):"
#: A trace with causes (Java, Node) is named by the last of them: what was wrong at the bottom.
_CAUSE: Final = re.compile(r"caused by: (?=\S)", re.IGNORECASE)
#: `termination=user_stop`, `reward=0`: a field of a report, not its message.
_FIELD: Final = re.compile(r"[\w.-]+\s*=\s*\S*")
#: What a text may begin with before it says anything, taken off again and again.
_OPENINGS: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?:[\w.-]+\s*=\s*[^\s;,]*\s*[;,]\s*)+(?=\w)",
        r"(?:error|exception|fatal|failed)\s*[:>-]\s*(?=\S)",
        r"(?:failed|gave up|giving up|error|aborted) after \S+ (?:attempts?|retries|tries|times)\s*[:,-]\s*(?=\S)",
        r"(?:<[a-z]+>\s*)+(?:\[?(?:error|warn(?:ing)?|critical|fatal|info|debug)\]?\b[\s:-]*)?",
    )
)
_MODULE: Final = re.compile(r"(?:[a-z_]\w*\.)+(?=[A-Z]\w*)")
#: An error of an HTTP API: its status, and the message within its body, in JSON or as Python prints it.
_STATUS: Final = re.compile(r"(?:error code:\s*)?(?P<status>[45]\d\d)\b", re.IGNORECASE)
_MESSAGE: Final = re.compile(
    r"""[{,]\s*(?:b?["'])(?:message|detail|error_description|errorMessage|msg)["']\s*:\s*"""
    r"""(?:"(?P<double>(?:[^"\\]|\\.){2,600})"|'(?P<single>(?:[^'\\]|\\.){2,600})')"""
)
#: How botocore and urllib3 say what another has said.
_AWS: Final = re.compile(
    r"an error occurred \((?P<code>\w+)\) when calling the (?P<call>\w+) operation(?: \([^)]*\))?:\s*", re.IGNORECASE
)
_CAUSED: Final = re.compile(r"\(caused by (?P<kind>\w+)\((?P<said>.*?)\)?\)?$", re.IGNORECASE)
_OBJECT: Final = re.compile(r"""["']?(?:<[\w.]+ object at <?\w+>?>|[\w.]+\([^()]*\)):\s*""")
#: The masks of `rsi.analyze.template`; a reader sees an ellipsis.
_MASK: Final = re.compile(r"<(?:num|id|uuid|hex|ts|ip|host|url|path|email|dur|size|ver|blob)>")
_EMPTY: Final = (
    (re.compile(r"""(["'`])…\1"""), "…"),
    (re.compile(r"\s*[([{](?:[\w ]{0,24}[:= ]\s*)?…[)\]}]"), ""),
    (re.compile(r"\s*\[type=[^\]]*\]?"), ""),
    (re.compile(r"(?:, (?:and )?|\s)*…(?:(?:,| and)?\s*…)+"), " …"),
    (re.compile(r"^(?:…[\s:,;-]*)+(?=\S)"), ""),
)
#: Words that say nothing at the end, once what they led to is an ellipsis.
_LEADING_TO: Final = frozenset({
    "at", "by", "char", "column", "for", "from", "id", "in", "line", "of", "on", "request", "to", "url", "with",
})  # fmt: skip
_SPACE: Final = re.compile(r"\s+")


def printable(text: str) -> str:
    """`text` on one line, without what moves a cursor, hides, or turns the direction of a line."""
    if text.isascii() and text.isprintable():
        return text.strip()
    seen = "".join(" " if char.isspace() else char for char in text if char.isspace() or char.isprintable())
    return _SPACE.sub(" ", unicodedata.normalize("NFC", seen)).strip()


def informative(template: str) -> list[str]:
    """The lines that say what is wrong, plainest form, each once."""
    raw = [printable(line) for line in template.splitlines()]
    kept = [line for line in raw if line and not _FRAME.match(line)]
    if any(line.lower().startswith(_PYTHON_TRACE) for line in raw):
        kept = kept[-1:]
    causes = [line for line in kept if _CAUSE.match(line)]
    if causes:
        kept = [_CAUSE.sub("", causes[-1], count=1)]
    telling = [line for line in kept if not _FIELD.fullmatch(line)] or kept
    said = (plain(line) for line in telling)
    return list(dict.fromkeys(line for line in said if any(char.isalnum() for char in line)))


def plain(line: str) -> str:
    """One line without its wrapping, masked values as an ellipsis or not at all."""
    line = _unwrapped(_opened(line))
    line = _MASK.sub("…", _opened(line))
    for pattern, instead in _EMPTY:
        line = pattern.sub(instead, line)
    return _without_tail(_SPACE.sub(" ", line).strip(" ,;:-"))


def _without_tail(line: str) -> str:
    words = line.split(" ")
    end = len(words)
    while end > 1 and words[end - 1].strip(",:;.") in _LEADING_TO | {"…", ""}:
        end -= 1
    tail = {word.strip(",:;.") for word in words[end:]}
    if "…" not in tail or not _LEADING_TO & tail:
        return line
    return " ".join(words[:end]).rstrip(" ,;:-")


def short_class(name: str) -> str:
    """`openai.RateLimitError` → `RateLimitError`."""
    return name.rpartition(".")[2] or name


def _opened(line: str) -> str:
    before = None
    while before != line:
        before = line
        for opening in _OPENINGS:
            found = opening.match(line)
            line = line[found.end() :] if found and found.end() < len(line) else line
    return _MODULE.sub("", line, count=1) if _MODULE.match(line) else line


def _unwrapped(line: str) -> str:
    body = _MESSAGE.search(line)
    if body:
        status = _STATUS.match(line)
        said = printable((body["double"] or body["single"]).replace("\\n", " ").replace("\\", ""))
        return f"{status['status']} {said}" if status and not said.startswith(status["status"]) else said
    aws = _AWS.match(line)
    if aws:
        return f"{aws['code']} ({aws['call']}): {line[aws.end() :]}"
    caused = _CAUSED.search(line)
    if caused:
        return f"{caused['kind']}: {_OBJECT.sub('', caused['said'], count=1)}".rstrip("'\") ")
    return line

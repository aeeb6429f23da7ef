"""A title that a person reads in a list: the category and what the error says first."""

from __future__ import annotations

import re
from typing import Final

#: Titles are cut here; a list in a terminal shows some 60 characters of them.
WIDTH: Final = 110
_JOIN: Final = " · "
#: A message of fewer words ("'missing'", "timed out") says little without the class of its exception.
_TELLING_WORDS: Final = 3
_AROUND: Final = 30  # room for "schema_validation: " before and "(+12 more)" behind
#: Lines that frame an error without saying what it is.
_FRAME: Final = re.compile(
    r"traceback \(most recent call last\):|during handling of|the above exception was|caused by:?$|stack trace:?$"
    r'|file ".*|at \S+ ?\(.*|\^+$|[~^ ]+$|goroutine \S+ \[|-{3,}|={3,}|\.\.\.',
    re.IGNORECASE,
)
#: `termination=user_stop`, `reward=0`: a field of a report, not its message.
_FIELD: Final = re.compile(r"[\w.-]+\s*=\s*\S*")
_LEADING_FIELDS: Final = re.compile(r"(?:[\w.-]+\s*=\s*[^\s;,]*\s*[;,]\s*)+(?=\w)")
_LEADING_WORD: Final = re.compile(r"(?:error|exception|fatal|failed)\s*[:>-]\s*(?=\S)", re.IGNORECASE)
_SPACE: Final = re.compile(r"\s+")
_PYTHON_TRACE: Final = "traceback (most recent call last):"
_NO_TEXT: Final = "no error text"


def title(category: str, template: str, error_type: str | None = None) -> str:
    """`rate_limit: 429 Too Many Requests`; several informative lines are joined as far as there is room.

    `template` is the masked text (a whole traceback is titled by its last line); `error_type` stands in where it says
    nothing.
    """
    lines = _informative(template)
    said = _joined(lines) if lines else _SPACE.sub(" ", error_type or template).strip() or _NO_TEXT
    if error_type and len(said.split()) < _TELLING_WORDS and error_type.lower() not in said.lower():
        said = f"{error_type}: {said}"
    return _cut(said if category == "unknown" else f"{category}: {said}")


def _informative(template: str) -> list[str]:
    raw = [_SPACE.sub(" ", line).strip() for line in template.splitlines()]
    kept = [line for line in raw if line and not _FRAME.match(line)]
    if any(line.lower().startswith(_PYTHON_TRACE) for line in raw):
        kept = kept[-1:]
    telling = [line for line in kept if not _FIELD.fullmatch(line)] or kept
    return list(dict.fromkeys(_plain(line) for line in telling))


def _plain(line: str) -> str:
    for opening in (_LEADING_FIELDS, _LEADING_WORD):
        found = opening.match(line)
        line = line[found.end() :] if found else line
    return line


def _joined(lines: list[str]) -> str:
    said = lines[0]
    for place, line in enumerate(lines[1:], 1):
        if len(said) + len(_JOIN) + len(line) > WIDTH - _AROUND:
            return f"{said} (+{len(lines) - place} more)"
        said += _JOIN + line
    return said


def _cut(text: str) -> str:
    return text if len(text) <= WIDTH else text[: WIDTH - 1].rstrip() + "…"

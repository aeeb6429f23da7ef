"""What an error text says about itself: which lines count, and class names.

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
MAX_NAMES: Final = 40
TRACEBACK: Final = "Traceback (most recent call last)"

_NAME: Final = re.compile(r"(?<![A-Za-z0-9])_?[A-Z][A-Za-z0-9]{2,80}(?![A-Za-z0-9])")
_LEADING: Final = re.compile(r"\s{0,8}(?:\w{1,60}\.){0,8}([A-Z]\w{2,80})(?=[:(<]|$)")
_TYPE_PARTS: Final = re.compile(r"[\w.$]{2,200}")
_GROUP_PREFIX: Final = re.compile(r"(?m)^ {0,12}[|+](?:-{1,60}[ \d.]{0,8}-{1,60})? ?")
_AT_LINE: Final = re.compile(r"(?m)^\s{1,12}at .{0,400}$\n?")


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

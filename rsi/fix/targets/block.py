"""The marked block in a text file: one chunk per lesson between two comment lines, everything around it untouched.

<!-- rsi:lessons:begin … -->
<!-- rsi:lesson 3fa1b2c4d5e6 -->
- In `search`, …
<!-- rsi:lessons:end -->
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

END: Final = "<!-- rsi:lessons:end -->"
BEGIN: Final = "<!-- rsi:lessons:begin (written by rsi from what kept failing; `rsi rollback FIX` takes one out) -->"
#: Any mention is a marker or an accident, and an accident is refused.
_MENTION: Final = re.compile(r"(?i)rsi:lesson")
_BEGIN: Final = re.compile(r"<!-- rsi:lessons:begin\b[^\r\n]*-->")
_CHUNK: Final = re.compile(r"<!-- rsi:lesson ([0-9a-f]{12}) -->")
_LINE: Final = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|\Z)")


class DamagedError(Exception):
    """The markers are not one well-formed block."""


class Chunk(NamedTuple):
    """One lesson: characters `start` to `end` of the text, its marker line included."""

    name: str
    start: int
    end: int


class Block(NamedTuple):
    """Where the block is; `inner` is the start of its end marker, where the next chunk goes."""

    start: int
    inner: int
    end: int
    chunks: tuple[Chunk, ...]


def find(text: str) -> Block | None:
    """The block; `None` if there is none.

    Raises:
        DamagedError: a marker twice, nested, without its partner, or a mention that is no marker; names the line.
    """
    start = inner = -1
    chunks: list[tuple[str, int]] = []
    for number, (at, line) in enumerate(_lines(text), 1):
        if not _MENTION.search(line):
            continue
        bare = line.rstrip("\r\n")
        chunk = _CHUNK.fullmatch(bare)
        if _BEGIN.fullmatch(bare) and start < 0:
            start = at
        elif chunk and start >= 0 > inner:
            chunks.append((chunk[1], at))
        elif bare == END and start >= 0 > inner:
            inner, end = at, at + len(line)
        else:
            raise DamagedError(f"line {number} has a marker of rsi's lessons that is damaged, doubled or out of place")
    if start < 0:
        return None
    if inner < 0:
        raise DamagedError("the block of rsi's lessons has no end marker")
    names = [name for name, _ in chunks]
    if len(set(names)) != len(names):
        raise DamagedError("the block of rsi's lessons holds a lesson twice")
    ends = [*(at for _, at in chunks), inner][1:]
    return Block(start, inner, end, tuple(Chunk(name, at, to) for (name, at), to in zip(chunks, ends, strict=True)))


def newline_of(text: str) -> str:
    """How the text ends its lines, by the first."""
    first = re.search(r"\r\n|\r|\n", text)
    return first[0] if first else "\n"


def chunk_of(name: str, lesson: str, newline: str) -> str:
    """A lesson as it stands in the block."""
    return f"<!-- rsi:lesson {name} -->\n{lesson}\n".replace("\n", newline)


def opening(text: str, newline: str) -> str:
    """What goes between the end of the text and a new block: it begins on a line of its own, after an empty one."""
    if not text:
        return ""
    return newline if text.endswith(("\n", "\r")) else newline * 2


def _lines(text: str) -> list[tuple[int, str]]:
    found = [(match.start(), match[0]) for match in _LINE.finditer(text)]
    return [pair for pair in found if pair[1]]

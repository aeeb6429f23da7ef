"""The difference of two texts as the hunks of a unified diff, in time that a hostile file cannot stretch.

Lines that occur once on both sides are anchors (patience diff, B. Cohen 2003); between two anchors what is equal at
both ends is set aside, and what is left is compared line by line, or replaced whole where it is too large for that.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Final

CONTEXT: Final = 3
#: Lines of one side times lines of the other: at most a second or two for the worst of them.
_COMPARED: Final = 1_000_000
_NO_END: Final = b"\n\\ No newline at end of file\n"

#: Lines `i` to `j` of the old text are lines `k` to `m` of the new one, the same or not.
_Block = tuple[bool, int, int, int, int]


def hunks(old: bytes, new: bytes) -> Iterator[bytes]:
    """The hunks that turn `old` into `new`; nothing when they are equal."""
    a, b = _lines(old), _lines(new)
    for group in _groups(_blocks(a, b)):
        first, last = group[0], group[-1]
        yield b"@@ -%b +%b @@\n" % (_range(first[1], last[2]), _range(first[3], last[4]))
        for same, i, j, k, m in group:
            if same:
                yield from _marked(b" ", a[i:j])
            else:
                yield from _marked(b"-", a[i:j])
                yield from _marked(b"+", b[k:m])


def _lines(data: bytes) -> list[bytes]:
    """Only a line feed ends a line; the last may lack it."""
    parts = data.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def _blocks(a: Sequence[bytes], b: Sequence[bytes]) -> list[_Block]:
    """The whole of both, in order; equal and unequal blocks alternate."""
    blocks: list[_Block] = []
    i = k = 0
    for x, y in [*_anchors(a, b), (len(a), len(b))]:
        _add(blocks, _between(a[i:x], b[k:y]), i, k)
        if x < len(a):
            _add(blocks, [(True, 0, 1, 0, 1)], x, y)
        i, k = x + 1, y + 1
    return blocks


def _anchors(a: Sequence[bytes], b: Sequence[bytes]) -> list[tuple[int, int]]:
    """The longest rising chain of lines that occur once in each."""
    in_a, in_b = Counter(a), Counter(b)
    place = {line: k for k, line in enumerate(b) if in_b[line] == 1}
    pairs = [(i, place[line]) for i, line in enumerate(a) if in_a[line] == 1 and line in place]
    tops: list[int] = []
    ends: list[int] = []
    before: list[int] = []
    for number, (_, k) in enumerate(pairs):
        at = bisect_left(tops, k)
        before.append(ends[at - 1] if at else -1)
        tops[at : at + 1], ends[at : at + 1] = [k], [number]
    chain: list[tuple[int, int]] = []
    number = ends[-1] if ends else -1
    while number >= 0:
        chain.append(pairs[number])
        number = before[number]
    return chain[::-1]


def _between(a: Sequence[bytes], b: Sequence[bytes]) -> list[_Block]:
    shorter = min(len(a), len(b))
    head = next((i for i in range(shorter) if a[i] != b[i]), shorter)
    tail = next((i for i in range(shorter - head) if a[-1 - i] != b[-1 - i]), shorter - head)
    end_a, end_b = len(a) - tail, len(b) - tail
    blocks: list[_Block] = [(True, 0, head, 0, head)]
    if (end_a - head) * (end_b - head) > _COMPARED:
        blocks.append((False, head, end_a, head, end_b))
    else:
        found = SequenceMatcher(None, a[head:end_a], b[head:end_b]).get_opcodes()
        blocks += [(tag == "equal", i + head, j + head, k + head, m + head) for tag, i, j, k, m in found]
    return [*blocks, (True, end_a, len(a), end_b, len(b))]


def _add(blocks: list[_Block], found: Sequence[_Block], i: int, k: int) -> None:
    """Append, moved by (i, k); neighbours of one kind become one."""
    for same, i0, i1, k0, k1 in found:
        if i0 == i1 and k0 == k1:
            continue
        if blocks and blocks[-1][0] == same:
            _, start, _, begin, _ = blocks.pop()
            blocks.append((same, start, i + i1, begin, k + k1))
        else:
            blocks.append((same, i + i0, i + i1, k + k0, k + k1))


def _groups(blocks: Sequence[_Block]) -> Iterator[list[_Block]]:
    """Unequal blocks that are close enough to share a hunk, each with its lines of context."""
    group: list[_Block] = []
    for number, (same, i, j, k, m) in enumerate(blocks):
        if not same:
            group.append((same, i, j, k, m))
            continue
        is_last = number == len(blocks) - 1
        if number and (is_last or j - i > 2 * CONTEXT):
            yield [*group, (True, i, min(j, i + CONTEXT), k, min(m, k + CONTEXT))]
            group = []
        if not is_last:
            skip = 0 if group else max(0, j - i - CONTEXT)
            group.append((True, i + skip, j, k + skip, m))
    if group:
        yield group


def _range(start: int, end: int) -> bytes:
    size = end - start
    if size == 1:
        return b"%d" % (start + 1)
    return b"%d,%d" % (start + 1 if size else start, size)


def _marked(mark: bytes, lines: Sequence[bytes]) -> Iterator[bytes]:
    for line in lines:
        yield mark + line
        if not line.endswith(b"\n"):
            yield _NO_END

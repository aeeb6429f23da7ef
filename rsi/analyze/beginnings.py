"""Texts that were cut, and the one message that begins like them.

What was cut off is joined only if exactly one frame that was not cut begins with its words (but the last two, which the
cut may have spoilt) and its values. Each new template costs what it touches: the beginnings of its own length, and of a
whole message those that somebody was cut to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from rsi.analyze.bucket import MOST, Bucket, Known, Label
from rsi.analyze.spelling import Marks
from rsi.analyze.variable import ANY

#: Words by which texts are looked up that may be cut, and how many of its last words a cut may have spoilt.
HEAD: Final = 8
SPOILT: Final = 2
#: Texts with one head are cut to so many lengths (in words) at most; tools cut at a few.
LENGTHS: Final = 32

_Words: TypeAlias = tuple[str, ...]
_Filed: TypeAlias = dict[Label, dict[str, Marks]]


class Cut(NamedTuple):
    """A template that was cut, and those of the one message that begins like it that its marks fit."""

    short: str
    fuller: list[str]
    said: str


@dataclass(slots=True, eq=False)
class _Beginning:
    """The same first words: who was cut there, who goes on from there, and who is to be asked."""

    size: int
    longs: dict[Bucket, None]
    shorts: _Filed = field(default_factory=dict)
    whole: _Filed = field(default_factory=dict)
    whole_of: Bucket | None = None
    asked: dict[str, tuple[Label, Marks]] = field(default_factory=dict)

    def cut(self, known: Known) -> Label:
        """A template that was cut here; under what it was filed."""
        stem = known.label[: self.size]
        self.shorts.setdefault(stem, {})[known.id] = known.marks
        self.asked[known.id] = stem, known.marks
        return stem

    def gone(self, filed: dict[str, Label]) -> None:
        """These were filed here and are filed elsewhere now."""
        for one, stem in filed.items():
            self.shorts.get(stem, {}).pop(one, None)
            self.asked.pop(one, None)

    def look(self, fresh: Sequence[Known], *, anew: bool) -> None:
        """Something about those who go on has changed: if there is one only, ask those who were cut here."""
        only = next(iter(self.longs)) if len(self.longs) == 1 else None
        if only is None:
            self.whole, self.whole_of = {}, None
        elif self.whole_of is not only or anew:
            self._begin(only)
        else:
            for known in fresh:
                self._goes_on(known)

    def _begin(self, bucket: Bucket) -> None:
        self.whole, self.whole_of = {}, bucket
        for label, spellings in bucket.known.items():
            held = self.whole.setdefault(label[: self.size], {})
            held |= {one: marks for marks, one in spellings.ids.items()}
        self.asked |= {one: (stem, marks) for stem, held in self.shorts.items() for one, marks in held.items()}

    def _goes_on(self, known: Known) -> None:
        stem = known.label[: self.size]
        self.whole.setdefault(stem, {})[known.id] = known.marks
        waiting = self.shorts.get(stem, {})
        if len(waiting) <= MOST:
            self.asked |= {one: (stem, marks) for one, marks in waiting.items()}

    def answers(self) -> Iterator[Cut]:
        """Who was cut here, and whom of the one message it fits. Of too many, or of two messages: nobody."""
        asked, self.asked = self.asked, {}
        if self.whole_of is None:
            return
        said = self.whole_of.said()
        for one, (stem, marks) in asked.items():
            held = self.whole.get(stem, {})
            fuller = [other for other, theirs in held.items() if marks.fits(theirs)] if len(held) <= MOST else []
            if fuller:
                yield Cut(one, fuller, said)


@dataclass(slots=True, eq=False)
class _Level:
    """First words of one length: who goes on from them, and the beginnings where somebody was cut."""

    longs: dict[_Words, dict[Bucket, None]] = field(default_factory=dict)
    cuts: dict[_Words, _Beginning] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Head:
    """Frames that begin with the same `HEAD` words: levels by their length in words."""

    longs: dict[Bucket, None] = field(default_factory=dict)
    levels: dict[int, _Level] = field(default_factory=dict)


class Beginnings:
    """All frames of `HEAD` words and more, by their first words."""

    def __init__(self) -> None:
        self._heads: dict[tuple[str, _Words], _Head] = {}
        self._filed: dict[Bucket, tuple[_Beginning, dict[str, Label]]] = {}
        self._asked: dict[_Beginning, None] = {}

    def file(self, bucket: Bucket, *, anew: bool) -> None:
        """What is `fresh` in a bucket; `anew` if all of it is, because a place has opened."""
        if len(bucket.words) < HEAD:
            return
        if anew or not bucket.cut:
            self._unfile(bucket)
        head = self._heads.setdefault((bucket.category, bucket.words[:HEAD]), _Head())
        if bucket.cut:
            self._file_cut(head, bucket)
        else:
            self._file_whole(head, bucket, anew=anew)

    def drop(self, bucket: Bucket) -> None:
        """A frame that has become a wider one."""
        self._unfile(bucket)
        head = self._heads.get((bucket.category, bucket.words[:HEAD]))
        if head is None or bucket not in head.longs:
            return
        del head.longs[bucket]
        for level, begins in _levels(head, bucket):
            del level.longs[begins][bucket]
            self._look(level.cuts.get(begins), (), anew=False)

    def answers(self) -> Iterator[Cut]:
        """What follows from everything that was filed since the last call."""
        asked, self._asked = self._asked, {}
        for beginning in asked:
            yield from beginning.answers()

    def _file_cut(self, head: _Head, bucket: Bucket) -> None:
        if bucket not in self._filed:
            beginning = _beginning(head, _begins(bucket.words))
            if beginning is None:
                return
            self._filed[bucket] = beginning, {}
        beginning, stems = self._filed[bucket]
        stems |= {known.id: beginning.cut(known) for known in bucket.fresh}
        self._asked[beginning] = None

    def _file_whole(self, head: _Head, bucket: Bucket, *, anew: bool) -> None:
        head.longs[bucket] = None
        for level, begins in _levels(head, bucket):
            level.longs.setdefault(begins, {})[bucket] = None
            self._look(level.cuts.get(begins), bucket.fresh, anew=anew)

    def _look(self, beginning: _Beginning | None, fresh: Sequence[Known], *, anew: bool) -> None:
        if beginning is not None:
            beginning.look(fresh, anew=anew)
            self._asked[beginning] = None

    def _unfile(self, bucket: Bucket) -> None:
        found = self._filed.pop(bucket, None)
        if found is not None:
            beginning, stems = found
            beginning.gone(stems)


def _begins(words: _Words) -> _Words:
    """The words of a text that was cut which the cut has not touched."""
    return words[:-SPOILT] if len(words) > HEAD + SPOILT else words[:HEAD]


def _levels(head: _Head, bucket: Bucket) -> Iterator[tuple[_Level, _Words]]:
    """Every length that somebody was cut to, with the first words of this message."""
    for length, level in head.levels.items():
        if len(bucket.words) >= length:
            yield level, bucket.words[:length]


def _beginning(head: _Head, begins: _Words) -> _Beginning | None:
    """The beginning with these words; None beyond `LENGTHS`."""
    level = head.levels.get(len(begins))
    if level is None:
        if len(head.levels) >= LENGTHS:
            return None
        level = head.levels[len(begins)] = _Level()
        for bucket in head.longs:
            if len(bucket.words) >= len(begins):
                level.longs.setdefault(bucket.words[: len(begins)], {})[bucket] = None
    if begins not in level.cuts:
        found = level.cuts[begins] = _Beginning(begins.count(ANY), level.longs.setdefault(begins, {}))
        found.look((), anew=True)
    return level.cuts[begins]

"""What was learned from prototypes: plain lists and arrays, which can be kept and read without running anything."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from rsi.analyze.prototype import Likeness
from rsi.worker.features import Counts, Space, Vector, letters, words

#: Categories that are told; the decision needs two.
_TOLD: Final = 5
#: So much of a text has to be known, and of a word that is not: docs/design/032-prototypes.md.
UNDERSTOOD: Final = 0.6
#: Fewer prototypes do not know the words of their language.
ENOUGH: Final = 400
#: Letters by which a word is compared and the share that has to be known, where words stand apart; and in scripts where
#: a letter says more and whole sentences are one word.
_RUN: Final = (4, 0.6)
_RUN_ELSEWHERE: Final = (2, 0.3)
_WORD: Final = re.compile(r"[^\W\d_]+")
_HUMP: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


class Learned(msgspec.Struct, frozen=True, array_like=True):
    """Arrays are little-endian bytes.

    Attributes:
        categories: in order of their lines.
        texts: the prototypes; `of` has the place of each one's category (uint8).
        letters, words: the features, whose columns follow one another; `weights` are theirs (float64).
        lines: for each column a number per category (float32); `shifts` is added to their sums (float64).
        begins, rows, values: the prototypes' vectors by column (compressed sparse columns: uint32, uint16, float32).
    """

    categories: list[str]
    texts: list[str]
    of: bytes
    letters: list[str]
    words: list[str]
    weights: bytes
    lines: bytes
    shifts: bytes
    begins: bytes
    rows: bytes
    values: bytes


class Comparer:
    """Compares texts with what was learned.

    Raises:
        ValueError: the pieces do not fit together.
    """

    def __init__(self, learned: Learned) -> None:
        self._learned = learned
        columns, lines = len(learned.letters) + len(learned.words), len(learned.categories)
        self._of = _array(learned.of, "<u1", len(learned.texts))
        weights = _array(learned.weights, "<f8", columns)
        self._spaces = spaces(learned.letters, learned.words, weights)
        self._lines = _array(learned.lines, "<f4", columns * lines).reshape(columns, lines).astype(np.float64)
        self._shifts = _array(learned.shifts, "<f8", lines)
        begins = _array(learned.begins, "<u4", columns + 1)
        rows = _array(learned.rows, "<u2", int(begins[-1]))
        values = _array(learned.values, "<f4", int(begins[-1]))
        if int(self._of.max(initial=0)) >= lines or int(rows.max(initial=0)) >= len(learned.texts):
            raise ValueError("a prototype without a category, or a row without a prototype")
        if np.any(begins[1:] < begins[:-1]) or begins[0]:
            raise ValueError("columns that end before they begin")
        self._prototypes = _sparse(begins, rows, values, (columns, len(learned.texts)))
        self._members = [np.flatnonzero(self._of == at) for at in range(lines)]
        if not all(map(len, self._members)):
            raise ValueError("a category without prototypes")

    def like(self, texts: Sequence[str]) -> list[tuple[Likeness, ...]]:
        """For each text the categories that it is most like, best first; none where it speaks of nothing known."""
        if not texts:
            return []
        vectors = [joined(self._spaces, counted(text)) for text in texts]
        seen = stacked(vectors, len(self._lines))
        scores = seen @ self._lines + self._shifts
        near = seen @ self._prototypes
        return [
            self._told(scores[at], near[[at]].toarray()[0]) if self._understood(text) else ()
            for at, text in enumerate(texts)
        ]

    def _understood(self, text: str) -> bool:
        """Whether enough of its words are known: a few letters of gibberish are like something, too."""
        if len(self._learned.texts) < ENOUGH:
            return True
        found = [word for word in _WORD.findall(apart(text).lower()) if len(word) > 1 or not word.isascii()]
        return sum(map(self._is_known, found)) >= UNDERSTOOD * max(len(found), 1)

    def _is_known(self, word: str) -> bool:
        """A word of the prototypes, or one that is made as theirs are: an ending, a compound, words without blanks."""
        by_letters, by_words = self._spaces
        if word in by_words.columns:
            return True
        size, share = _RUN if word.isascii() else _RUN_ELSEWHERE
        whole = f" {word} "
        runs = [whole[at : at + size] for at in range(max(len(whole) - size + 1, 1))]
        return sum(run in by_letters.columns for run in runs) > share * len(runs)

    def _told(self, scores: NDArray[np.float64], near: NDArray[np.float64]) -> tuple[Likeness, ...]:
        told = []
        for at in np.argsort(-scores, kind="stable")[:_TOLD]:
            members = self._members[at]
            row = int(members[int(np.argmax(near[members]))])
            told.append(Likeness(self._learned.categories[at], float(scores[at]), self._learned.texts[row]))
        return tuple(told)


def stacked(vectors: Sequence[Vector], columns: int) -> Any:
    """Vectors as the rows of a sparse matrix."""
    begins = np.cumsum([0, *(len(vector.columns) for vector in vectors)])
    made = _sparse(
        begins,
        np.concatenate([vector.columns for vector in vectors]),
        np.concatenate([vector.values for vector in vectors]),
        (len(vectors), columns),
    )
    made.sort_indices()
    return made


def _sparse(begins: NDArray[Any], places: NDArray[Any], values: NDArray[Any], shape: tuple[int, int]) -> Any:
    """Compressed rows; 32-bit places, because liblinear takes no others."""
    return csr_array((values.astype(np.float64), places.astype(np.int32), begins.astype(np.int32)), shape=shape)


def spaces(letter_runs: Iterable[str], word_runs: Iterable[str], weights: NDArray[np.float64]) -> tuple[Space, Space]:
    """The two kinds of features, each with columns from 0."""
    by_letters = {name: column for column, name in enumerate(letter_runs)}
    by_words = {name: column for column, name in enumerate(word_runs)}
    border = len(by_letters)
    return Space(by_letters, weights[:border]), Space(by_words, weights[border:])


def counted(text: str) -> tuple[Counts, Counts]:
    """What a text has of each kind."""
    said = apart(text)
    return letters(said), words(said)


def apart(text: str) -> str:
    """The text with `RateLimitError` as three words."""
    return _HUMP.sub(" ", text)


def joined(two: tuple[Space, Space], counts: tuple[Counts, Counts]) -> Vector:
    """A text by letters, and behind them by words."""
    by_letters, by_words = (space.vector(one) for space, one in zip(two, counts, strict=True))
    border = len(two[0].columns)
    return Vector(
        np.concatenate([by_letters.columns, by_words.columns + border]),
        np.concatenate([by_letters.values, by_words.values]),
    )


def _array(raw: bytes, kind: str, length: int) -> NDArray[Any]:
    found = np.frombuffer(raw, kind)
    if len(found) != length:
        raise ValueError(f"{len(found)} numbers where {length} belong")
    return found

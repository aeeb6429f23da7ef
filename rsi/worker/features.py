"""What the likeness of two texts is counted by: runs of letters, words and word pairs, each with its weight.

The features and weights of Salton and Buckley (Information Processing & Management 24, 1988) as scikit-learn 1.x makes
them: logarithmic counts, smoothed inverse document frequency, unit length; letters do not cross the end of a word.
Made here because importing scikit-learn takes a second that a worker which has learned before need not spend.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

#: Letters in runs of two to five: endings, compounds and languages without blanks.
LETTERS: Final = range(2, 6)
_WORD: Final = re.compile(r"\w+")

Counts: TypeAlias = "Counter[str]"


class Vector(NamedTuple):
    """A sparse vector: the columns that are not zero, in no order, and their values."""

    columns: NDArray[np.int64]
    values: NDArray[np.float64]


class Space(NamedTuple):
    """One kind of features: which are known (by column), and what each weighs."""

    columns: Mapping[str, int]
    weights: NDArray[np.float64]

    def vector(self, counts: Counts) -> Vector:
        """A text in this space, of length 1 (0: it has nothing that is known)."""
        known = self.columns
        found = [(known[name], n) for name, n in counts.items() if name in known]
        columns = np.array([column for column, _ in found], np.int64)
        values = (1.0 + np.log(np.array([n for _, n in found], np.float64))) * self.weights[columns]
        length = float(np.sqrt(np.sum(values * values)))
        return Vector(columns, values / length if length else values)


def letters(text: str) -> Counts:
    """Runs of letters within words, a blank at either end of each."""
    found: list[str] = []
    for bare in text.lower().split():
        word = f" {bare} "
        for size in LETTERS:
            if size >= len(word):
                found.append(word)
                break
            found += [word[at : at + size] for at in range(len(word) - size + 1)]
    return Counter(found)


def words(text: str) -> Counts:
    """Words and pairs of words that follow one another."""
    single = _WORD.findall(text.lower())
    return Counter([*single, *map(" ".join, pairwise(single))])


def known(counted: Sequence[Counts], at_least: int) -> tuple[list[str], NDArray[np.float64]]:
    """The features that so many of these texts have, in order, and their weights."""
    texts: Counter[str] = Counter()
    for counts in counted:
        texts.update(counts.keys())
    names = sorted(name for name, n in texts.items() if n >= at_least)
    having = np.array([texts[name] for name in names], np.float64)
    return names, np.log((1.0 + len(counted)) / (1.0 + having)) + 1.0

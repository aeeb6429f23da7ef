"""How like each category a text is: a linear classifier over words and letters, learned from the prototypes.

Worker process only. Nearest neighbours by MiniLM were measured beside it and lost by far
(docs/design/032-prototypes.md): what an error is lies in a few words, which a sentence's meaning blurs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_union
from sklearn.svm import LinearSVC

from rsi.analyze.prototype import Likeness
from rsi.worker.wire import Prototyped

#: Names the learner and its features; answers of another name are asked for again.
NAME: Final = "linear-1"
#: Letters in runs of two to five: endings, compounds and languages without blanks.
_LETTERS: Final = (2, 5)
_WORDS: Final = (1, 2)
#: Letter runs that only one prototype has say nothing of others.
_AT_LEAST: Final = 2
#: Categories that are told; the decision needs two.
_TOLD: Final = 5
_SEED: Final = 0
_HUMP: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


class Prototypes:
    """What was learned from prototypes, once per process: some 1 ms each.

    Args:
        given: category and text, one at least; the text as `rsi.analyze.prototype.subject` makes it.
    """

    def __init__(self, given: Sequence[Prototyped]) -> None:
        self._given = given
        texts = [_prepared(one.text) for one in given]
        rare = _AT_LEAST if len(texts) > 100 * _AT_LEAST else 1  # a handful of a test have nothing in common
        letters = TfidfVectorizer(analyzer="char_wb", ngram_range=_LETTERS, min_df=rare, sublinear_tf=True)
        words = TfidfVectorizer(ngram_range=_WORDS, sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")  # noqa: S106 - no password
        self._features: Any = make_union(letters, words)
        self._known: Any = self._features.fit_transform(texts)
        self._categories = sorted({one.category for one in given})
        self._rows = {
            category: np.array([row for row, one in enumerate(given) if one.category == category])
            for category in self._categories
        }
        self._learned: Any = None
        if len(self._categories) > 1:
            self._learned = LinearSVC(C=1.0, random_state=_SEED).fit(self._known, [one.category for one in given])

    def like(self, texts: Sequence[str]) -> list[tuple[Likeness, ...]]:
        """For each text the categories that it is most like, best first."""
        if not texts:
            return []
        seen: Any = self._features.transform([_prepared(text) for text in texts])
        near = (seen @ self._known.T).tocsr()
        scores = self._learned.decision_function(seen) if self._learned else np.zeros((len(texts), 1))
        if scores.ndim == 1:  # two categories share one line between them
            scores = np.stack([-scores, scores], axis=1)
        return [self._told(scores[at], np.asarray(near[at].todense())[0]) for at in range(len(texts))]

    def _told(self, scores: np.ndarray[Any, Any], near: np.ndarray[Any, Any]) -> tuple[Likeness, ...]:
        told = []
        for at in np.argsort(-scores, kind="stable")[:_TOLD]:
            category = self._categories[at]
            row = int(self._rows[category][int(np.argmax(near[self._rows[category]]))])
            told.append(Likeness(category, float(scores[at]), self._given[row].text))
        return tuple(told)


def _prepared(text: str) -> str:
    return _HUMP.sub(" ", text)

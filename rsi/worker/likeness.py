"""How like each category a text is: a linear classifier over words and letters, learned from the prototypes.

Worker process only. Nearest neighbours by MiniLM were measured beside it and lost by far
(docs/design/032-prototypes.md): what an error is lies in a few words, which a sentence's meaning blurs.

Learning takes seconds, so what was learned is kept and read by the next process, which then needs no scikit-learn.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from rsi import analyze
from rsi.rules import kept
from rsi.worker.features import known
from rsi.worker.learned import Comparer, Learned, counted, joined, spaces, stacked
from rsi.worker.wire import Prototyped

#: Names the learner and its features; answers of another name are asked for again.
NAME: Final = "linear-1"
FILE: Final = "prototypes.bin"
#: Letter runs that only one prototype has say nothing of others.
_AT_LEAST: Final = 2
_SEED: Final = 0
#: What a prototype is compared by is made there.
_CODE: Final = (Path(__file__).parent, Path(analyze.__file__).parent)
_READER: Final = msgspec.msgpack.Decoder(Learned)


def learn(given: Sequence[Prototyped]) -> Learned:
    """From category and text, one at least; the text as `rsi.analyze.prototype.subject` makes it. Some 1 ms each."""
    counts = [counted(one.text) for one in given]
    rare = _AT_LEAST if len(given) > 100 * _AT_LEAST else 1  # a handful of a test have nothing in common
    letter_runs, letter_weights = known([by_letters for by_letters, _ in counts], rare)
    word_runs, word_weights = known([by_words for _, by_words in counts], 1)
    weights = np.concatenate([letter_weights, word_weights])
    two = spaces(letter_runs, word_runs, weights)
    vectors = [joined(two, one) for one in counts]
    categories = sorted({one.category for one in given})
    of = np.array([categories.index(one.category) for one in given], "<u1")
    seen = stacked(vectors, len(weights))
    lines, shifts = _lines(seen, of, len(categories))
    by_column = seen.T.tocsr()
    by_column.sort_indices()
    return Learned(
        categories,
        [one.text for one in given],
        of.tobytes(),
        letter_runs,
        word_runs,
        weights.astype("<f8").tobytes(),
        lines.astype("<f4").tobytes(),
        shifts.astype("<f8").tobytes(),
        by_column.indptr.astype("<u4").tobytes(),
        by_column.indices.astype("<u2").tobytes(),
        by_column.data.astype("<f4").tobytes(),
    )


def _lines(seen: Any, of: NDArray[Any], categories: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Per column a number for each category, and what is added to their sums: a support vector machine's borders."""
    if categories == 1:
        return np.zeros((seen.shape[1], 1)), np.zeros(1)
    from sklearn.svm import LinearSVC  # noqa: PLC0415 - a second, only where something is learned

    fitted: Any = LinearSVC(C=1.0, random_state=_SEED).fit(seen, of)
    lines, shifts = fitted.coef_.T, fitted.intercept_
    if categories == 2:  # noqa: PLR2004 - two categories share one line between them
        return np.hstack([-lines, lines]), np.concatenate([-shifts, shifts])
    return lines, shifts


class Shelf:
    """Where what was learned waits for the next process.

    Args:
        folder: a private folder of this user; `None`: nothing is kept.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = folder / FILE if folder is not None else None
        self._code: list[bytes] = []
        try:
            self._code = kept.sources(*_CODE)
        except OSError:  # without knowing what learned it, nothing that was learned can be trusted
            self._path = None

    def take(self, key: str) -> Comparer | None:
        """What was learned from the prototypes called `key` by this code; `None` if it has to be learned."""
        body = kept.read(self._path, self._key(key)) if self._path is not None else None
        if self._path is None or body is None:
            return None
        try:
            return Comparer(_READER.decode(body))
        except (msgspec.MsgspecError, ValueError) as error:
            kept.damaged(self._path, error)
            return None

    def put(self, key: str, learned: Learned) -> None:
        """Keep it for the next process."""
        if self._path is not None:
            kept.write(self._path, self._key(key), msgspec.msgpack.encode(learned))

    def _key(self, prototypes: str) -> bytes:
        return kept.key_of([f"{NAME}\n{sys.version}\n{prototypes}".encode(), *self._code])

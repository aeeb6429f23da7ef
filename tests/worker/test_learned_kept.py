"""What was learned from prototypes is kept: the next process answers alike without them, and believes nothing broken."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec
import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from rsi import worker as workers
from rsi.rules import Prototype, PrototypeSet
from rsi.worker import Worker
from rsi.worker.learned import Comparer, counted, joined, spaces
from rsi.worker.likeness import FILE, Shelf, learn
from rsi.worker.wire import Prototyped

SET = PrototypeSet(
    (
        Prototype("auth", "the badge reader blinked red"),
        Prototype("auth", "badge was refused"),
        Prototype("quality", "the soup tastes of nothing"),
        Prototype("refusal", "no badge for soup"),
    ),
    key="one",
)
TEXTS = ["a badge reader blinked red", "this soup tastes of nothing at all", "", "¿qué? БЕЙДЖ 徽章"]
GIVEN = [Prototyped(one.category, one.text) for one in SET.prototypes]


@pytest.fixture
def learned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The prototypes that crossed the pipe."""
    crossed: list[str] = []
    seen = workers._as_seen

    def as_seen(text: str) -> str:
        crossed.append(text)
        return seen(text)

    monkeypatch.setattr(workers, "_as_seen", as_seen)
    return crossed


def ask(folder: Path | None, prototypes: PrototypeSet = SET) -> object:
    """The answers of a process of its own."""
    with Worker(env={"RSI_EMBEDDER": "ngram", "RSI_WORKER_AWAITED": "1"}, keep=folder) as worker:
        return worker.resemble(TEXTS, prototypes)


def test_the_next_process_answers_the_same_without_the_prototypes(tmp_path: Path, learned: list[str]) -> None:
    first = ask(tmp_path / "state")
    assert len(learned) == len(SET.prototypes)
    assert (tmp_path / "state" / FILE).stat().st_mode & 0o777 == 0o600
    assert ask(tmp_path / "state") == first
    assert len(learned) == len(SET.prototypes)


def test_another_set_is_learned_and_without_a_folder_nothing_is_kept(tmp_path: Path, learned: list[str]) -> None:
    first = ask(tmp_path)
    other = ask(tmp_path, msgspec.structs.replace(SET, prototypes=SET.prototypes[1:], key="two"))
    assert other != first
    assert ask(None) == first
    assert len(learned) == len(SET.prototypes) * 3 - 1


def test_what_is_damaged_is_said_and_learned_again(
    tmp_path: Path, learned: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    first = ask(tmp_path)
    raw = bytearray((tmp_path / FILE).read_bytes())
    raw[len(raw) // 2] ^= 1
    (tmp_path / FILE).write_bytes(raw)
    with caplog.at_level(logging.INFO, "rsi.worker"):
        assert ask(tmp_path) == first
    assert "is damaged and is made anew" in caplog.text
    assert len(learned) == len(SET.prototypes) * 2
    assert ask(tmp_path) == first
    assert len(learned) == len(SET.prototypes) * 2


def test_what_others_may_write_is_learned_again(tmp_path: Path, learned: list[str]) -> None:
    first = ask(tmp_path)
    (tmp_path / FILE).chmod(0o666)
    assert ask(tmp_path) == first
    assert len(learned) == len(SET.prototypes) * 2


@pytest.mark.parametrize(
    "broken",
    [
        {"weights": b""},
        {"lines": b"\0" * 4},
        {"of": b"\x09" * len(GIVEN)},
        {"of": b"\0" * len(GIVEN)},
        {"letters": []},
        {"rows": b"\0\0"},
        {"texts": []},
    ],
    ids=lambda broken: next(iter(broken)),
)
def test_pieces_that_do_not_fit_together_are_refused_and_learned_again(
    tmp_path: Path, broken: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    wrong = msgspec.structs.replace(learn(GIVEN), **broken)
    with pytest.raises(ValueError, match=r"belong|without|before"):
        Comparer(wrong)
    shelf = Shelf(tmp_path)
    shelf.put("one", wrong)
    assert shelf.take("one") is None
    assert "cannot be understood" in caplog.text


def test_features_and_weights_are_those_of_scikit_learn() -> None:
    texts = [one.text for one in SET.prototypes] + ["Soup, soup: soup!", "a b\t c", "Ünï-code_2 徽章 x"]
    by_letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True).fit(texts)
    by_words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b").fit(texts)
    names = [list(one.get_feature_names_out()) for one in (by_letters, by_words)]
    two = spaces(names[0], names[1], np.concatenate([by_letters.idf_, by_words.idf_]))
    for text in [*texts, "", "nothing of it: zzz", "Soup a BADGE badge x"]:
        ours = np.zeros(len(names[0]) + len(names[1]))
        vector = joined(two, counted(text))
        ours[vector.columns] = vector.values
        theirs = np.concatenate([one.transform([text]).toarray()[0] for one in (by_letters, by_words)])
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_one_category_and_two_are_enough_to_learn_from() -> None:
    (found,) = Comparer(learn(GIVEN[:2])).like(["a badge"])
    assert [(one.category, one.score) for one in found] == [("auth", 0.0)]
    (found,) = Comparer(learn(GIVEN[:3])).like(["a badge was refused"])
    assert [one.category for one in found] == ["auth", "quality"]
    assert found[0].score == -found[1].score > 0

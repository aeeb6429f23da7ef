"""What speaks of nothing known is like nothing, whatever its letters."""

from __future__ import annotations

import random
import string

import pytest

from rsi.analyze.prototype import decide, subject
from rsi.analyze.template import fingerprint
from rsi.rules import load_prototypes
from rsi.worker.learned import Comparer
from rsi.worker.likeness import learn
from rsi.worker.wire import Prototyped

TEXTS = 400


@pytest.fixture(scope="module")
def comparer() -> Comparer:
    return Comparer(learn([Prototyped(one.category, seen(one.text)) for one in load_prototypes().prototypes]))


def seen(text: str) -> str:
    mark = fingerprint(text)
    return subject(mark.template, mark.error_type)


def gibberish(rng: random.Random) -> str:
    """Words of syllables or of any letters; half of the texts have an end that says something."""
    if rng.random() < 0.5:
        words = [
            "".join(rng.choice("bdfgklmnprstv") + rng.choice("aeiou") for _ in range(rng.randint(2, 4)))
            for _ in range(9)
        ]
    else:
        words = ["".join(rng.choices(string.ascii_lowercase, k=rng.randint(4, 8))) for _ in range(rng.randint(3, 14))]
    return " ".join(words) + rng.choice(["", " while calling the service"])


def test_gibberish_stays_unknown(comparer: Comparer):
    rng = random.Random(7)
    texts = [seen(gibberish(rng)) for _ in range(TEXTS)]
    named = [text for text, like in zip(texts, comparer.like(texts), strict=True) if decide(text, like) is not None]
    assert named == []


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("the model kept asking for a gadget that we never registered as a tool", "tool_unknown"),
        ("das Kontextfenster des Modells ist überschritten", "context_overflow"),
        ("模型的上下文长度超出了限制", "context_overflow"),
    ],
)
def test_words_that_are_made_as_known_ones_are_understood(comparer: Comparer, text: str, category: str):
    (like,) = comparer.like([seen(text)])
    assert like[0].category == category

"""Prototypes in the worker: they cross the pipe once per process, come back after a death, and the nearest is named."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from rsi.analyze.prototype import decide
from rsi.rules import Prototype, PrototypeSet, load_prototypes
from rsi.worker import Worker

SET = PrototypeSet(
    (
        Prototype("auth", "the badge reader blinked red"),
        Prototype("auth", "badge was refused"),
        Prototype("quality", "the soup tastes of nothing"),
    ),
    key="one",
)


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Worker(env={"RSI_EMBEDDER": "ngram", "RSI_WORKER_AWAITED": "1"}) as found:
        yield found


def test_each_text_gets_its_categories_best_first_with_the_nearest_prototype(worker: Worker):
    found = worker.resemble(["a badge reader blinked red", "this soup tastes of nothing at all"], SET)
    assert [one[0].category for one in found.found] == ["auth", "quality"]
    best, second = found.found[0]
    assert best.nearest == "the badge reader blinked red"
    assert best.score > second.score
    assert worker.resemble([], SET).found == []


def test_another_set_replaces_the_first_and_a_new_process_gets_it_again(worker: Worker):
    worker.resemble(["a badge"], SET)
    other = PrototypeSet((Prototype("refusal", "a badge"),), key="two")
    assert worker.resemble(["a badge"], other).found[0][0].category == "refusal"
    pid = worker.status().pid
    os.kill(pid, signal.SIGKILL)
    while worker.status().alive:
        time.sleep(0.02)
    assert worker.resemble(["a badge"], other).found[0][0].category == "refusal"
    assert worker.status().pid != pid


def test_more_texts_than_one_request_takes_are_answered_in_order(worker: Worker):
    texts = [f"soup number {n} tastes of nothing" if n % 2 else f"badge {n} was refused" for n in range(300)]
    found = worker.resemble(texts, SET).found
    assert [one[0].category for one in found] == ["quality" if n % 2 else "auth" for n in range(300)]


@pytest.mark.slow
def test_the_built_in_ones_name_what_is_said_in_other_words_and_leave_what_is_not():
    texts = [
        "the model wants to use a plugin that we never defined",
        "nobody has paid the bill, so the vendor stopped serving us",
        "bananas are rich in potassium",
    ]
    with Worker(env={"RSI_WORKER_AWAITED": "1"}) as worker:
        reply = worker.resemble(texts, load_prototypes())
    best = [one[0].category for one in reply.found]
    assert best[:2] == ["tool_unknown", "quota_exhausted"]
    chosen = [decide(text, like) for text, like in zip(texts, reply.found, strict=True)]
    assert [one.category.name if one else None for one in chosen] == ["tool_unknown", "quota_exhausted", None]

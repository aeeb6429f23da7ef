"""Class names read as words, counts of attempts, and texts of packages that no rule was written for."""

from __future__ import annotations

import time

import pytest

from rsi.classify import NEVER_RETRIED, classify, retryable
from rsi.rules.noise import bare
from rsi.rules.spelt import spelt


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("vectors.CollectionNotFoundError: docs", "vectors.Collection Not Found: docs"),
        ("HTTPTimeout after 3", "HTTP Timeout after 3"),
        ("_IOLimitReached", "IO Limit Reached"),
        ("ValueError: KeyError: x", "ValueError: KeyError: x"),
        ("An error occurred (QueueFullFault) when calling the PutItem operation: no", "Queue Full: no"),
        ("RESOURCE_EXHAUSTED at Paris", "RESOURCE_EXHAUSTED at Paris"),
    ],
)
def test_a_class_name_is_read_as_its_words(text: str, words: str) -> None:
    assert spelt(text) == words


@pytest.mark.parametrize("unit", ["A", "Aa", "AaA", "_Aa", "AAa1", "An error occurred ("])
def test_spelling_costs_in_proportion_to_the_text(unit: str) -> None:
    def cost(times: int) -> float:
        text = (unit * 8192)[: 1024 * times]
        began = time.process_time()
        for _ in range(5):
            spelt(text)
        return time.process_time() - began

    cost(1)
    assert cost(8) < 40 * max(cost(1), 1e-3)


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("HopperQueueFullError: 512", "resource_exhausted"),
        ("LedgerNotInstalledError: ledger", "missing_resource"),
        ("SessionStateNotFoundException: 8842", "context_lost"),
    ],
)
def test_a_class_that_nobody_listed_is_decided_by_its_words(text: str, category: str) -> None:
    assert classify(text).name == category


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("failed after 3 attempts: the queue is full", "the queue is full"),
        ("Giving up. Last error: no response from the planner", "no response from the planner"),
        ("Request failed after 5 retries. Last error: disk full on /srv", "disk full on /srv"),
        ("failed after 3 attempts", "failed after 3 attempts"),
        ("MCP client for coder gave up after 3 attempts: Connection closed", "MCP client for coder gave up after 3 attempts: Connection closed"),
    ],
)  # fmt: skip
def test_how_often_somebody_tried_does_not_decide(text: str, left: str) -> None:
    assert bare(text) == left


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("Run stopped: the account reached its limit of deployments", "quota_exhausted"),
        ("Too many domains exist per this account.", "quota_exhausted"),
        ('[{"message":"Session expired or invalid","errorCode":"INVALID_SESSION_ID"}]', "auth"),
        ("[mcp] ERROR: Token refresh failed: n/a", "auth"),
        ("The service account may lack 'storage.buckets.get' permission.", "permission"),
    ],
)
def test_what_forbids_another_try_stays_what_it_is(text: str, category: str) -> None:
    said = classify(text).name
    assert said == category
    assert said in NEVER_RETRIED
    assert not retryable(said)


@pytest.mark.parametrize(
    "text",
    [
        "`timeout` cannot be negative",
        "Timeouts cannot be added when the call has started.",
        '{"level": "error", "error": "Widget x9 has no handler", "type": "UserError"}',
    ],
)
def test_a_word_alone_is_no_verdict(text: str) -> None:
    assert classify(text).name not in {"timeout_model", "timeout_tool", "not_a_failure"}

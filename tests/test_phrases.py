"""What a model answered is a value, however it is quoted; names and what a parser says are not."""

from __future__ import annotations

import pytest

from rsi.analyze import classify
from rsi.analyze.phrases import mask_quoted
from rsi.analyze.template import fingerprint, mask

ANSWERS = [
    "I think we should look at the weather first",
    "Sure! Here is your list, the connection timed out",
    "Thought: I need to search for 'a b c'\nAction: none of them",
    "permission denied is what I would say to that",
    "{'action': 'search', 'input': 'cats'}",
]
LEADS = [
    "OutputParserException: Could not parse LLM output: `{}`",
    "OutputParserException: Could not parse LLM output: {}",
    "langchain_core.exceptions.OutputParserException: Invalid json output: {}\nFor troubleshooting, visit: https://x.y/z",
    "ValueError: cannot parse the model's answer: `{}`",
    "the agent could not decode the completion `{}` as JSON",
    "Expected a JSON object, got `{}`",
]


@pytest.mark.parametrize("lead", LEADS)
def test_every_answer_is_the_same_fault(lead: str):
    found = {fingerprint(lead.format(answer.replace("\n", " "))).hash for answer in ANSWERS}
    assert len(found) == 1
    assert len({classify(lead.format(answer)).name for answer in ANSWERS}) == 1


@pytest.mark.parametrize(
    "lead", ["Unexpected response: {}", "wrong answer {}", "bad completion was: {}", "the output {}"]
)
@pytest.mark.parametrize("quote", ["'{}'", '"{}"', "`{}`"])
def test_prose_in_quotes_behind_what_was_answered_is_a_value(lead: str, quote: str):
    texts = [lead.format(quote.format(said)) for said in ("I am not so sure", "here are three words", "no way at all")]
    assert len({mask(text) for text in texts}) == 1
    assert "<str>" in mask(texts[0])


@pytest.mark.parametrize(
    "text",
    [
        "No module named 'psycopg2'",
        "unknown output 'report'",
        "expected a dict, got `NoneType`",
        "Failed to parse response: Expecting value: line <num>",
        "Could not parse LLM output: Unterminated string at <num>",
        "response: '{\"error\": {\"code\": 'busy'}}'",
        "the output 'a b' is too short",
    ],
)
def test_names_types_bodies_and_a_parsers_words_stay(text: str):
    assert mask_quoted(text) == text


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("answer", ANSWERS)
def test_masking_an_answer_twice_is_masking_it_once(lead: str, answer: str):
    once = mask(lead.format(answer))
    assert mask(once) == once
    assert "think" not in once


def test_where_it_was_raised_is_kept_behind_an_answer():
    trace = 'Traceback (most recent call last):\n  File "/app/agent.py", line 7, in run\n    x()\n{}'
    texts = [trace.format(f"ValueError: Could not parse LLM output: {answer}") for answer in ANSWERS[:2]]
    assert {fingerprint(text).template for text in texts} == {"Could not parse LLM output: <str> at agent.py:run"}

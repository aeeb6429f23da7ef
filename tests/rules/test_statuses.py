"""A number is a status where a status stands; an id or a count that happens to be one decides nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsi.classify import Classifier, classify
from rsi.rules.shape import ClassifyRule, Condition, Match
from rsi.rules.statuses import STATUSES, http_statuses, without_owned

OWNERS = st.sampled_from(
    ["task", "order", "user", "item", "job", "batch", "ticket", "invoice", "row", "record", "customer", "step",
     "shipment", "widget", "gizmo", "parcel"]
)  # fmt: skip
SAID = st.sampled_from(
    ["not found in queue", "not in stock", "not authorized", "internal check failed", "conflict of owners", "timed out",
     "was rejected", "error: bad", "from berlin complained", "failed", "quota of the shelf reached", "is gone",
     "unavailable today", "status is bad", "response was empty", "forbidden by the shop", "too many requests",
     "is a bad request of somebody", "http body missing"]
)  # fmt: skip
FORMS = st.sampled_from(["{owner} {n} {said}", "could not finish {owner} {n} {said}", "the {owner} #{n} {said}"])
NUMBERS = st.sampled_from(sorted(STATUSES))


@given(FORMS, OWNERS, SAID, NUMBERS, st.booleans())
@settings(max_examples=300, deadline=None)
def test_the_id_of_a_thing_never_makes_a_category(form: str, owner: str, said: str, number: int, title: bool):
    owner = owner.title() if title else owner
    texts = [form.format(owner=owner, n=n, said=said) for n in (number, 777)]
    assert classify(texts[0]) == classify(texts[1])


@pytest.mark.parametrize(
    "text",
    [
        "task 401 not found in queue", "order 403 not in stock", "job 503 unavailable", "order (403) was lost",
        "got 429 widgets from the store", "doc 404 from the archive is broken", "ticket 500 error",
    ],
)  # fmt: skip
def test_no_status_where_a_number_counts_or_names_something(text: str):
    assert http_statuses(text) == frozenset()


@pytest.mark.parametrize(
    "text",
    [
        "http 503", "openai 503 error", "the api 503 service unavailable", "server error 503", "apistatuserror 503 from it",
        "get /v1/models 503 service unavailable", "request failed (503)", "two slots are free (503)", "got 503 errors",
        "it returned 503 responses", "a 503 this time", "claude 503 overloaded", "503 service unavailable",
    ],
)  # fmt: skip
def test_a_status_where_somebody_answers(text: str):
    assert http_statuses(text) == {503}


def test_an_owned_number_stays_a_number_and_an_error_code_stays_itself():
    assert without_owned("task 404 took 404 s, order #503 of 9") == "task 777 took 777 s, order #777 of 9"
    same = "HTTP 404, Error 404: no, status 503, APIError 500, na5 404x, port 8404, exit 404, 404 Not Found"
    assert without_owned(same) == same


def test_a_number_that_a_rule_of_ones_own_names_is_read():
    assert without_owned("task 404 after task 405", {"404"}) == "task 404 after task 777"
    mine = ClassifyRule(
        id="mine", category="auth", match=Match(any=[Condition(message=["gadget 417"])]), precedence=900, confidence=0.9,
        date="2026-11-21", origin="user",
    )  # fmt: skip
    assert [Classifier([mine])(text).name for text in ("a gadget 417 broke", "a gadget 418 broke")] == [
        "auth",
        "unknown",
    ]

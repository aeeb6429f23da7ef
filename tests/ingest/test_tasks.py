"""Task names: what is an id in them, and what is a name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsi.policy.tasks import MAX_CHARS, mask_task


@pytest.mark.parametrize(
    ("raw", "masked"),
    [
        ("search", "search"), ("order 12345", "order <n>"), ("airline:0", "airline:<n>"), ("step_12", "step_<n>"),
        ("gpt-4o", "gpt-4o"), ("s3_upload", "s3_upload"), ("sha256", "sha256"), ("oauth2", "oauth2"),
        ("order12345", "order<n>"), ("run 3f2a9c1b", "run <id>"), ("deadbeef", "deadbeef"),
        ("job 550e8400-e29b-41d4-a716-446655440000 x", "job <id> x"), ("call_9aXb81Zq02LmPw77", "call_<id>"),
        ("  a \t b\n", "a b"), ("a\x00b", "a b"), ("ticket/2026-11-21", "ticket/<n>-<n>-<n>"),
    ],
)  # fmt: skip
def test_ids_and_numbers_are_masked_and_names_stay(raw, masked):
    assert mask_task(raw) == masked


@given(st.text(max_size=400))
def test_masking_twice_is_masking_once_and_short_and_printable(raw):
    once = mask_task(raw)
    assert mask_task(once) == once
    assert len(once) <= MAX_CHARS
    assert once.isprintable()

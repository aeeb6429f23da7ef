"""Every kind of value is masked, every name that tells faults apart stays, and shapes decide, not digits."""

from __future__ import annotations

import random
import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rsi.analyze import template
from rsi.analyze.template import LONGEST, MASK_VERSION, fingerprint, mask


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        # machines
        ("connect to db7.eu.example.com:5432 refused", "connect to <host> refused"),
        ("rhost=220-135-151-1.hinet-ip.hinet.net user=root", "rhost=<host> user=root"),
        ("no route to 10.0.0.1, 10.0.0.2, 10.0.0.3", "no route to <host>"),
        ("peer ff:f2:9f:16:eb:00 left", "peer <hex> left"),
        ("from fe80::1ff:fe23:4567:890a", "from <host>"),
        # times and amounts
        ("at Sun Jul 10 03:55:15 2005", "at <ts>"),
        ("changed Thu Aug 11 10:49:42 PDT 2005", "changed <ts>"),
        ("Jul  3 10:02:11 sshd stopped", "<ts> sshd stopped"),
        ("[10/Oct/2000:13:55:36 +0000] lost", "[<ts> <num>] lost"),
        ("lifetime <1 sec", "lifetime <dur>"),
        ("lifetime 00:01", "lifetime <dur>"),
        ("took 3 minutes, waited 12.5s", "took <dur>, waited <dur>"),
        ("0 bytes sent, 1165 bytes (1.13 KB) received", "<size> sent, <size> received"),
        ("estimated size 5.2 KB, free 317 MB)", "estimated size <size>, free <size>)"),
        # ids
        ("blk_-1608999687919862906 and core.1887", "<id> and core.<num>"),
        ("Found block rdd_42_20 locally", "Found block rdd_<num> locally"),
        ("jA9J1Wd3004a: queued", "<id>: queued"),
        ("sshd[1234] died", "sshd[<num>] died"),
        ("domain storage742 is full", "domain storage<num> is full"),
        ("chdir(/p/gb2/../WORK./hpl) failed", "chdir(<path>) failed"),
        ("GET /v1/x?limit=5&after=abc failed", "GET <path> failed"),
        ("items.0.name is missing", "items.<num>.name is missing"),
        # quoted values, but quoted names and types stay
        ("invalid literal for int() with base 10: 'ab c'", "invalid literal for int() with base <num>: '<str>'"),
        (
            "[type=int_parsing, input_value='abc', input_type=str]",
            "[type=int_parsing, input_value='<str>', input_type=str]",
        ),
        ("expected str, got 'int'", "expected str, got 'int'"),
        ("unknown tool 'search_web'", "unknown tool 'search_web'"),
        # codes, names and negations stay
        ("upstream returned 502", "upstream returned 502"),
        ("request failed with 503 from proxy", "request failed with 503 from proxy"),
        ("expected 1536 dimensions, got 512", "expected <num> dimensions, got <num>"),
        ("ORA-00942: table or view does not exist", "ORA-00942: table or view does not exist"),
        ("x509 and sha256 and ipv6 and psycopg2", "x509 and sha256 and ipv6 and psycopg2"),
        ("openai.RateLimitError in org.apache.hadoop.app", "openai.RateLimitError in org.apache.hadoop.app"),
        ("socket.io and node.js and asyncio.run", "socket.io and node.js and asyncio.run"),
    ],
)
def test_values_are_masked_and_names_stay(text: str, wanted: str):
    assert mask(text) == wanted
    assert mask(wanted) == wanted


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("process ended with exit code 137", "process ended with exit code 1"),
        ("upstream answered HTTP 502", "upstream answered HTTP 504"),
        ("No module named 'pandas'", "No module named 'requests'"),
        ("model gpt-4o is not available", "model gpt-4 is not available"),
        ("the file was created", "the file was not created"),
        ("[Errno 111] refused", "[Errno 104] refused"),
        ("permission denied", "connection refused"),
        ("E501: line", "E402: line"),
    ],
)
def test_what_identifies_a_fault_is_never_masked_away(one: str, other: str):
    assert fingerprint(one).hash != fingerprint(other).hash


WORDS = st.sampled_from([
    "core.1887", "12", "s", "429", "Too", "Many", "status:", "503", "gpt-4o", "10:20:30", "2026-11-21", "0x7f3a",
    "abc123", "storage742", "x_1_2", "a.b.com:443", "(1.13", "KB)", "bytes", "Jul", "10", "Sun", "U11", "E501:",
    "<num>", "<dur>", "sec", "rdd_9", "-5", "1,024", "exit", "code", "1", "[12]", "'a1'", "got", "'x'",
    "/a/b.py:12", "ff:00:11:22:33:44", "returned", "with", "failed",
])  # fmt: skip


@given(st.lists(WORDS, max_size=16).map(" ".join), st.randoms(use_true_random=False))
@settings(max_examples=1500, deadline=None)
def test_masking_is_idempotent_and_texts_of_one_shape_and_statuses_have_one_template_unless_a_code_is_kept(
    text: str, rng: random.Random
):
    once = mask(text)
    assert mask(once) == once
    other = re.sub(  # three digits may be a status: they are known by their value
        r"(?<!\d)\d{3}(?!\d)|\d", lambda found: found[0] if len(found[0]) > 1 else str(rng.randrange(10)), text
    )
    if not re.search(r"\d", once):
        assert mask(other) == once
    else:
        assert re.sub("[0-9]", "0", mask(other)) == re.sub("[0-9]", "0", once)


FRESH = st.one_of(
    st.uuids().map(str),
    st.text("0123456789abcdef", min_size=6, max_size=24),
    st.text("0123456789abcdefXYZ", min_size=3, max_size=12).map(lambda tail: f"req_{tail}"),
    st.text("0123456789abcdef", min_size=3, max_size=12).map(lambda tail: f"blk-{tail}"),
    st.integers(0, 999).map(str),
)


@given(st.lists(st.tuples(st.one_of(WORDS, FRESH, FRESH), st.sampled_from([" ", " ", ":", ".", "/", "-", "@", "_", "'", ", "])), max_size=10))  # fmt: skip
@settings(max_examples=2500, deadline=None)
@example(
    [("d44ee2d2-34c7-5b66-da9b-71abc8e6b8f7", "."), ("-5", "@"), ("req_000", " ")]
)  # an id is an id, whatever its digits
def test_a_remembered_shape_gives_the_same_template_as_masking_the_text_itself(parts: list[tuple[str, str]]):
    text = "".join(word + gap for word, gap in parts)
    assert mask(text) == template._slowly(text)


@given(st.text(max_size=200))
@settings(max_examples=500, deadline=None)
def test_no_text_raises(text: str):
    assert len(fingerprint(text, stack=text).template) <= LONGEST


HOSTILE = ["1-", "a.", "a.b.", "0:", "00:", "aA1", "1a", "1 s ", "Jul 1 ", "<num> ", "<size> (", "'got '", "got '", "/.", "/..", "a@", "<1 ", 'got "', "1.1.1.1,"]  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
def test_four_times_the_hostile_text_costs_at_most_some_times_more(piece: str):
    """Only the head and the tail are examined; the margin is wide because a busy machine is not a quadratic pattern."""

    def cost(size: int) -> float:
        text = piece * (size // len(piece))
        return min(_timed(text) for _ in range(3))

    small, large = cost(16_384), cost(1_000_000)
    assert large < max(small, 0.002) * 60


def _timed(text: str) -> float:
    before = time.process_time()
    fingerprint(text)
    return time.process_time() - before


#: As version 3 stored them.
STORED = {
    "order 42912 failed": "d0ffd7350735cc2d",
    "429 Too Many Requests": "9a9250082cffba48",
    "openai.RateLimitError: Limit 300, used 12": "91dbca02c76a55a6",
    "No module named 'psycopg2'": "66dda798168b007d",
}


@pytest.mark.parametrize(("text", "stored"), STORED.items())
def test_a_template_that_a_version_leaves_as_it_was_keeps_its_fingerprint(text: str, stored: str):
    assert fingerprint(text).hash == stored


def test_templates_that_changed_have_a_version_of_their_own():
    assert MASK_VERSION >= 4

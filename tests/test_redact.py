"""Secrets go, everything else stays, twice is once, and hostile text costs time in proportion to its length."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsi.errors import ConfigError
from rsi.redact import KINDS, Kind, Redactor, redact, secret_name, suspicious

PIECES = [kind.example for kind in KINDS] + [kind.no for kind in KINDS] + [part for kind in KINDS for part in kind.yes]
GLUE = [
    "",
    " ",
    "\n",
    "=",
    ": ",
    '"',
    "'",
    "@",
    "://",
    "[redacted:token]",
    "password",
    "TOKEN",
    "Cookie: ",
    "é",
    "İ",
    "\ud800",
]
TEXTS = st.lists(st.one_of(st.sampled_from(PIECES), st.sampled_from(GLUE), st.text(max_size=8)), max_size=8).map(
    "".join
)


def case(kind: Kind) -> str:
    return kind.name


def test_at_least_thirty_kinds_with_distinct_names():
    assert len({kind.name for kind in KINDS}) == len(KINDS) >= 30


@pytest.mark.parametrize("kind", KINDS, ids=case)
def test_every_kind_takes_its_example_out_and_names_itself(kind: Kind):
    clean = redact(f"before {kind.example} after")
    assert f"[redacted:{kind.name}]" in clean
    assert clean.startswith("before ")
    assert redact(clean) == clean


@pytest.mark.parametrize("kind", KINDS, ids=case)
def test_every_kind_leaves_its_counter_example(kind: Kind):
    assert redact(kind.no) is kind.no


@pytest.mark.parametrize("kind", [k for k in KINDS if k.gate == "run"], ids=case)
def test_no_part_of_a_token_is_left(kind: Kind):
    secret = max(kind.yes, key=len)
    assert secret[-12:] not in redact(f"call failed: {kind.example}")


@given(TEXTS)
@settings(max_examples=600, deadline=None)
def test_redacting_twice_is_redacting_once(text: str):
    once = redact(text)
    assert redact(once) == once


@given(TEXTS)
@settings(max_examples=600, deadline=None)
def test_the_gate_passes_whatever_a_pattern_would_match(text: str):
    for kind in KINDS:
        where = text.lower() if kind.gate == "word" else text
        if any(not kind.check or kind.check(found[0]) for found in kind.pattern.finditer(where)):
            assert suspicious(text), kind.name


@pytest.mark.parametrize(
    "text",
    [
        "search", "gpt-4o", "Rate limit reached for gpt-4o on tokens per min (TPM): Limit 30000, Used 29112",
        "3f2b8c1e-1d2a-4b5c-9d8e-123456789abc", "max_tokens=4096", "Unexpected token: identifier", "token: 4096",
        "KeyError: 'api_key'", "http://localhost:8080/a@b", "1763689024123456", "monkey=banana-split",
        "password authentication failed", "order 4111111111111112 failed", "tests/test_token.py:12: assert 1",
    ],
)  # fmt: skip
def test_ordinary_texts_come_back_as_the_same_object(text: str):
    assert redact(text) is text


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ('{"password": "two words", "n": 1}', '{"password": "[redacted:password]", "n": 1}'),
        ('{\\"password\\": \\"two words\\"}', '{\\"password\\": \\"[redacted:password]\\"}'),
        ("PASSWORD=x", "PASSWORD=[redacted:password]"),
        ("İ password=x", "İ password=[redacted:password]"),
        ("https://bob:s3:c/ret@h/", "https://bob:s3:c/ret@h/"),
        ("amqp://bob:s3cret@h/x", "amqp://bob:[redacted:url-password]@h/x"),
        ("os.environ['API_KEY']='abcd-efgh'", "os.environ['API_KEY']='[redacted:api-key]'"),
        ("Cookie: a=1; b=2\nHost: x", "Cookie: [redacted:cookie]\nHost: x"),
    ],
)
def test_the_surroundings_of_a_secret_stay_readable(text: str, clean: str):
    assert redact(text) == clean


def test_values_under_a_secret_name_go_at_any_depth_and_the_rest_is_the_same_object():
    deep = {
        "a": [{"b": {"X-Api-Key": "short", "n": 3}}],
        "clientSecret": {"x": ["y", 7]},
        "pin": True,
        "password": 1234,
    }
    clean = Redactor().value(deep)
    assert clean["a"][0]["b"] == {"X-Api-Key": "[redacted:field]", "n": 3}
    assert clean["clientSecret"] == {"x": ["[redacted:field]", 7]}
    assert clean["password"] == "[redacted:field]"
    assert Redactor().value(clean) is clean
    untouched = {"a": [1, "b", {"time_to_first_token": 0.3, "tokens_in": 12, "next": None}]}
    assert Redactor().value(untouched) is untouched


def test_a_cycle_ends():
    loop: dict = {}
    loop["again"] = loop
    assert "[redacted:depth]" in str(Redactor().value(loop))


def test_secret_names_are_recognised_in_any_spelling():
    assert all(
        map(secret_name, ["password", "DB_PASSWORD", "api-key", "accessToken", "Set-Cookie", "x" * 80 + "_secret"])
    )
    assert not any(map(secret_name, ["tokens_in", "max_tokens", "key", "passed", "session_id", "secretary"]))


def test_extra_patterns_are_secrets_here():
    mine = Redactor([r"(?i)cust-\d+", r"zebra"])
    assert mine.text("CUST-42 and a zebra") == "[redacted:extra] and a [redacted:extra]"
    assert mine.text(mine.text("CUST-42")) == "[redacted:extra]"
    assert Redactor(["extra|redacted"]).text("[redacted:extra]") == "[redacted:extra]"
    assert mine.value({"k": ["cust-7"]}) == {"k": ["[redacted:extra]"]}


@pytest.mark.parametrize("bad", ["(", "a*", "["])
def test_a_bad_extra_pattern_is_named(bad: str):
    with pytest.raises(ConfigError, match=r"redact\.extra\[1\]"):
        Redactor(["fine", bad])


HOSTILE = [
    'password="', "token=", "token: ", "sk-", "-eyJ", "eyJ" + "a" * 50 + ".", "-----BEGIN PRIVATE KEY-----", "://a:", "a://a:a",
    "bearer ", "basic a", "cookie", "cookie: '", "4242 ", "4", "key-", "SG." + "a" * 20 + ".", "\\", '\\"', "api_key'", "secret' : \"\\",
    "M" + "a" * 24 + ".", "[redacted:", "authorization: bearer ", "--token ", "a", "=", "0" * 32 + "-us", "discord.com/api/webhooks/1",
]  # fmt: skip


def spent(text: str) -> float:
    before = time.process_time()
    redact(text)
    return time.process_time() - before


@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_text_costs_time_in_proportion_to_its_length(piece: str):
    short, long = (piece * (size // len(piece)) for size in (40_000, 320_000))
    base = max(min(spent(short) for _ in range(3)), 0.002)
    assert spent(long) < 30 * base  # eight times the length; quadratic would be 64


@pytest.mark.parametrize("secret", ["sk-" + "abcdefghijklmnopqrstuvwx", "Bearer " + "abcdefghijklmnopqrstuvwxyz"])
def test_a_key_of_letters_alone_is_a_key_where_no_words_are_that_long(secret):
    found = Redactor().text(f"401 Incorrect API key provided: {secret}.")
    assert "abcdefgh" not in found
    assert found.startswith("401 Incorrect API key provided: ")

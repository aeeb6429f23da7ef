"""What varies is masked, what identifies is kept, twice is once, and a hostile text costs no more than a long one."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsi.analyze.template import LONGEST, fingerprint, mask
from rsi.analyze.trace import condense

PIECES = [
    "429", "Too Many Requests", "status", "code:", "exit code 137", "[Errno 111]", "10.0.0.1:80", "::1", "/var/lib/x", "C:\\a\\b",
    "2026-11-21", "01:24:00,1", "1/3", "gpt-4o", "claude-3-5-sonnet-20241022", "job_123", "0x7f", "30s", "v1.2.3", "<num>", "<ts>",
    "user@example.com", "https://x.y/z?a=1", "'pandas'", "'a1'", "f47ac10b-58cc-4372-a567-0e02b2c3d479", "a/b/c", "x.py:12", "50%",
    "[redacted:openai]", "{'code': 429,", '{"status":503}', "-", ":", "=", ",", "\n", "Ünïcode", "٣", "1,000.5e3", "#12", "HTTP/1.1",
]  # fmt: skip
TEXTS = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=6), st.sampled_from([" ", ""])), max_size=14).map(
    "".join
)


@given(st.one_of(TEXTS, st.lists(st.sampled_from(PIECES), max_size=14).map(" ".join)))
@settings(max_examples=1500, deadline=None)
def test_masking_a_template_changes_nothing(text: str):
    once = mask(text)
    assert mask(once) == once
    assert fingerprint(once) == fingerprint(once)


@pytest.mark.parametrize(
    "unit", ["order 12 failed ", "429 Too Many Requests ", "a/b/c ", "2026-11-21 01:00:00 ", "status 503 "]
)
def test_masking_a_long_text_is_idempotent_and_bounded(unit: str):
    once = mask(unit * 5000)
    assert len(once) <= LONGEST
    assert mask(once) == once


@pytest.mark.parametrize(
    ("text", "template"),
    [
        ("order 42912 failed", "order <num> failed"),
        ("429 Too Many Requests", "429 Too Many Requests"),
        ("Error code: 503 - busy for 12 s", "Error code: 503 - busy for <dur>"),
        ("[Errno 111] Connection refused", "[Errno 111] Connection refused"),
        ("Command failed with exit code 137 after 1m30s", "Command failed with exit code 137 after <dur>"),
        ('{"status":529,"request_id":"req_011CSHoEeqs5C35"}', '{"status":529,"request_id":"<id>"}'),
        ("HTTP/1.1 503 Service Unavailable", "HTTP/1.1 503 Service Unavailable"),
        ("No module named 'psycopg2'", "No module named 'psycopg2'"),
        ("The model gpt-4o-mini does not exist", "The model gpt-4o-mini does not exist"),
        ("claude-3-5-sonnet-20241022 is overloaded", "claude-3-5-sonnet-20241022 is overloaded"),
        ("f47ac10b-58cc-4372-a567-0e02b2c3d479 is gone", "<uuid> is gone"),
        ("2026-11-21 01:24:00,123 ERROR at 0x7f3a2b", "<ts> ERROR at <hex>"),
        ("connect to 10.1.2.3:8080 and db.local:5432", "connect to <host> and <host>"),
        ("bob@example.com wrote /var/lib/x-7.db", "<email> wrote <path>"),
        ("GET https://api.example.com/v1/x?y=1 failed", "GET <url> failed"),
        ("read/write of application/json", "read/write of application/json"),
        ("file.py, line 42, in f", "file.py, line <num>, in f"),
        ("used 1,024 of 2048MB (50%)", "used <num> of <size> (<num>%)"),
        ("key [redacted:openai] refused", "key [redacted:openai] refused"),
        ("  spaced \n out ", "spaced out"),
        ("utf-8 and sha-256 and oauth2", "utf-8 and sha-256 and oauth2"),
    ],
)
def test_what_varies_is_masked_and_what_identifies_is_kept(text: str, template: str):
    assert mask(text) == template


def test_the_same_error_in_four_spellings_is_one_fingerprint():
    spellings = [
        fingerprint("openai.RateLimitError: Limit 300, used 12"),
        fingerprint("RateLimitError: Limit 301, used 13"),
        fingerprint("RateLimitError('Limit 301, used 13')"),
        fingerprint("Limit 1, used 1", "openai.RateLimitError"),
    ]
    assert len({found.hash for found in spellings}) == 1
    assert spellings[0].error_type == "RateLimitError"
    assert len(spellings[0].hash) == 16


def test_different_statuses_classes_and_names_are_different():
    texts = [
        "Error code: 429",
        "Error code: 503",
        "No module named 'a'",
        "No module named 'b'",
        "exit code 1",
        "exit code 137",
    ]
    assert len({fingerprint(text).hash for text in texts}) == len(texts)
    assert fingerprint("boom", "KeyError").hash != fingerprint("boom", "ValueError").hash


def test_an_empty_text_still_has_an_identity():
    assert fingerprint("", "TimeoutError").template == "TimeoutError"
    assert fingerprint("TimeoutError()").error_type == "TimeoutError"
    assert fingerprint("").template == "(no text)"


def raised() -> str:
    import traceback

    def inner(n: int) -> None:
        try:
            {}["a"]
        except KeyError as error:
            raise ValueError(f"bad {n}") from error

    try:
        inner(12)
    except ValueError:
        return traceback.format_exc()
    raise AssertionError


def test_a_python_traceback_says_its_last_exception_then_frames_then_causes():
    found = fingerprint(raised())
    assert found.error_type == "ValueError"
    assert found.template == "bad <num> at test_template.py:inner < test_template.py:raised caused by KeyError"
    assert (
        fingerprint("bad 9", "ValueError", stack=raised()).hash
        == fingerprint("bad 9", stack=f"bad 9\n{raised()}", error_type="ValueError").hash
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "TypeError: x is not a function\n    at foo (/a/b.js:1:2)\n    at async c.d (/a/c.js:3:4)\n    at node:internal/x:1:2",
            "TypeError: x is not a function at b.js:foo < c.js:c.d",
        ),
        (
            (
                'Exception in thread "main" java.lang.IllegalStateException: no\n\tat com.foo.Bar.baz(Bar.java:12)\n'
                "\tat java.lang.Thread.run(Thread.java:1)\nCaused by: java.io.IOException: x\n\tat com.Q.r(Q.java:1)\n\t... 12 more"
            ),
            "java.lang.IllegalStateException: no at com.foo.Bar:baz caused by IOException",
        ),
        (
            (
                "panic: index out of range [5]\n\ngoroutine 1 [running]:\nruntime.gopanic(0x1)\n\t/go/panic.go:1 +0x1\n"
                "main.foo(0x1, 0x2)\n\t/p/main.go:12 +0x1d\nmain.main()\n\t/p/main.go:5 +0x1d\n"
            ),
            "panic: index out of range [5] at main.go:main.foo < main.go:main.main",
        ),
        ("two lines\nno trace", "two lines\nno trace"),
        ('Traceback (most recent call last):\n  File "/a/b.py", line 3, in f\n', "at b.py:f"),
    ],
)
def test_traces_of_other_languages_take_the_same_form(text: str, line: str):
    assert condense(text) == line


def test_library_frames_count_only_where_there_are_no_others():
    text = 'Traceback (most recent call last):\n  File "/x/site-packages/q.py", line 3, in f\n    y()\nOSError: no'
    assert condense(text) == "OSError: no at q.py:f"
    ours = text.replace("  File", '  File "/app/main.py", line 1, in go\n    z()\n  File', 1)
    assert condense(ours) == "OSError: no at main.py:go"


HOSTILE = [
    " ",
    "\n",
    "a",
    "1",
    "a1",
    "/a",
    "a/",
    "1.",
    "::",
    "@a",
    "a@",
    "-1",
    "a_1-",
    "http://",
    "<",
    "'",
    "*",
    "\n\tat a",
    "1:1:",
    "Error(",
    '\n File "',
    "0x",
    ",1",
    ". ",
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_megabyte_costs_no_more_than_what_is_examined(piece: str):
    text = piece * (1_000_000 // len(piece))
    before = time.process_time()
    found = fingerprint(text, stack="Traceback (most recent call last)\n" + text)
    mask(text)
    assert time.process_time() - before < 5  # a bound, not a speed: backtracking over a megabyte takes minutes
    assert len(found.template) <= LONGEST

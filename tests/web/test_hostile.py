"""Malformed input, by list and by chance: never a 5xx, nothing blocks, what is refused is kept, good input goes on.

`RSI_HOSTILE=2000` runs the long form.
"""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("RSI_HOSTILE", "200"))
JSON = {"Content-Type": "application/json"}
ND = {"Content-Type": "application/x-ndjson"}
GOOD = {"task": "t", "success": True, "source": "good"}

#: Inputs that crashed, poisoned or fooled those who came before.
KNOWN = [
    b"", b" ", b"{", b"[", b"]", b"null", b"true", b"1", b'"x"', b"[1,2]", b"[null]", b"[[]]", b"[[[]]]", b"{}", b"[{}]",
    b'{"task": "t", "success": true, "quality": "bad"}', b'{"task": "t", "success": false, "error": 5}',
    b'{"task": "t", "success": false, "error": ["a"]}', b'{"task": "t", "success": "false"}',
    b'{"task": "t", "success": true, "issues": "rate_limit"}', b'{"task": {"a": 1}, "success": true}',
    b'{"task": "t", "success": true, "quality": NaN}', b'{"task": "t", "success": true, "quality": Infinity}',
    b'{"task": "t", "success": true, "cost_usd": 1e999}', b'{"task": "t", "success": true, "tokens_in": -1}',
    b'{"task": "t", "success": true, "ts": "the day after"}', b'{"task": "t", "success": true, "ts": 1e300}',
    b'{"task": "t", "success": true, "ts": -1e300}', b'{"task": "t", "success": true, "id": 5}',
    b'{"task": "t", "success": true, "id": "' + b"x" * 129 + b'"}', b'{"task": "\xff\xfe", "success": true}',
    b'{"task": "\\ud800", "success": true}', b'{"task": "t", "success": true, "attempt": 99999999999999999999999999}',
    b'{"task": "t", "success": true, "session": {}}', b'{"task": "t", "success": true, "metadata": ' + b'{"a":' * 5000 + b"1" + b"}" * 5001,
    b"[" * 100_000, b'{"a":' * 100_000, b'{"task": "t", "success": true} trailing', b'{"task": "t", "success": true}\n{"task": "t"}',
    b"\x00" * 100, b"\x1f\x8b\x08\x00garbage", b"PK\x03\x04", b"<xml/>", b"task=t&success=true", b"- yaml: true", b'{"task": 1e5, "success": true}',
    b'{"success": true}', b'{"task": "", "success": true}', b'{"task": "t", "success": true, "status": "failed"}',
    b'{"task": "t", "success": true, "fixes": [{"id": "f1", "arm": "x", "f": 1}]}', b'{"task": "t", "success": true, "fixes": {"id": 1}}',
]  # fmt: skip

#: Taken before, and it poisoned every later read: here it is taken, and harms nothing.
HARMLESS = [
    {"ts": 123}, {"ts": "2999-01-01"}, {"task": "x" * 100_000}, {"source": "'; DROP TABLE outcomes; --"}, {"error": "\u202e\x00\x1b[2J", "success": False},
    {"error": "a" * 900_000, "success": False}, {"metadata": {"__proto__": {"x": 1}, "": [], "\x00": None}}, {"tags": [""] * 1000},
    {"error": "(a+)+$" * 2000, "success": False}, {"error": "{{7*7}} ${jndi:ldap://x} <script>", "success": False}, {"source": "../../etc/passwd"},
    {"id": "\u200b"}, {"user": 2**53}, {"duration_ms": 0.0}, {"error": "", "success": False}, {"source": ""}, {"model": ""},
]  # fmt: skip


def still_fine(daemon):
    assert daemon.http.post("/v1/outcomes", json=GOOD).json()["accepted"] == 1
    for path in ("/health", "/patterns", "/v1/issues", "/metrics", "/v1/policy"):
        assert daemon.http.get(path).status_code == 200, path


@pytest.mark.parametrize("path", ["/v1/outcomes", "/observe"])
def test_known_hostile_bodies_are_refused_kept_and_harmless(shared, path):
    for headers in (JSON, ND):
        for body in KNOWN:
            before = shared.rejects(1)
            answer = shared.http.post(path, content=body, headers=headers)
            assert answer.status_code < 500, (body[:80], answer.text)
            after = shared.rejects(1)
            if (
                answer.status_code in (400, 413, 422)
                and not (path == "/observe" and headers is ND)
                and not body.lstrip().startswith(b"[")
            ):
                assert after != before, body[:80]
                assert after[-1].reason, body[:80]
    still_fine(shared)


def test_strange_but_lawful_outcomes_are_taken_and_poison_nothing(shared):
    for i, strange in enumerate(HARMLESS):
        answer = shared.http.post(
            "/v1/outcomes", json={"task": "t", "success": True, "source": "strange", "id": f"s{i}", **strange}
        )
        assert answer.status_code in (202, 422), (str(strange)[:80], answer.text[:300])
        if answer.status_code == 422:
            assert "id" in strange
    shared.pipeline.cycle()
    assert shared.pipeline.status()["behind"] == 0
    still_fine(shared)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = [
    "id",
    "ts",
    "source",
    "task",
    "task_type",
    "success",
    "error",
    "error_type",
    "kind",
    "duration_ms",
    "quality",
    "session",
    "attempt",
    "fixes",
    "status",
    "tags",
    "metadata",
    "issues",
    "input",
    "zzz",
]
shaped = st.dictionaries(st.sampled_from(FIELDS), anything, max_size=8) | st.fixed_dictionaries(
    {"task": st.text(max_size=9), "success": st.booleans()}, optional=dict.fromkeys(FIELDS[6:], anything)
)
documents = (shaped | st.lists(shaped | anything, max_size=5) | anything).map(lambda value: json.dumps(value).encode())
torn = st.tuples(documents, st.integers(0, 60), st.binary(max_size=3)).map(
    lambda t: t[0][: t[1]] + t[2] + t[0][t[1] + 1 :]
)
bodies = documents | torn | st.binary(max_size=60) | st.lists(documents | torn, max_size=4).map(b"\n".join)


@pytest.mark.campaign
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=bodies, headers=st.sampled_from([JSON, ND]), path=st.sampled_from(["/v1/outcomes", "/observe"]))
def test_no_body_at_all_leads_to_a_5xx_or_a_loss(shared, body, headers, path):
    before = shared.rejects(1)
    answer = shared.http.post(path, content=body, headers=headers)
    assert answer.status_code in (201, 202, 400, 413, 422), answer.text
    said = answer.json()
    refused = said.get("rejected", [])
    if answer.status_code >= 400:
        assert said["error"]
    if refused or answer.status_code == 400:
        assert shared.rejects(1) != before
    if path == "/v1/outcomes" and answer.status_code in (202, 422):
        assert said["accepted"] + said["duplicates"] == len(said["ids"])
    assert shared.http.post("/v1/outcomes", json=GOOD).status_code == 202


@pytest.mark.campaign
def test_after_all_that_everything_still_answers(shared):
    shared.pipeline.cycle()
    still_fine(shared)

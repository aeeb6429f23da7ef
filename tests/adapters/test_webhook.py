"""The HTTP door: what it takes, what it answers, and that nothing it refuses is lost."""

from __future__ import annotations

import gzip
import json

import httpx
import msgspec

from rsi.config import Config, Limits
from rsi.store import outcomes

ND = {"Content-Type": "application/x-ndjson"}
JSON = {"Content-Type": "application/json"}


def test_one_object_is_accepted_and_durable_when_answered(daemon):
    answer = daemon.http.post("/v1/outcomes", json={"id": "a", "task": "t", "success": True, "source": "s"})
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "duplicates": 0, "rejected": [], "ids": ["a"]})
    with daemon.store.read() as conn:
        assert outcomes.get(conn, "s", "a") is not None


def test_the_same_id_is_one_outcome(daemon):
    item = {"id": "a", "task": "t", "success": True, "source": "s"}
    daemon.http.post("/v1/outcomes", json=item)
    again = daemon.http.post("/v1/outcomes", json=[item, item, {**item, "source": "other"}])
    assert (again.json()["accepted"], again.json()["duplicates"]) == (1, 2)


def test_an_array_with_one_bad_item_takes_the_others(daemon):
    body = [
        {"task": "t", "success": True, "id": "x"},
        {"task": "t", "success": "false"},
        7,
        {"task": "t", "success": False, "id": "y"},
    ]
    answer = daemon.http.post("/v1/outcomes", json=body)
    assert answer.status_code == 202
    assert answer.json()["ids"] == ["x", "y"]
    assert [r["index"] for r in answer.json()["rejected"]] == [1, 2]
    assert answer.json()["rejected"][0]["error"] == 'outcome[1].success: expected true or false, got "false"'


def test_ndjson_gzip_and_many_members(daemon):
    lines = [json.dumps({"task": "t", "success": True, "id": str(i)}).encode() for i in range(4)]
    body = gzip.compress(b"\n".join(lines[:2]) + b"\n") + gzip.compress(b"\n".join(lines[2:]))
    answer = daemon.http.post("/v1/outcomes", content=body, headers={**ND, "Content-Encoding": "gzip"})
    assert answer.json()["ids"] == ["0", "1", "2", "3"]


def test_all_rejected_is_422_and_names_the_field(daemon):
    answer = daemon.http.post("/v1/outcomes", json={"task": "t", "success": True, "duration_ms": "fast"})
    assert answer.status_code == 422
    assert answer.json()["error"] == 'outcome.duration_ms: expected a number ≥ 0, got "fast"'
    assert answer.json()["field"] == "duration_ms"
    assert daemon.rejects()[-1].reason == answer.json()["error"]


def test_bad_json_is_400_and_kept_with_its_reason(daemon):
    answer = daemon.http.post("/v1/outcomes", content=b'{"task": oops', headers=JSON)
    assert answer.status_code == 400
    assert "not JSON" in answer.json()["error"]
    kept = daemon.rejects()[-1]
    assert (kept.door, kept.text) == ("webhook", '{"task": oops')
    assert "not JSON" in kept.reason


def test_a_form_is_415(daemon):
    answer = daemon.http.post("/v1/outcomes", data={"task": "t"})
    assert answer.status_code == 415
    assert "application/json" in answer.json()["error"]


def test_sizes_over_the_limit_are_413_and_name_it(serve):
    daemon = serve(Config(limits=Limits(outcome_bytes=1000, request_bytes=5000)))
    big = {"task": "t", "success": True, "input": "x" * 1500}
    one = daemon.http.post("/v1/outcomes", json=big)
    assert (one.status_code, "limits.outcome_bytes" in one.json()["error"]) == (413, True)
    batch = daemon.http.post("/v1/outcomes", json=[{"task": "t", "success": True}, big])
    assert (batch.status_code, batch.json()["accepted"], "limits.outcome_bytes" in batch.text) == (202, 1, True)
    whole = daemon.http.post("/v1/outcomes", json=[big] * 5)
    assert (whole.status_code, "limits.request_bytes" in whole.json()["error"]) == (413, True)
    bomb = gzip.compress(b"[" + b" " * 10_000_000 + b"]")
    packed = daemon.http.post(
        "/v1/outcomes", content=bomb[:4900] if len(bomb) > 5000 else bomb, headers={**JSON, "Content-Encoding": "gzip"}
    )
    assert packed.status_code in (400, 413)
    assert daemon.http.post("/v1/outcomes", json={"task": "t", "success": True}).status_code == 202


def test_a_gzip_bomb_is_cut_off(serve):
    daemon = serve(Config(limits=Limits(request_bytes=100_000)))
    bomb = gzip.compress(b" " * 50_000_000)
    answer = daemon.http.post("/v1/outcomes", content=bomb, headers={**JSON, "Content-Encoding": "gzip"})
    assert answer.status_code == 413
    assert "limits.request_bytes" in answer.json()["error"]


def test_what_is_not_gzip_is_400_and_kept(daemon):
    answer = daemon.http.post("/v1/outcomes", content=b"plain", headers={**JSON, "Content-Encoding": "gzip"})
    assert answer.status_code == 400
    assert "plain" in daemon.rejects()[-1].text
    cut = gzip.compress(json.dumps({"task": "t", "success": True}).encode())[:-9]
    assert (
        daemon.http.post("/v1/outcomes", content=cut, headers={**JSON, "Content-Encoding": "gzip"}).status_code == 400
    )
    assert daemon.http.post("/v1/outcomes", content=b"x", headers={**JSON, "Content-Encoding": "br"}).status_code == 415


def test_observe_answers_the_category_by_rules(daemon):
    answer = daemon.http.post(
        "/observe", json={"task": "api", "success": False, "error": "429 Too Many Requests", "id": "o1"}
    )
    assert (answer.status_code, answer.json()) == (201, {"id": "o1", "issues": ["rate_limit"]})
    fine = daemon.http.post("/observe", json={"task": "api", "success": True, "id": "o2"})
    assert fine.json() == {"id": "o2", "issues": []}
    shaped = {
        "task": "api",
        "success": False,
        "error": {"type": "RateLimitError", "message": "slow down", "status": 429},
    }
    assert daemon.http.post("/observe", json=shaped).json()["issues"] == ["rate_limit"]
    assert daemon.http.post("/observe", json=[shaped]).status_code == 422
    assert daemon.http.post("/observe", json={}).status_code == 422


def test_a_secret_is_not_stored_and_not_quoted(daemon):
    key = "sk-proj-" + "Ab3dEf6hIj9kLm2nOp5q" * 2
    daemon.http.post(
        "/v1/outcomes",
        json={
            "id": "s1",
            "source": "s",
            "task": "t",
            "success": False,
            "error": f"bad key {key}",
            "metadata": {"k": [key]},
            "tags": [key],
        },
    )
    refused = daemon.http.post("/v1/outcomes", json={"task": "t", "success": True, "kind": key})
    with daemon.store.read() as conn:
        stored = outcomes.get(conn, "s", "s1")
    assert stored is not None
    assert key.encode() not in msgspec.json.encode(stored.outcome)
    assert key not in refused.text
    assert all(key not in kept.text + kept.reason for kept in daemon.rejects())


def test_chunked_bodies_are_read_whole(daemon):
    def parts():
        yield b'[{"task": "t", "succ'
        yield b'ess": true, "id": "c"}]'

    assert daemon.http.post("/v1/outcomes", content=parts(), headers=JSON).json()["ids"] == ["c"]


def test_a_closed_store_is_503_and_nothing_is_acknowledged(daemon):
    daemon.store.close()
    answer = daemon.http.post("/v1/outcomes", json={"task": "t", "success": True})
    assert answer.status_code == 503
    assert "error" in answer.json()


def test_answers_are_json_with_a_length(daemon):
    answer = daemon.http.post("/v1/outcomes", json={"task": "t", "success": True})
    assert answer.headers["content-type"] == "application/json"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert isinstance(answer, httpx.Response)

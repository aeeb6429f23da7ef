"""The HTTP surface over a real server: routes, errors, auth, long polls, events, and that the docs cannot drift."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import threading

import httpx
import msgspec
import pytest

from rsi import clock
from rsi.config import AuthConfig, Config
from rsi.model import KNOBS
from rsi.web.reference import markdown
from rsi.web.table import Level

FAIL = {"source": "s", "task": "api", "success": False, "error": "429 Too Many Requests"}
CLIENT = "?source=s&enforces=retry,timeout_s,wings&client=c1"


def wait_for(condition, patience=10.0):
    until = clock.monotonic() + patience
    while not (found := condition()):
        assert clock.monotonic() < until, "never became true"
        clock.sleep(0.02)
    return found


def struck(daemon, n=5):
    """Some failures, analysed: the id of their issue."""
    assert daemon.http.post("/v1/outcomes", json=[FAIL] * n).status_code == 202
    daemon.pipeline.cycle()
    return daemon.http.get("/v1/issues").json()["issues"][0]["id"]


def test_failures_become_health_patterns_issues_and_metrics(daemon):
    issue = struck(daemon)
    health = daemon.http.get("/health").json()
    assert 0 <= health["health_score"] < 1
    assert set(health) >= {"health_score", "lo", "hi", "n", "state", "as_of", "sources"}
    assert list(health["sources"]) == ["s"]
    patterns = daemon.http.get("/patterns").json()
    assert patterns["health_score"] == pytest.approx(health["health_score"], abs=0.01)
    assert patterns["patterns"][0]["category"] == "rate_limit"
    assert daemon.http.get(f"/v1/issues/{issue}").json()["frequency"] == 5
    assert daemon.http.get("/v1/issues?category=auth").json()["issues"] == []
    state = daemon.http.get(f"/v1/issues/{issue}").json()["state"]
    assert (
        daemon.http.get(f"/v1/issues?q=Many&state={state}&limit=1&source=s&task=api").json()["issues"][0]["id"] == issue
    )
    lines = daemon.http.get("/metrics").text.splitlines()
    assert "rsi_up 1" in lines
    assert any(line.startswith('rsi_issues{state="') for line in lines)
    assert any(line.startswith('rsi_health_score{source="s"} 0.') for line in lines)
    assert "rsi_pipeline_ingest_accepted 5" in lines or "rsi_ingest_accepted 5" in lines


def test_every_line_of_the_metrics_is_well_formed(daemon):
    daemon.http.post("/v1/outcomes", json={**FAIL, "source": 'we"ird\\n{}'})
    daemon.pipeline.cycle()
    for line in daemon.http.get("/metrics").text.splitlines():
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            float(value)
            assert name.partition("{")[0].replace("_", "a").isalnum(), line


def test_people_decide_with_the_homes_secret(daemon):
    issue = struck(daemon)
    state = daemon.http.post(f"/v1/issues/{issue}/state", json={"state": "ignored"}, headers=daemon.boss)
    assert (state.status_code, state.json()["state"]) == (200, "ignored")
    assert daemon.http.post("/v1/pause", json=None, headers=daemon.boss).json() == {"paused": True}
    assert daemon.http.get("/v1/status").json()["paused"] is True
    assert daemon.http.post("/v1/resume", headers=daemon.boss).json() == {"paused": False}
    daemon.http.post("/v1/outcomes", json={**FAIL, "error": "401 invalid api key"})
    daemon.pipeline.cycle()
    other = next(each["id"] for each in daemon.http.get("/v1/issues").json()["issues"] if each["id"] != issue)
    merged = daemon.http.post("/v1/issues/merge", json={"a": issue, "b": other}, headers=daemon.boss)
    assert merged.status_code == 422, "another category is another thing"
    for fix in daemon.http.get("/v1/fixes").json()["fixes"]:
        assert daemon.http.get(f"/v1/fixes/{fix['id']}").json()["id"] == fix["id"]
    assert daemon.http.post("/v1/fixes/all/rollback", headers=daemon.boss).json() == {"fixes": []}


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nowhere", None, 404), ("GET", "/", None, 404), ("POST", "/v1/memories/search", {}, 404), ("GET", "/feedback", None, 404),
        ("POST", "/v1/traces", [], 400), ("GET", "/v1/issues/i999", None, 404), ("GET", "/v1/issues/x", None, 404),
        ("GET", "/v1/fixes/f999", None, 404), ("GET", "/v1/fixes/" + "9" * 300, None, 404), ("DELETE", "/health", None, 405),
        ("GET", "/v1/outcomes", None, 405), ("PUT", "/v1/issues", {}, 405), ("GET", "/v1/issues?limit=many", None, 422),
        ("GET", "/v1/issues?limit=0", None, 422), ("GET", "/v1/issues?limit=nan", None, 422), ("GET", "/v1/issues?cursor=%00%ff", None, 422),
        ("GET", "/v1/issues?state=happy", None, None), ("GET", "/v1/policy?wait=x", None, 422), ("GET", "/v1/policy?wait=1e9", None, 422),
        ("GET", "/v1/policy?source=" + "s" * 300, None, 422), ("POST", "/v1/issues/i1/state", {"state": "happy"}, 422),
        ("POST", "/v1/issues/merge", {}, 422), ("POST", "/v1/issues/merge", {"a": 1, "b": []}, 422), ("POST", "/v1/issues/merge", {"a": "i98", "b": "i99"}, 404),
        ("POST", "/v1/issues/split", {"id": "zzz"}, 404), ("POST", "/v1/fixes/f99/approve", {}, 404), ("POST", "/v1/fixes/f99/approve", {"now": "yes"}, 422),
        ("POST", "/v1/fixes/f99/reject", [1], 400), ("POST", "/v1/fixes/f99/reject", {}, 404), ("POST", "/v1/fixes/f99/rollback", None, 404),
        ("GET", "/health?source=%00", None, None), ("GET", "/v1/issues?q=%22*%20OR%20(", None, None), ("GET", "/v1/issues?source=%ff%fe", None, None),
        ("GET", "/v1/fixes?issue=%F0%9F%92%A9", None, None), ("GET", "/v1/issues/i99999999999999999999", None, 404),
    ],
)  # fmt: skip
def test_errors_have_our_shape_and_are_never_ours(shared, method, path, body, status):
    answer = shared.http.request(method, path, headers=shared.boss, **({"json": body} if body is not None else {}))
    assert answer.status_code < 500, answer.text
    assert status is None or answer.status_code == status, answer.text
    if answer.status_code >= 400:
        assert isinstance(answer.json()["error"], str)
    if answer.status_code == 405:
        assert answer.headers["allow"]


def test_a_bad_body_is_400_and_a_large_one_is_refused(shared):
    for body, status in ((b"{", 400), (b"\xff", 400), (b"[" * 100_000, 422), (b" " * 100_000, 422)):
        answer = shared.http.post(
            "/v1/issues/merge", content=body, headers={**shared.boss, "Content-Type": "application/json"}
        )
        assert answer.status_code == status


def test_healthz_names_the_home_and_readyz_asks_the_store(shared):
    found = shared.http.get("/healthz").json()
    assert (found["status"], found["home"]) == ("ok", str(shared.home.path))
    assert found["pid"] > 0
    assert found["version"]
    assert shared.http.get("/readyz").json() == {"status": "ready"}
    assert shared.http.head("/healthz").content == b""


# --- who may what


def test_privileged_routes_need_the_secret(shared):
    privileged = [entry for entry in shared.app.state.context.entries if entry.level is Level.PRIVILEGED]
    assert len(privileged) >= 8
    for entry in privileged:
        path = entry.path.replace("{id}", "x1")
        assert shared.http.post(path, json={}).status_code == 401, path
        wrong = shared.http.post(path, json={}, headers={"Authorization": "Bearer wrong"})
        assert wrong.status_code == 403, path
        assert "secret" in wrong.json()["error"]


def test_any_bearer_may_report_where_no_tokens_are_set(shared):
    answer = shared.http.post(
        "/v1/outcomes", json={"task": "t", "success": True}, headers={"Authorization": "Bearer whatever"}
    )
    assert answer.status_code == 202


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "localhost", "127.0.0.1:1", "", "localhost:{port}.evil.example", "[::1]:1"],
)
def test_a_foreign_host_is_refused(shared, host):
    answer = shared.http.get("/health", headers={"Host": host.format(port=shared.port)})
    assert answer.status_code in ({400, 403} if not host else {403})


def test_our_hosts_are_let_in(shared):
    for host in ("localhost", "127.0.0.1", "[::1]", "LocalHost"):
        assert shared.http.get("/health", headers={"Host": f"{host}:{shared.port}"}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:1", "file://", "http://127.0.0.1.evil.example:{port}"]
)
def test_a_foreign_origin_is_refused(shared, origin):
    for method, path in (("GET", "/health"), ("POST", "/v1/outcomes")):
        answer = shared.http.request(
            method,
            path,
            headers={"Origin": origin.format(port=shared.port), "Content-Type": "application/json"},
            content=b"{}",
        )
        assert answer.status_code == 403


def test_our_own_origin_is_let_in(shared):
    assert shared.http.get("/health", headers={"Origin": shared.url}).status_code == 200


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "application/json2"],
)
def test_a_write_must_be_data(shared, kind):
    answer = shared.http.post("/v1/outcomes", content=b'{"task":"t","success":true}', headers={"Content-Type": kind})
    assert answer.status_code == 415
    assert (
        shared.http.post(
            "/v1/outcomes",
            content=b'{"task":"t","success":true}',
            headers={"Content-Type": "Application/JSON; charset=utf-8"},
        ).status_code
        == 202
    )


def test_with_tokens_everybody_shows_one(serve):
    daemon = serve(Config(auth=AuthConfig(tokens=["alpha", "beta"])))
    item = {"task": "t", "success": True}
    for method, path in (
        ("GET", "/health"),
        ("GET", "/v1/issues"),
        ("POST", "/v1/outcomes"),
        ("GET", "/openapi.json"),
        ("GET", "/metrics"),
    ):
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Basic alpha"},
            {"Authorization": "Bearer"},
        ):
            answer = daemon.http.request(method, path, headers=headers, **({"json": item} if method == "POST" else {}))
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
    for token in ("alpha", "beta", daemon.home.secret()):
        headers = {"Authorization": f"Bearer {token}"}
        assert daemon.http.post("/v1/outcomes", json=item, headers=headers).status_code == 202
        assert daemon.http.post("/v1/pause", headers=headers).status_code == 200
    assert daemon.http.get("/healthz").json() == {"status": "ok"}
    assert daemon.http.get("/healthz", headers={"Authorization": "Bearer beta"}).json()["home"]
    proxied = {"Authorization": "Bearer alpha", "Host": "rsi.example.com"}
    assert daemon.http.get("/health", headers=proxied).status_code == 200
    assert daemon.http.get("/health", headers={**proxied, "Origin": "https://evil.example"}).status_code == 403


def signed(secret: bytes, body: bytes, *, at: float | None = None, ident: str = "msg_1") -> dict[str, str]:
    stamp = str(int(clock.now() if at is None else at))
    digest = hmac.new(secret, f"{ident}.{stamp}.".encode() + body, hashlib.sha256).digest()
    signature = "v1," + base64.b64encode(digest).decode()
    return {
        "webhook-id": ident,
        "webhook-timestamp": stamp,
        "webhook-signature": signature,
        "Content-Type": "application/json",
    }


def test_a_signature_may_report_and_nothing_else(serve):
    old, new = b"old-secret-bytes", b"new-secret-bytes"
    secrets = ["whsec_" + base64.b64encode(secret).decode() for secret in (old, new)]
    daemon = serve(Config(auth=AuthConfig(tokens=["alpha"], signing_secrets=secrets)))
    body = b'{"id": "w", "task": "t", "success": true, "source": "s"}'
    for secret in (old, new):
        assert daemon.http.post("/v1/outcomes", content=body, headers=signed(secret, body)).status_code == 202
    replayed = daemon.http.post("/observe", content=body, headers=signed(new, body))
    assert replayed.status_code == 201
    several = signed(new, body)
    several["webhook-signature"] = "v1,AAAA v2,x " + several["webhook-signature"] + " junk"
    assert daemon.http.post("/v1/outcomes", content=body, headers=several).json()["duplicates"] == 1
    bad = [
        signed(b"guess", body), signed(new, body, at=clock.now() - 301), signed(new, body, at=clock.now() + 301), signed(new, body + b" "),
        {**signed(new, body), "webhook-id": "other"}, {**signed(new, body), "webhook-timestamp": "soon"},
        {**signed(new, body), "webhook-signature": "v1,%%% v1"}, {**signed(new, body), "webhook-signature": ""},
    ]  # fmt: skip
    for headers in bad:
        assert daemon.http.post("/v1/outcomes", content=body, headers=headers).status_code == 401
    assert daemon.http.get("/health", headers=signed(new, b"")).status_code == 401
    assert daemon.http.post("/v1/pause", content=b"{}", headers=signed(new, b"{}")).status_code == 401


# --- policy


def test_the_policy_has_an_etag_and_the_client_is_known(daemon):
    first = daemon.http.get("/v1/policy" + CLIENT)
    assert first.status_code == 200
    assert set(first.json()) == {"version", "valid_until", "scopes", "experiments"}
    tag = first.headers["etag"]
    same = daemon.http.get("/v1/policy" + CLIENT, headers={"If-None-Match": tag})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    daemon.store.write(lambda _conn: None)
    with daemon.store.read() as conn:
        rows = conn.exec_driver_sql("SELECT client, source, task, enforces FROM clients").all()
    assert [tuple(row) for row in rows] == [("c1", "s", "", "retry,timeout_s")]
    assert "wings" not in KNOBS


def test_a_long_poll_ends_unchanged_after_its_time(daemon):
    tag = daemon.http.get("/v1/policy").headers["etag"]
    answer = daemon.http.get("/v1/policy" + CLIENT + "&wait=0.2", headers={"If-None-Match": tag})
    assert answer.status_code == 304


def test_a_long_poll_is_answered_when_the_policy_changes(daemon):
    tag = daemon.http.get("/v1/policy").headers["etag"]
    answers: list[httpx.Response] = []

    def poll() -> None:
        answers.append(httpx.get(f"{daemon.url}/v1/policy{CLIENT}&wait=30", headers={"If-None-Match": tag}, timeout=40))

    waiting = threading.Thread(target=poll)
    waiting.start()
    live = daemon.app.state.context.live
    wait_for(lambda: live.counts["polls"] == 1)
    daemon.pipeline._policy = msgspec.structs.replace(
        daemon.pipeline.policy(), version=daemon.pipeline.policy().version + 1
    )
    live.tell("policy", {})
    waiting.join(15)
    assert answers[0].status_code == 200
    assert answers[0].headers["etag"] != tag
    assert live.counts["polls"] == 0


def test_a_newer_poll_of_the_same_client_ends_the_older_and_closing_ends_all(daemon):
    tag = daemon.http.get("/v1/policy").headers["etag"]
    codes: list[int] = []

    def poll() -> None:
        codes.append(
            httpx.get(f"{daemon.url}/v1/policy{CLIENT}&wait=30", headers={"If-None-Match": tag}, timeout=40).status_code
        )

    threads = [threading.Thread(target=poll) for _ in range(2)]
    live = daemon.app.state.context.live
    threads[0].start()
    wait_for(lambda: live.counts["polls"] == 1)
    threads[1].start()
    wait_for(lambda: codes == [304])
    daemon._loop.call_soon_threadsafe(daemon.app.state.closing.set)
    for thread in threads:
        thread.join(15)
    assert codes == [304, 304]


# --- events


def events(response: httpx.Response):
    """(name, data) of each event of a stream."""
    name = ""
    for line in response.iter_lines():
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            yield name, json.loads(line[6:])


def test_events_are_streamed_with_their_names(daemon):
    with daemon.http.stream("GET", "/v1/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        wait_for(lambda: daemon.app.state.context.live.counts["streams"] == 1)
        httpx.post(f"{daemon.url}/v1/outcomes", json=[FAIL] * 3)
        daemon.pipeline.cycle()
        seen = set()
        for name, data in events(stream):
            assert isinstance(data, dict)
            seen.add(name)
            if {"issue", "health"} <= seen:
                break
    assert seen <= {"outcome", "issue", "fix", "verdict", "health"}
    wait_for(lambda: daemon.app.state.context.live.counts["streams"] == 0)


def test_a_client_that_does_not_read_is_dropped(daemon):
    raw = socket.create_connection(("127.0.0.1", daemon.port))
    raw.sendall(f"GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1:{daemon.port}\r\n\r\n".encode())
    live = daemon.app.state.context.live
    wait_for(lambda: live.counts["streams"] == 1)
    blob = {"text": "x" * 20_000}
    for _ in range(6000):
        live.tell("outcome", blob)
    wait_for(lambda: live.counts["dropped_streams"] == 1)
    assert live.counts["streams"] == 0
    assert daemon.http.get("/healthz").status_code == 200
    raw.close()


# --- what is described is what is there


def test_openapi_describes_exactly_the_routes(shared):
    described = shared.http.get("/openapi.json").json()
    told = {(method.upper(), path) for path, methods in described["paths"].items() for method in methods}
    assert told == {(entry.method, entry.path) for entry in shared.app.state.context.entries}
    assert len(told) == len(shared.app.state.context.entries)
    refs = {part.split('"')[0] for part in json.dumps(described).split('"$ref": "#/components/schemas/')[1:]}
    assert refs <= set(described["components"]["schemas"])


def test_every_route_that_openapi_tells_of_answers(shared):
    for path, methods in shared.http.get("/openapi.json").json()["paths"].items():
        for method in methods:
            if path == "/v1/events":
                continue
            answer = shared.http.request(
                method, path.replace("{id}", "zz9"), headers=shared.boss, **({"json": {}} if method == "post" else {})
            )
            assert answer.status_code not in (405, 500), path
            known = set(shared.http.get("/openapi.json").json()["paths"][path][method]["responses"])
            assert str(answer.status_code) in known, (path, answer.status_code)


def test_the_reference_is_what_the_routes_say(shared):
    from pathlib import Path

    page = Path(__file__).parents[2] / "docs" / "reference" / "http.md"
    assert page.read_text(encoding="utf-8") == markdown(shared.app.state.context.entries), (
        "run: python -m rsi.web.reference > docs/reference/http.md"
    )


def test_an_error_of_ours_is_a_500_in_our_shape_and_counted(daemon, monkeypatch, caplog):
    def breaks(*_args: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(daemon.pipeline, "policy_for", breaks)
    answer = daemon.http.get("/v1/policy")
    assert (answer.status_code, "error" in answer.json()) == (500, True)
    assert daemon.http.get("/v1/status").json()["web"]["errors"] == 1
    assert "GET /v1/policy failed" in caplog.text

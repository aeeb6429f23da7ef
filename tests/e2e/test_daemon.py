"""The daemon as people meet it: real processes, real HTTP, real files, real signals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx


def rsi(*args: str, home: Path, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("RSI_")}
    command = [sys.executable, "-m", "rsi", "--home", str(home), *args]
    return subprocess.run(command, capture_output=True, text=True, input=stdin, check=check, env=clean)


def test_sigterm_drains_commits_and_exits_zero(up):
    daemon = up()
    daemon.http.post("/v1/outcomes", json={"id": "a", "task": "t", "source": "s", "success": True})
    assert daemon.stop() == 0
    assert not (daemon.home / ".rsi" / "daemon.json").exists()
    assert json.loads(rsi("health", "--json", home=daemon.home).stdout)["sources"]["s"]


def test_a_long_poll_does_not_hold_up_the_stop(up):
    daemon = up()
    etag = httpx.get(f"{daemon.url}/v1/policy?source=s&enforces=retry").headers["etag"]
    query = f"{daemon.url}/v1/policy?source=s&enforces=retry&wait=30"
    script = f"import httpx; httpx.get({query!r}, headers={{'If-None-Match': {etag!r}}}, timeout=40)"
    with httpx.stream("GET", f"{daemon.url}/v1/events") as events:
        assert events.status_code == 200
        poll = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
        assert daemon.stop() == 0
    poll.wait(10)


def test_a_dropped_file_becomes_an_issue_and_health(up):
    daemon = up()
    lines = [
        {"task": "search", "source": "files", "success": i % 3 == 0, "error": "429 Too Many Requests"}
        for i in range(30)
    ]
    (daemon.inbox / "runs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    issues = daemon.until(lambda: daemon.http.get("/v1/issues?category=rate_limit").json()["issues"])
    daemon.until(
        lambda: 20 in [one["frequency"] for one in daemon.http.get("/v1/issues?category=rate_limit").json()["issues"]]
    )
    assert issues[0]["sources"] == ["files"]
    assert daemon.http.get("/health").json()["sources"]["files"]["state"] == "unhealthy"
    patterns = daemon.http.get("/patterns").json()
    assert patterns["patterns"][0]["category"] == "rate_limit"
    daemon.until(lambda: list((daemon.inbox / "done").rglob("*runs.jsonl")))


def test_failures_without_a_live_client_become_one_proposal_file(up):
    daemon = up()
    items = [{"task": "search", "source": "posts", "success": False, "error": "503 Service Unavailable"}] * 10
    for _ in range(3):
        daemon.http.post("/v1/outcomes", json=items)
    fixes = daemon.until(lambda: daemon.http.get("/v1/fixes").json()["fixes"])
    assert {fix["state"] for fix in fixes} == {"proposed"}
    assert any("live client" in rail for fix in fixes for rail in fix["rails"])
    files = daemon.until(lambda: list((daemon.home / "proposals").glob("*.md")))
    daemon.http.post("/v1/outcomes", json=items)
    daemon.until(lambda: 40 in [one["frequency"] for one in daemon.http.get("/v1/issues").json()["issues"]])
    assert len(list((daemon.home / "proposals").glob("*.md"))) == len(files)
    assert "rsi approve" in files[0].read_text()


def test_one_daemon_per_home_with_a_clear_message(up):
    daemon = up()
    second = rsi("up", "--port", "0", home=daemon.home, check=False)
    assert second.returncode != 0
    assert str(daemon.process.pid) in second.stderr
    assert "--home" in second.stderr


def test_a_foreign_host_without_tokens_is_refused(tmp_path):
    answer = rsi("up", "--host", "0.0.0.0", "--port", "0", home=tmp_path, check=False)
    assert answer.returncode == 2
    assert "auth.tokens" in answer.stderr


def test_once_takes_the_inbox_and_a_second_run_changes_nothing(tmp_path):
    (tmp_path / "rsi.yaml").write_text("worker: {enabled: false}\n")
    (tmp_path / "inbox").mkdir()
    lines = [{"task": "t", "source": "s", "success": False, "error": f"HTTP 500 from shard {i}"} for i in range(10)]
    (tmp_path / "inbox" / "a.json").write_text(json.dumps(lines))
    first = json.loads(rsi("up", "--once", "--json", home=tmp_path).stdout)
    assert first["cycle"]["outcomes"] == 10
    issues = rsi("issues", "--json", home=tmp_path).stdout
    assert len(json.loads(issues)["issues"]) == 1
    second = json.loads(rsi("up", "--once", "--json", home=tmp_path).stdout)
    assert second["cycle"]["outcomes"] == 0
    assert rsi("issues", "--json", home=tmp_path).stdout == issues


def test_observe_works_with_and_without_a_daemon(up):
    daemon = up()
    rsi("observe", "build", "--fail", "--error", "-", "--source", "cli", home=daemon.home, stdin="connection refused")
    daemon.until(lambda: daemon.http.get("/v1/issues?source=cli").json()["issues"])
    assert daemon.stop() == 0
    rsi("observe", "build", "--fail", "--error", "connection refused", "--source", "cli", home=daemon.home)
    found = json.loads(rsi("issues", "--source", "cli", "--json", home=daemon.home).stdout)["issues"]
    assert [issue["frequency"] for issue in found] == [2]


def test_reading_commands_work_in_an_empty_home(tmp_path):
    for command in ("issues", "fixes", "health", "policy"):
        answer = rsi(command, "--json", home=tmp_path)
        assert json.loads(answer.stdout) is not None
    assert rsi("issue", "i1", home=tmp_path, check=False).returncode == 1
    assert rsi("health", "--fail-under", "0.9", home=tmp_path, check=False).returncode == 1


def test_the_database_and_the_secret_are_private(up):
    daemon = up()
    state = daemon.home / ".rsi"
    assert state.stat().st_mode & 0o777 == 0o700
    assert (state / "secret").stat().st_mode & 0o777 == 0o600
    assert (state / "rsi.db").stat().st_mode & 0o077 == 0


def test_after_kill_nine_it_goes_on_where_it_was(up):
    daemon = up()
    items = [
        {"id": f"k{i}", "task": "t", "source": "s", "success": i % 2 == 0, "error": "ECONNRESET"} for i in range(50)
    ]
    assert daemon.http.post("/v1/outcomes", json=items).json()["accepted"] == 50
    daemon.kill()
    again = up()
    repeated = {"accepted": 0, "duplicates": 50, "rejected": [], "ids": [item["id"] for item in items]}
    assert again.http.post("/v1/outcomes", json=items).json() == repeated
    again.until(lambda: [one["frequency"] for one in again.http.get("/v1/issues").json()["issues"]] == [25])

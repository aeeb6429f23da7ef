"""Contract §6, sentence by sentence: what somebody's Python sees."""

from __future__ import annotations

import importlib
import inspect
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rsi
from rsi import clock
from rsi.client import Client
from rsi.enforce import guard, step
from rsi.stats import BeforeAfterTrial, ConcurrentTrial

HEAVY = ("numpy", "sqlalchemy", "alembic", "sklearn", "torch", "starlette", "uvicorn", "click", "apscheduler")
NOBODY = "http://127.0.0.1:9"
BLOCK = """
import rsi
rsi.record("search", success=False, error="429 Too Many Requests, key sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCDEF",
           source="my-agent")

@rsi.guard("search", idempotent=True)
def search(q): return q.upper()

assert search("hello") == "HELLO"
with rsi.step("plan", session="s7") as s:
    s.fail("no plan")
    headers = rsi.inject()
assert headers["traceparent"] and "rsi.unit=s7" in headers["baggage"]
with rsi.extract(headers):
    assert "rsi.unit=s7" in rsi.inject()["baggage"]

loop = rsi.RSILoop(home=".")
loop.record("search", success=False, error="429 Too Many Requests")
loop.run_cycle()
assert loop.health().n == 1
assert [issue.category for issue in loop.issues()] == ["rate_limit"]
assert loop.fixes() == []
loop.close()
"""


def python(code: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("RSI_", "PYTEST_"))}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=cwd, text=True, capture_output=True, check=False,
        env={**clean, "XDG_STATE_HOME": str(cwd / "state"), "RSI_URL": NOBODY, **env},
    )  # fmt: skip


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    for name in [name for name in os.environ if name.startswith("RSI_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    made = Client(url=NOBODY, source="app", enabled=True)
    yield made
    made.close(0.5)


def under(client: Client, *experiments: Any, **scope: Any) -> None:
    """Work under this policy from now on."""
    policy = {
        "version": 1,
        "valid_until": clock.iso(clock.now() + 600),
        "scopes": [{"source": "*", "task": "*"} | scope],
    }
    assert client.policies.take("app", policy | {"experiments": list(experiments)})


class Busy(Exception):
    status_code = 429


def test_the_block_of_the_contract_runs_with_nobody_there(tmp_path: Path):
    done = python(BLOCK, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    spooled = [json.loads(line) for file in tmp_path.rglob("*.ndjson") for line in file.read_text().splitlines()]
    assert {(item["task"], item["source"], item["success"]) for item in spooled} == {
        ("search", "my-agent", False), ("search", tmp_path.name, True), ("plan", tmp_path.name, False),
    }  # fmt: skip
    assert "sk-proj-abc" not in json.dumps(spooled)


@pytest.mark.parametrize("variable", ["RSI_DISABLE", "PYTEST_CURRENT_TEST"])
def test_switched_off_nothing_is_written_and_the_code_runs(tmp_path: Path, variable: str):
    done = python(BLOCK.partition("with rsi.step")[0], tmp_path, **{variable: "1"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(tmp_path.rglob("*"))


@pytest.mark.parametrize(
    "line",
    [
        "import rsi",
        "import rsi; rsi.guard; rsi.step; rsi.record; rsi.inject",
        "from rsi.analyze import classify, fingerprint; classify('429'); fingerprint('x 1')",
        "from rsi.stats import ConcurrentTrial, BeforeAfterTrial",
        "import rsi.auto",
    ],
)
def test_an_agent_carries_only_what_it_needs(tmp_path: Path, line: str):
    done = python(f"{line}\nimport sys\nprint([name for name in {HEAVY!r} if name in sys.modules])", tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_the_trials_need_the_standard_library_only(tmp_path: Path):
    code = "import rsi.stats, sys; print({'msgspec', 'yaml'} & set(sys.modules))"
    assert python(code, tmp_path).stdout.strip() == "set()"


def test_names_stay_functions_whatever_is_imported():
    for module in ("rsi.enforce", "rsi.classify", "rsi.analyze", "rsi.analyze.template", "rsi.client", "rsi.auto"):
        importlib.import_module(module)
    analyze = importlib.import_module("rsi.analyze")
    for function in (rsi.guard, rsi.step, rsi.record, rsi.inject, rsi.extract, analyze.classify, analyze.fingerprint):
        assert inspect.isfunction(function)
    assert inspect.isclass(rsi.RSILoop)


def test_signatures_are_those_of_the_contract():
    from rsi.analyze import classify

    assert list(inspect.signature(classify).parameters) == ["text", "error_type", "status", "provider"]
    category = classify("x", None, 503, "openai")
    assert (category.name, 0 < category.confidence <= 1, category.by) == ("overloaded", True, category.by)
    trial = ConcurrentTrial(fraction=0.5)
    assert list(inspect.signature(trial.add).parameters)[:4] == ["arm", "unit", "failed", "fraction"]
    trial.add("fixed", "u1", False)
    trial.set_fraction(0.9)
    assert trial.add("control", "u2", True, fraction=0.5) == "undecided"
    kept = json.loads(json.dumps(trial.to_dict()))
    assert ConcurrentTrial.from_dict(kept).to_dict() == trial.to_dict()
    before = BeforeAfterTrial()
    for group in ("treated", "untouched"):
        for when in ("before", "after"):
            verdict = before.add(group, when, f"{group}{when}", False)
    assert verdict == "undecided"
    assert BeforeAfterTrial.from_dict(json.loads(json.dumps(before.to_dict()))).to_dict() == before.to_dict()


@pytest.mark.parametrize("written", ["order-123", "order-<n>", "order-9"])
def test_a_guard_with_a_number_in_its_name_obeys_the_scope_that_is_stored_for_it(client: Client, written: str):
    under(client, task=written, retry={"max_attempts": 3, "initial_s": 0, "on": ["rate_limit"]})
    calls: list[int] = []

    @guard("order-123", idempotent=True, client=client)
    def order() -> int:
        calls.append(1)
        if len(calls) < 3:
            raise Busy("429 Too Many Requests")
        return len(calls)

    assert order() == 3


def test_rsi_yaml_may_name_a_task_as_the_code_does(tmp_path: Path, client: Client):
    (tmp_path / "rsi.yaml").write_text(
        "sources: {app: {idempotent: [order-123]}}\npolicy: [{source: app, task: order-123, timeout_s: 3}]\n"
    )
    again = Client(url=NOBODY, home=tmp_path, source="app", enabled=True)
    try:
        guarded = guard("order-123", client=again)(lambda: None)
        guarded()
        assert again.config.sources["app"].idempotent == ["order-<n>"]
    finally:
        again.close(0.5)
    with rsi.RSILoop(tmp_path) as loop:
        assert [scope.task for scope in loop.policy().scopes] == ["order-<n>"]


def test_every_enforcement_logs_one_line(client: Client, caplog: pytest.LogCaptureFixture):
    salt = "any"
    under(
        client,
        {"fix": "f12", "state": "canary", "stage": 1, "salt": salt, "fraction": 1.0, "source": "*", "task": "*",
         "knobs": ["retry"], "patch": {"retry": {"max_attempts": 4, "initial_s": 0, "on": ["rate_limit"]}}},
    )  # fmt: skip
    errors: list[Exception] = [Busy("429")]

    @guard("search", idempotent=True, inner_retries=1, client=client)
    def search() -> str:
        if errors:
            raise errors.pop()
        return "found"

    with caplog.at_level(logging.INFO, logger="rsi"):
        assert search() == "found"
    assert [record.getMessage() for record in caplog.records if "retry" in record.getMessage()] == [
        "retry 2/4 search (fix f12, fixed)"
    ]


@pytest.mark.parametrize(
    ("status", "tries"), [(400, 1), (401, 1), (404, 1), (422, 1), (408, 3), (409, 3), (429, 3), (503, 3)]
)
def test_no_4xx_is_retried_but_408_409_and_429(client: Client, status: int, tries: int):
    every = [
        "rate_limit",
        "overloaded",
        "provider_5xx",
        "timeout_model",
        "timeout_tool",
        "state_conflict",
        "connection",
    ]
    under(client, retry={"max_attempts": 3, "initial_s": 0, "on": every})
    made: list[int] = []

    @guard("ask", idempotent=True, inner_retries=1, client=client)
    def ask() -> None:
        made.append(1)
        error = Busy(f"HTTP {status}")
        error.status_code = status
        raise error

    with pytest.raises(Busy):
        ask()
    assert len(made) == tries


def test_a_sync_timeout_is_offered_only_through_timeout_arg(client: Client):
    def plain(timeout: float = 9.0) -> float:
        return timeout

    under(client, timeout_s=2.5)
    assert guard("a", client=client)(plain)() == 9.0
    assert guard("b", client=client, timeout_arg="timeout")(plain)() == 2.5


def test_a_stream_is_not_retried_after_its_first_item(client: Client):
    under(client, retry={"max_attempts": 3, "initial_s": 0, "on": ["rate_limit"]})
    opened: list[int] = []

    @guard("stream", idempotent=True, inner_retries=1, client=client)
    def stream(fails_at: int) -> Iterator[int]:
        opened.append(1)
        for n in range(3):
            if n == fails_at and len(opened) < 3:
                raise Busy("429")
            yield n

    assert list(stream(0)) == [0, 1, 2]
    assert len(opened) == 3
    opened.clear()
    with pytest.raises(Busy):
        list(stream(1))
    assert len(opened) == 1


def test_inside_an_open_run_everything_shares_its_unit_and_names_its_parent(client: Client):
    kept: list[Any] = []
    client.put = kept.append  # type: ignore[method-assign]

    @guard("fetch", client=client)
    def fetch() -> None:
        client.record("note", success=True)

    with step("plan", session="s1", client=client) as outer:
        fetch()
    note, fetched, plan = (item if not hasattr(item, "item") else item.item() for item in kept)
    assert (plan.kind, plan.parent, plan.session) == ("task", None, "s1")
    assert (fetched.kind, fetched.parent, fetched.session) == ("tool", outer.id or plan.id, "s1")
    assert (note["kind"], note["parent"], note["session"]) == ("step", fetched.id, "s1")


def test_the_loop_in_a_process_takes_what_the_contract_names(tmp_path: Path):
    with rsi.RSILoop(home=tmp_path) as loop:
        for n in range(4):
            loop.record(
                "search", success=n > 1, error=None if n > 1 else "429 Too Many Requests", id=f"r{n}", session="s"
            )
        report = loop.run_cycle()
        assert report.outcomes == 4
        assert loop.health("nobody").state == "unknown"
        assert [issue.frequency for issue in loop.issues(category="rate_limit")] == [2]
        assert loop.run_cycle().outcomes == 0

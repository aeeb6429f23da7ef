"""What a process does to its client: it ends, it forks, it is killed while the daemon hangs. In real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from agent_kit import Daemon, wait_for

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


def run(code: str, tmp_path: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """A script in an environment of its own; with a limit, so that a hanging exit is a failure."""
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(code))
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("RSI_", "PYTEST"))}
    return subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        env=clean | {"XDG_STATE_HOME": str(tmp_path / "state")} | env,
        cwd=tmp_path / "agent",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def spooled(tmp_path: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line) for file in (tmp_path / "state").rglob("*.ndjson") for line in file.read_text().splitlines()
    ]


def test_what_is_queued_at_exit_is_sent(daemon: Daemon, tmp_path: Path) -> None:
    code = """
        import rsi
        for n in range(50):
            rsi.record("t", True, source="app", run=str(n))
    """
    done = run(code, tmp_path, RSI_URL=daemon.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(daemon.items(task="t")) == 50


@pytest.mark.parametrize("how", ["raise SystemExit(3)", "raise ValueError('host')"])
def test_also_when_the_host_ends_badly(daemon: Daemon, tmp_path: Path, how: str) -> None:
    done = run(f"import rsi\nrsi.record('t', True, source='app')\n{how}\n", tmp_path, RSI_URL=daemon.url)
    assert done.returncode in (1, 3)
    assert len(daemon.items(task="t")) == 1


def test_a_hanging_daemon_does_not_hold_the_exit_and_loses_nothing(daemon: Daemon, tmp_path: Path) -> None:
    daemon.mode = "hang"
    code = """
        import rsi
        @rsi.guard("t", source="app")
        def t(): return 1
        for n in range(50):
            assert t() == 1
    """
    done = run(code, tmp_path, RSI_URL=daemon.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert len({item["id"] for item in spooled(tmp_path)}) == 50


def test_what_is_recorded_while_the_interpreter_ends_is_kept(tmp_path: Path) -> None:
    code = """
        import atexit
        import rsi
        rsi.status()                       # the client is there, its thread is not
        rsi.record("first", True)
    """
    done = run(code, tmp_path, RSI_URL="http://127.0.0.1:9")
    assert (done.returncode, done.stderr) == (0, "")
    assert [item["task"] for item in spooled(tmp_path)] == ["first"]


@posix
def test_a_forked_child_has_its_own_queue_sender_and_id(daemon: Daemon, tmp_path: Path) -> None:
    code = """
        import os, sys
        import rsi
        from rsi.client import default_client
        @rsi.guard("work", idempotent=True, source="app")
        def work(n): return n
        work(0)
        rsi.record("parent", True, source="app")
        before = default_client().id
        children = []
        for n in range(3):
            pid = os.fork()
            if pid == 0:
                assert default_client().id != before
                assert len(default_client()._sender) == 0
                work(n)
                rsi.record("child", True, source="app", run=default_client().id)
                ok = rsi.flush(5)
                os._exit(0 if ok else 9)
            children.append(pid)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
        assert codes == [0, 0, 0], codes
        work(9)
        assert default_client().id == before
    """
    done = run(code, tmp_path, RSI_URL=daemon.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(daemon.items(task="parent")) == 1
    assert len({item["run"] for item in daemon.items(task="child")}) == 3
    assert len(daemon.items(task="work")) == 5
    assert sum(len(post) for post in daemon.posts) == len(daemon.received)  # nothing twice


@posix
def test_a_child_forked_in_the_middle_of_anything_goes_on(daemon: Daemon, tmp_path: Path) -> None:
    code = """
        import os, signal, sys, threading, time
        sys.setswitchinterval(1e-5)
        import rsi
        from rsi.enforce.breaker import Breaker
        from rsi.enforce.gate import Gate
        from rsi.enforce.watched import Watched
        watched, gate, breaker = Watched(source="app"), Gate(), Breaker()
        def once():
            key = object()
            watched.begin(key, "t")
            watched.end(key)
            gate.wait(3)
            gate.leave()
            breaker.admit("t", 3, 1.0)
        def spin():
            while True:
                once()
        for _ in range(4):
            threading.Thread(target=spin, daemon=True).start()
        watched.begin("open", "parents")
        for _ in range(60):
            pid = os.fork()
            if pid == 0:
                signal.alarm(10)
                assert len(watched) == 0
                once()
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        os._exit(0)
    """
    done = run(code, tmp_path, RSI_URL=daemon.url)
    assert done.returncode == 0, done.stderr


@posix
def test_a_multiprocessing_child_flushes_although_it_runs_no_atexit(daemon: Daemon, tmp_path: Path) -> None:
    code = """
        import multiprocessing
        import rsi
        def work(n):
            rsi.record("pooled", True, source="app", run=str(n))
        if __name__ == "__main__":
            rsi.record("parent", True, source="app")
            context = multiprocessing.get_context("fork")
            children = [context.Process(target=work, args=(n,)) for n in range(3)]
            for child in children: child.start()
            for child in children: child.join()
    """
    done = run(code, tmp_path, RSI_URL=daemon.url)
    assert done.returncode == 0, done.stderr
    wait_for(lambda: len(daemon.items(task="pooled")) == 3)


def test_the_agents_side_loads_nothing_heavy(tmp_path: Path) -> None:
    code = """
        import sys
        import rsi
        assert "rsi.client" not in sys.modules, "import rsi is lazy"
        from rsi.analyze import classify
        rsi.guard("t")(print)
        rsi.record, rsi.step, rsi.inject, rsi.extract
        import rsi.enforce
        assert callable(rsi.guard) and callable(rsi.enforce.guard)
        assert classify("429 Too Many Requests").name == "rate_limit"
        heavy = {"numpy", "sqlalchemy", "sklearn", "torch", "starlette", "uvicorn", "alembic", "click"} & set(sys.modules)
        assert not heavy, heavy
    """
    done = run(code, tmp_path, RSI_DISABLE="1")
    assert (done.returncode, done.stderr) == (0, "")


def test_switched_off_nothing_is_started_sent_or_written(daemon: Daemon, tmp_path: Path) -> None:
    code = """
        import threading
        import rsi
        @rsi.guard("t")
        def t(): return 1
        rsi.record("t", False)
        with rsi.step("s") as s:
            assert s.id is None
            assert t() == 1
        assert rsi.inject() == {}
        assert threading.active_count() == 1
    """
    done = run(code, tmp_path, RSI_URL=daemon.url, RSI_DISABLE="1")
    assert (done.returncode, done.stderr) == (0, "")
    assert daemon.requests == []
    assert not (tmp_path / "state").exists()

"""Whoever works under a policy has the rules read in a thread of its own, and a failure waits for no more than that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from agent_kit import Daemon

RETRY = {"max_attempts": 3, "initial_s": 0.0, "on": ["rate_limit"]}
#: An agent that counts who loads the rules, and the threads in which that happens.
AGENT = """
    import json, sys, threading
    import rsi.classify
    whole, loaded = rsi.classify.load, []

    def load(*args, **more):
        loaded.append(threading.current_thread().name)
        before_loading()
        return whole(*args, **more)

    rsi.classify.load = load
    before_loading = lambda: None
    import rsi
    from rsi.client import default_client

    calls = []

    @rsi.guard("search", idempotent=True)
    def search():
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("429 Too Many Requests")
        return "found"

    def warmed():
        for thread in threading.enumerate():
            if thread.name == "rsi-rules":
                thread.join()

    def policy():
        document = {"version": 1, "valid_until": "2999-01-01T00:00:00Z",
                    "scopes": [{"source": "*", "task": "*", "origin": {}, "retry": %s}], "experiments": []}
        assert default_client().policies.take("app", document)

    def tell():
        print(json.dumps({"loaded": loaded, "calls": len(calls)}))
""" % json.dumps(RETRY)  # noqa: UP031 - the text has braces of its own


def run(code: str, tmp_path: Path, daemon: Daemon) -> Any:
    """What the agent tells when it has run `code`."""
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(AGENT) + textwrap.dedent(code), encoding="utf-8")
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("RSI_", "PYTEST"))}
    here = {"XDG_STATE_HOME": str(tmp_path / "state"), "RSI_URL": daemon.url, "RSI_SOURCE": "app"}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        env=clean | here,
        cwd=tmp_path / "agent",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return json.loads(done.stdout)


def test_the_first_failure_under_a_policy_loads_nothing_in_the_agents_thread(daemon: Daemon, tmp_path: Path) -> None:
    told = run("policy(); warmed(); search(); tell()", tmp_path, daemon)
    assert told == {"loaded": ["rsi-rules"], "calls": 2}


def test_a_policy_that_was_kept_on_disk_warms_as_well(daemon: Daemon, tmp_path: Path) -> None:
    run("policy(); warmed(); tell()", tmp_path, daemon)
    daemon.mode = "hang"  # nothing but what was kept
    told = run(
        """
        default_client().want("app", "search", {"retry"})
        warmed()
        search()
        tell()
        """,
        tmp_path,
        daemon,
    )
    assert told == {"loaded": ["rsi-rules"], "calls": 2}


def test_a_failure_in_the_middle_of_the_loading_waits_for_it_and_gets_its_retry(daemon: Daemon, tmp_path: Path) -> None:
    told = run(
        """
        begun, failed = threading.Event(), threading.Event()

        def before_loading():
            begun.set()
            failed.wait()

        import rsi.enforce.call as call
        category_of = call.category_of

        def asked(*args):
            failed.set()
            return category_of(*args)

        call.category_of = asked
        policy()
        begun.wait()
        assert search() == "found"
        tell()
        """,
        tmp_path,
        daemon,
    )
    assert told == {"loaded": ["rsi-rules"], "calls": 2}


@pytest.mark.parametrize(
    "code", ["import rsi; tell()", "search.__wrapped__; rsi.record('t', True); rsi.flush(); tell()"]
)
def test_nothing_is_loaded_where_no_policy_asks(daemon: Daemon, tmp_path: Path, code: str) -> None:
    assert run(code, tmp_path, daemon)["loaded"] == []


def test_what_was_worked_out_waits_in_the_state_folder_for_the_next_process(daemon: Daemon, tmp_path: Path) -> None:
    run("policy(); warmed(); tell()", tmp_path, daemon)
    (kept,) = (tmp_path / "state" / "rsi").glob("rules-*.bin")
    assert kept.stat().st_mode & 0o777 == 0o600
    read = "import rsi.rules.loader as l; l._read = None\n"  # reading the files again would fail
    assert run(read + "policy(); warmed(); search(); tell()", tmp_path, daemon)["calls"] == 2

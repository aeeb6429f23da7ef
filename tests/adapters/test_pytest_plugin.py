"""`pytest --rsi` reports a test run as one task and its failing tests as steps; without it nothing is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from agent_kit import running

TESTS = """
import sys
import pytest

def test_good(): pass

@pytest.mark.parametrize("n", [1, 2])
def test_bad(n):
    assert n == 0

@pytest.mark.xfail
def test_expected(): assert False

@pytest.fixture
def broken(): raise OSError("no disk")

def test_setup(broken): pass

def test_loaded(): print("LOADED", "rsi.client" in sys.modules)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "test_it.py").write_text(TESTS)
    return tmp_path / "shop"


def pytest_in(project: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("RSI_", "PYTEST"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *args, "test_it.py"],
        cwd=project,
        env=clean | {"XDG_STATE_HOME": str(project.parent / "state")} | env,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def test_failing_tests_are_steps_of_one_task(project: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    with running(tmp_path / "home") as daemon:
        done = pytest_in(project, "--rsi", "--rsi-source", "shop-ci", RSI_URL=daemon.url)
        items = [item for post in daemon.posts for item in post]
    assert done.returncode == 1
    *steps, run = items
    assert [(s["task"], s["status"], s["source"]) for s in steps] == [
        ("test_it.py::test_bad", "failed", "shop-ci"),
        ("test_it.py::test_bad", "failed", "shop-ci"),
        ("test_it.py::test_setup", "failed", "shop-ci"),
    ]
    assert steps[2]["error"]["message"].startswith("OSError: no disk")
    assert {s["parent"] for s in steps} == {run["id"]}
    assert (run["task"], run["kind"], run["status"], run["error"]["message"]) == (
        "pytest",
        "task",
        "failed",
        "3 tests failed",
    )
    assert "rsi: 4 outcomes sent, 0 spooled (shop-ci)" in done.stdout


def test_a_clean_run_is_a_success(project: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    with running(tmp_path / "home") as daemon:
        assert pytest_in(project, "--rsi", "-k", "good", RSI_URL=daemon.url).returncode == 0
        (run,) = [item for post in daemon.posts for item in post]
    assert (run["task"], run["success"], run["source"]) == ("pytest", True, "shop")


def test_a_file_that_cannot_be_imported_is_a_failure(project: Path, tmp_path: Path) -> None:
    (project / "test_it.py").write_text("import no_such_module\n")
    (tmp_path / "home").mkdir()
    with running(tmp_path / "home") as daemon:
        assert pytest_in(project, "--rsi", RSI_URL=daemon.url).returncode == 2
        step, run = [item for post in daemon.posts for item in post]
    assert "no_such_module" in step["error"]["message"]
    assert run["status"] == "failed"


def test_a_look_at_what_there_is_is_no_test_run(project: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    with running(tmp_path / "home") as daemon:
        done = pytest_in(project, "--rsi", "--collect-only", RSI_URL=daemon.url)
        assert (done.returncode, daemon.posts) == (0, [])


def test_without_the_option_nothing_is_loaded_or_sent(project: Path, tmp_path: Path) -> None:
    done = pytest_in(project, "-s", "-k", "loaded")
    assert "LOADED False" in done.stdout
    assert not (tmp_path / "state").exists()

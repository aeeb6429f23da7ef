"""Ordinary work runs inside: tests with many processes, compilers, node, git, a venv of an interpreter under the home."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from attacks.keeper import MODES, started
from attacks.scenes_work import TOOLS


@pytest.fixture(scope="module", params=MODES)
def keeper(request):
    made = started(request.param)
    yield made
    made.close()


def _needs(*programs):
    for program in programs:
        if shutil.which(program, path=TOOLS) is None:
            pytest.skip(f"no {program} here")


def test_a_test_suite_with_many_processes(keeper):
    found = keeper.scene("tests_with_processes", packages=str(Path(pytest.__file__).parent.parent))
    assert "3 passed" in found["out"], found
    assert found["host"] == ["test_it.py"]


def test_a_compiler_and_what_it_made(keeper):
    _needs("gcc")
    found = keeper.scene("compile_and_run")
    assert (found["returncode"], found["out"]) == (0, "42\n"), found


def test_node(keeper):
    _needs("node")
    found = keeper.scene("run_node")
    assert (found["returncode"], found["out"]) == (0, "42 true\n"), found


def test_git_reads_and_does_not_write(keeper):
    _needs("git")
    found = keeper.scene("use_git")
    assert found["status"] == " M kept\n?? new\n"
    assert "+changed" in found["diff"]
    assert "first" in found["log"]
    assert found["commit"] != 0
    assert "Read-only file system" in found["why"]
    assert found["another"] == "made elsewhere\n", found
    assert found["stash"] != 0
    assert found["host"] == "first\n"


def test_a_worktree_of_a_repository_elsewhere(keeper):
    _needs("git")
    found = keeper.scene("use_a_worktree")
    assert found["alone"] != 0
    assert found["with the repository shown"] == "first\n"


def test_a_venv_whose_interpreter_lies_under_the_home(keeper):
    found = keeper.scene("use_a_venv")
    assert found["out"].split() == ["3", found["venv"]], found
    assert found["home"] == [found["seen"]]


def test_terminals_threads_sockets_and_locks_of_its_own(keeper):
    found = keeper.scene("own_things")
    assert found["out"].split() == ["pty", "loopback", "unix", "shm", "lock", "semaphore", "fifo", "sqlite"], found

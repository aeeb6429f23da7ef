"""Which non-zero exits are normal work, by the program that ended a command and its exit code."""

from __future__ import annotations

import pytest

from rsi.classify import classify
from rsi_adapters.claude_code.normal import judge

ANSWERS = [
    ("grep foo x", "Exit code 1"),
    ("cd src && grep -rn foo .", "Exit code 1"),
    ("cat f | rg x", "Exit code 1"),
    ("diff a b", "Exit code 1\n1c1\n< a\n> b"),
    ("git diff --exit-code", "Exit code 1\n+a"),
    ("[ -f x ]", "Exit code 1"),
    ("test -d y", "Exit code 1"),
    ("LC_ALL=C timeout 5 /usr/bin/grep x y 2>/dev/null", "Exit code 1"),
]
RED = [
    ("pytest -q 2>&1", "Exit code 1\nFAILED tests/test_a.py"),
    ("FOO=1 timeout 60 uv run pytest -q", "Exit code 1"),
    ("python3 -m unittest", "Exit code 1"),
    ("npm test", "Exit code 1"),
    ("npm run test:unit", "Exit code 1"),
    ("npx vitest run", "Exit code 1"),
    ("cargo test", "Exit code 101"),
    ("go test ./...", "Exit code 1"),
    ("cd app && make check", "Exit code 2"),
    ("bundle exec rspec", "Exit code 1"),
]
FAILURES = [
    ("grep x y", "Exit code 2\ngrep: y: No such file or directory"),
    ("cd nowhere && grep x y", "Exit code 1\nbash: cd: nowhere: No such file or directory"),
    ("npm run build", "Exit code 1"),
    ("make", "Exit code 2"),
    ("pytest", "Exit code 4\nno such option"),
    ("pytest", "Exit code 127\npytest: command not found"),
    ("grep x y; exit 3", "Exit code 3"),
    ("echo 'grep'", "Exit code 1"),
    ("cat <<'EOF'\nit's open", "Exit code 1"),
    ("", "Exit code 1"),
    ("grep x y", "no exit code at all"),
]


@pytest.mark.parametrize(("command", "error"), ANSWERS)
def test_an_exit_code_that_says_no_is_an_answer(command: str, error: str) -> None:
    """And the rules take our sentence for no failure."""
    work = judge("Bash", {"command": command}, error)
    assert work.kind == "answer"
    assert classify(work.says).name == "not_a_failure"


@pytest.mark.parametrize(("command", "error"), RED)
def test_red_tests_are_normal_while_somebody_edits(command: str, error: str) -> None:
    """Not known yet: red. Edited: normal. Nothing edited: a failure."""
    assert judge("Bash", {"command": command}, error).kind == "red"
    normal = judge("Bash", {"command": command}, error, editing=True)
    assert classify(normal.says).name == "not_a_failure"
    assert judge("Bash", {"command": command}, error, editing=False).kind == "failure"


@pytest.mark.parametrize(("command", "error"), FAILURES)
def test_everything_else_is_a_failure(command: str, error: str) -> None:
    """Also what only looks alike."""
    assert judge("Bash", {"command": command}, error).kind == "failure"


def test_other_tools_and_odd_inputs_are_failures() -> None:
    """Only a shell has exit codes; what is no command is not read."""
    assert judge("Read", {"file_path": "/x"}, "File does not exist.").kind == "failure"
    assert judge("Bash", None, "Exit code 1").exit_code == 1
    assert judge("Bash", {"command": 7}, "Exit code 1").kind == "failure"
    assert judge("Bash", {"command": "grep x y " + "z" * 30_000}, "Exit code 1").kind == "failure"

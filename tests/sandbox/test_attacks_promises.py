"""What docs/sandbox.md promises is proven by tests that are there, and what it names is what the code has."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from rsi.sandbox import Isolation, Limits
from rsi.sandbox.choose import KNOWN

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "sandbox.md").read_text()
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
_PROGRAM = re.compile(r"`(\w+\.py)`[,)]")


def _tests(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def test_every_test_that_is_named_is_there():
    named = _TEST.findall(PAGE)
    assert len(named) > 30
    assert [
        f"{path}::{name}" for path, name in named if not (ROOT / path).exists() or name not in _tests(ROOT / path)
    ] == []


def test_every_promise_has_a_test():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and "promise | test" not in line]
    promises = rows[rows.index(next(row for row in rows if row.startswith("| Files outside"))) :]
    promises = promises[: promises.index(next(row for row in promises if "`killed_by`" in row))]
    assert [row for row in promises if not _TEST.search(row) and "the same (" not in row] == []


def test_every_program_of_attacks_is_named():
    folder = ROOT / "tests" / "sandbox" / "attacks" / "programs"
    programs = {path.name for path in folder.glob("*.py")} - {"kit.py", "__main__.py"}
    assert programs == set(_PROGRAM.findall(PAGE)) & programs


def test_every_back_end_flag_and_limit_is_described():
    head = next(line for line in PAGE.splitlines() if line.startswith("| |"))
    assert [name for name in KNOWN if name not in head] == []
    assert [name for name in (*Isolation.__struct_fields__, *Limits.__struct_fields__) if f"`{name}`" not in PAGE] == []


def test_every_environment_variable_is_described():
    found = {
        name
        for path in (ROOT / "rsi" / "sandbox").rglob("*.py")
        for name in re.findall(r"\bRSI_[A-Z_]+\b", path.read_text())
    }
    assert {name for name in found if name != "RSI_PROBE_SECRET"} <= set(re.findall(r"RSI_[A-Z_]+", PAGE))


def test_the_code_of_the_page_is_python():
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        compile(block, "docs/sandbox.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)

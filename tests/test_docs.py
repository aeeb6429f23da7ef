"""The documents say what the code does."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_generated_pages_are_up_to_date():
    generate = runpy.run_path(str(ROOT / "docs" / "generate.py"))
    for name, page in generate["PAGES"].items():
        assert (ROOT / "docs" / "reference" / name).read_text() == page(), f"run: python docs/generate.py ({name})"


def test_every_command_has_an_example():
    text = (ROOT / "docs" / "reference" / "cli.md").read_text()
    sections = text.split("\n## ")[1:]
    groups = {"rsi rules"}
    missing = [s.splitlines()[0] for s in sections if "Example:" not in s and s.splitlines()[0] not in groups]
    assert not missing


def test_committed_files_name_no_path_of_a_machine():
    folders = ("rsi", "adapters", "rules", "docs", "benchmarks", "inbox")
    bad = []
    for folder in folders:
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.suffix in {".py", ".md", ".yaml", ".txt"}:
                text = path.read_text(encoding="utf-8")
                bad += [f"{path}: {word}" for word in ("/work/", "/opt/wheels", "/opt/pypi") if word in text]
    assert not bad

"""A framework is hooked right after the program has imported it, and nothing is imported for the hook's sake."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[2]


def run(tmp_path: Path, code: str, **env: str) -> str:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("RSI_", "PYTEST"))}
    clean["PYTHONPATH"] = str(tmp_path)
    clean["XDG_STATE_HOME"] = str(tmp_path / "state")
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning", "-c", code],
        env=clean | env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


WATCH = """
import sys
from rsi.auto.importing import Watcher
watcher = Watcher()
told = []
watcher.after("fake_framework", lambda: told.append(sys.modules["fake_framework"].READY))
"""


def framework(tmp_path: Path, body: str = "READY = True\n") -> None:
    (tmp_path / "fake_framework").mkdir()
    (tmp_path / "fake_framework" / "__init__.py").write_text(body)
    (tmp_path / "fake_framework" / "part.py").write_text("X = 1\n")
    (tmp_path / "fake_framework" / "data.txt").write_text("kept")


def test_it_is_told_once_after_the_module_is_complete_and_the_module_is_as_without_us(tmp_path: Path) -> None:
    framework(tmp_path)
    said = run(
        tmp_path,
        WATCH
        + """
assert told == [] and "fake_framework" not in sys.modules
import fake_framework.part, importlib, importlib.resources, inspect
print(told)
importlib.reload(fake_framework)
print(told, type(fake_framework.__loader__).__name__, type(fake_framework.__spec__.loader).__name__)
print(importlib.resources.files("fake_framework").joinpath("data.txt").read_text(), inspect.getsource(fake_framework).strip())
""",
    )
    assert said.splitlines() == ["[True]", "[True] SourceFileLoader SourceFileLoader", "kept READY = True"]


def test_what_is_loaded_already_is_told_at_once(tmp_path: Path) -> None:
    framework(tmp_path)
    assert run(tmp_path, "import fake_framework\n" + WATCH + "print(told)").strip() == "[True]"


def test_an_import_that_fails_is_not_told_and_fails_as_without_us(tmp_path: Path) -> None:
    framework(tmp_path, "raise ImportError('broken inside')\n")
    said = run(
        tmp_path,
        WATCH
        + """
try:
    import fake_framework
except ImportError as error:
    print(error, told)
try:
    import not_there_at_all
except ModuleNotFoundError as error:
    print(error.name)
""",
    )
    assert said.splitlines() == ["broken inside []", "not_there_at_all"]


def test_rsi_run_hooks_a_program_and_its_children_and_keeps_its_own_sitecustomize(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('mine')\n")
    (tmp_path / "app.py").write_text(
        "import sys, subprocess\n"
        "print('rsi.auto' in sys.modules, sys.argv[1:])\n"
        "if 'child' not in sys.argv: sys.stdout.flush(); subprocess.run([sys.executable, __file__, 'child'], check=True)\n"
        "raise SystemExit(7 if 'child' not in sys.argv else 0)\n"
    )
    code = (
        "import subprocess, sys\n"
        "done = subprocess.run([sys.executable, '-m', 'rsi', 'run', '--source', 'shop', '--', sys.executable, 'app.py', '-x'])\n"
        "print('status', done.returncode)\n"
    )
    lines = run(tmp_path, code).splitlines()
    assert lines[-1] == "status 7"
    assert lines.count("mine") >= 2
    assert "True ['-x']" in lines
    assert "True ['child']" in lines


def test_rsi_run_says_what_it_could_not_run(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys\n"
        "done = subprocess.run([sys.executable, '-m', 'rsi', 'run', '--', 'no-such-program'], stderr=subprocess.PIPE, text=True)\n"
        "print(done.returncode, done.stderr)\n"
    )
    said = run(tmp_path, code)
    assert said.startswith("125 ")
    assert "no-such-program: not found" in said


def test_a_program_without_rsi_runs_and_says_so(tmp_path: Path) -> None:
    site = SOURCE / "rsi" / "auto" / "site"
    done = subprocess.run(
        [
            sys.executable,
            "-S",
            "-c",
            f"import sys; sys.path = [{str(site)!r}, *[p for p in sys.path if 'python3' in p and 'site-packages' not in p]]; import sitecustomize; print('ran')",
        ],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=tmp_path,
    )
    assert done.stdout.strip() == "ran", done.stderr
    assert "nothing is hooked" in done.stderr
    assert "pip install --no-deps rsi msgspec pyyaml" in done.stderr

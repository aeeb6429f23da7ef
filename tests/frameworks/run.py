"""Runs the tests of one framework in an environment that holds only the framework, pytest and `--no-deps rsi`.

`python tests/frameworks/run.py [NAME …] [--age newest|oldest] [--wheel FILE] [-- PYTEST ARGUMENTS]`; no name: all that have a folder here.
An environment lies in `.cache/frameworks/<name>-<age>-<key>`, where the key is a hash of its requirements: another list is
another environment, and one whose making was interrupted has no mark and is made anew. rsi itself is installed at each run.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CACHE = ROOT / ".cache" / "frameworks"
LISTS = {"newest": "requirements.txt", "oldest": "requirements-oldest.txt"}
#: What the agent's side of rsi needs, and what runs the tests.
OURS = ["msgspec", "pyyaml", "pytest", "pytest-timeout"]


def names() -> list[str]:
    return sorted(path.parent.name for path in HERE.glob("*/requirements.txt"))


def key_of(requirements: Path) -> str:
    content = [
        requirements.read_text(encoding="utf-8"),
        *OURS,
        sys.version,
        (ROOT / "constraints.txt").read_text(encoding="utf-8"),
    ]
    return hashlib.sha256("\n".join(content).encode()).hexdigest()[:12]


def environment(name: str, age: str) -> Path:
    """The environment's Python; made if it is not there."""
    requirements = HERE / name / LISTS[age]
    folder = CACHE / f"{name}-{age}-{key_of(requirements)}"
    python, mark = folder / "bin" / "python", folder / "ready"
    if mark.exists():
        return python
    for stale in CACHE.glob(f"{name}-{age}-*"):
        shutil.rmtree(stale)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-r", str(requirements), *OURS], check=True)
    mark.touch()
    return python


def wheel() -> Path:
    """rsi as it would be installed, built from this tree."""
    folder = CACHE / "wheel"
    shutil.rmtree(folder, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "-w", str(folder), str(ROOT)], check=True)
    return next(folder.glob("rsi-*.whl"))


def test(name: str, age: str, built: Path, more: list[str]) -> int:
    python = environment(name, age)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "--force-reinstall", str(built)], check=True)
    env = {key: value for key, value in os.environ.items() if not key.startswith(("RSI_", "PYTHON"))}
    env |= {
        "RSI_FRAMEWORK_AGE": age,
        "RSI_DAEMON_PYTHON": os.environ.get("RSI_DAEMON_PYTHON", sys.executable),
        "PATH": f"{python.parent}{os.pathsep}{env['PATH']}",
    }
    print(f"== {name}, {age} versions", flush=True)
    pytest = [str(python), "-m", "pytest", "-c", str(HERE / "pytest.ini"), "--rootdir", str(HERE), str(HERE / name)]
    return subprocess.run([*pytest, *more], env=env, cwd=HERE, check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--age", choices=sorted(LISTS))
    given, more = sys.argv[1:], []
    if "--" in given:
        at = given.index("--")
        given, more = given[:at], given[at + 1 :]
    options = parser.parse_args(given)
    unknown = sorted(set(options.names) - set(names()))
    if unknown:
        parser.error(f"no folder here is called {', '.join(unknown)}; there are {', '.join(names())}")
    built = wheel()
    failed = [
        f"{name} ({age})"
        for name in options.names or names()
        for age in ([options.age] if options.age else sorted(LISTS))
        if (HERE / name / LISTS[age]).exists() and test(name, age, built, more)
    ]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

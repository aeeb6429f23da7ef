"""Makes the environments (once per content of requirements-corpus.txt) and the corpus.

python benchmarks/corpus/build.py --tune DIR --unseen DIR      # writes tune.jsonl and unseen.jsonl
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE.parent / "requirements-corpus.txt"
VENVS = HERE.parent.parent / ".venvs"
PARTS = {
    "main": ["openai", "anthropic", "google", "bedrock", "http", "data", "runtime", "langchain", "agents"],
    "crewai": ["crewai"],
}


def sections() -> dict[str, list[str]]:
    """Environment → its requirement lines."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines():
        if line.startswith("# --- environment: "):
            name = line.rpartition(" ")[2]
            found[name] = []
        elif line.strip() and not line.startswith("#"):
            found[name].append(line.strip())
    return found


def interpreters(venvs: Path = VENVS) -> dict[str, Path]:
    """Environment → its Python; made on first use, some minutes, about 1.6 GB together."""
    venvs.mkdir(parents=True, exist_ok=True)
    (venvs / ".gitignore").write_text("*\n", encoding="utf-8")
    return {name: _interpreter(venvs, name, lines) for name, lines in sections().items()}


def _interpreter(venvs: Path, name: str, lines: list[str]) -> Path:
    key = hashlib.sha256("\n".join([sys.version.split()[0], *lines]).encode()).hexdigest()[:12]
    folder = venvs / f"corpus-{name}-{key}"
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not (folder / "ready").exists():
        print(f"making {folder}: {len(lines)} packages", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *lines],
            check=True,
            stdout=sys.stderr,
        )
        (folder / "ready").touch()
    return python


def rows(pythons: dict[str, Path], seed: int | None = None) -> list[dict[str, Any]]:
    """Every labelled text, both halves."""
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="corpus-") as folder:
        for name, parts in PARTS.items():
            out = Path(folder) / f"{name}.jsonl"
            more = [] if seed is None else ["--seed", str(seed)]
            command = [pythons[name], HERE / "generate.py", "--out", out, *more, *parts]
            steady = {**os.environ, "PYTHONHASHSEED": "0"}  # the order of a set may stand in a message
            done = subprocess.run(command, cwd=folder, env=steady, capture_output=True, text=True, check=False)
            if done.returncode or not out.exists():
                raise SystemExit(f"the {name} part of the corpus could not be made:\n{done.stderr[-4000:]}")
            found += [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    return found


def write(folder: Path, half: str, kept: list[dict[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
    (folder / f"{half}.jsonl").write_text(text, encoding="utf-8")


def main() -> None:
    sys.path.insert(0, str(HERE))
    from split import halves

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tune", type=Path, required=True)
    parser.add_argument("--unseen", type=Path, required=True)
    parser.add_argument("--venvs", type=Path, default=VENVS)
    parser.add_argument("--seed", type=int)
    asked = parser.parse_args()
    kept = halves(rows(interpreters(asked.venvs), asked.seed))
    for half, folder in (("tune", asked.tune), ("unseen", asked.unseen)):
        write(folder, half, kept[half])
        print(
            f"{half}: {len(kept[half])} texts, {len({row['template'] for row in kept[half]})} templates → {folder / half}.jsonl"
        )


if __name__ == "__main__":
    main()

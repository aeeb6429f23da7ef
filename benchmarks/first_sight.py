"""What the first of everything costs: loading the rules, a text that was never seen, the worker's first answer.

    python benchmarks/first_sight.py [--runs 5] [--texts FILE]

Every figure is taken in processes of its own, in turn with nothing kept and with what the process before kept, and
given as the least and the median: the machine is rarely quiet. Texts are decided a second time, by a matcher that
remembers no text but has made its regular expressions. `--texts` is a file of one text a line; else the
examples beside the rules are used.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

RULES: Final = """
import time
from pathlib import Path
from rsi.rules import Matcher, load
begun = time.process_time()
matcher = Matcher(load("classify", keep={keep}).rules)
loaded = time.process_time()
matcher.decide("openai.RateLimitError: Error code: 429 - rate limit reached for gpt-4o")
print(loaded - begun, time.process_time() - loaded)
"""
TEXTS: Final = """
import json, sys, time
from rsi.rules import Matcher, load
matcher = Matcher(load("classify").rules)
texts = json.load(sys.stdin)
for text in texts:
    matcher.decide(text)
begun = time.process_time()
for text in texts:
    matcher.decide(text)
print((time.process_time() - begun) / len(texts))
"""
WORKER: Final = """
import time
from pathlib import Path
from rsi.rules import load_prototypes
from rsi.worker import Worker
known = load_prototypes()
begun = time.perf_counter()
with Worker(env={{"RSI_WORKER_AWAITED": "1"}}, keep={keep}) as worker:
    worker.resemble(["a model that nobody knows was asked for"], known)
    print(time.perf_counter() - begun)
"""
CHARACTERS: Final = 200


def main() -> None:
    """Measure, and print one line a figure."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--texts", type=Path)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        keep = f"Path({folder!r})"
        _run(RULES.format(keep=keep), "")
        _run(WORKER.format(keep=keep), "")
        figures = _figures(given.runs, keep, json.dumps(_texts(given.texts)))
    print(f"{'':58} {'least':>8} {'median':>8}")
    for name, of in sorted(figures.items()):
        print(f"{name:58} {min(of):8.3f} {statistics.median(of):8.3f}")


def _figures(runs: int, keep: str, texts: str) -> dict[str, list[float]]:
    figures: dict[str, list[float]] = {}
    for _ in range(runs):
        for kept, where in (("nothing kept", "None"), ("kept", keep)):
            load, first = _run(RULES.format(keep=where), "")
            figures.setdefault(f"rules, {kept}: ready, s of CPU", []).append(load)
            figures.setdefault(f"rules, {kept}: first text, s of CPU", []).append(first)
            (answer,) = _run(WORKER.format(keep=where), "")
            figures.setdefault(f"worker, {kept}: start to first answer, s", []).append(answer)
        (each,) = _run(TEXTS, texts)
        figures.setdefault(f"a text of up to {CHARACTERS} characters, us of CPU", []).append(each * 1e6)
    return figures


def _texts(path: Path | None) -> list[str]:
    if path is not None:
        lines = path.read_text(encoding="utf-8").splitlines()
    else:
        import yaml

        from rsi.rules import builtin_dir

        files = [yaml.safe_load(one.read_bytes()) for one in sorted(builtin_dir().glob("classify/*.test.yaml"))]
        said = [one for file in files for one in (*file.get("must", ()), *file.get("must_not", ()))]
        lines = [one if isinstance(one, str) else one.get("text", "") for one in said]
    return list(dict.fromkeys(line[:CHARACTERS] for line in lines if line.strip()))


def _run(code: str, given: str) -> list[float]:
    done = subprocess.run([sys.executable, "-c", code], input=given, capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


if __name__ == "__main__":
    main()

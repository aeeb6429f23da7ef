"""A real loop around a real framework: the daemon as it is installed, a provider that fails in bursts, one fix, its verdict, its rollback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from provider import Answer, Provider

THREADS = 8
#: The share of units whose first call is refused.
FAILING = 0.3
PATIENCE_S = 500.0
DECIDED = {"verified", "worse", "no_difference"}


class RealLoop:
    """`with RealLoop(folder) as loop:`; `url` is the daemon's, `provider` the model provider's."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "loop-home"
        (self.home / "inbox").mkdir(parents=True)
        (self.home / "rsi.yaml").write_text("{}\n")
        self._log = folder / "daemon.log"
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.provider = Provider(default=self._flaky)
        self.python = os.environ.get("RSI_DAEMON_PYTHON", sys.executable)
        self._stop = threading.Event()
        self._last: Exception | None = None

    def __enter__(self) -> Self:
        self.provider.__enter__()
        command = [self.python, "-m", "rsi", "--home", str(self.home), "--quiet", "up", "--port", "0"]
        with self._log.open("wb") as log:
            self._daemon = subprocess.Popen(command, stdout=log, stderr=log, env=self._env())
        self.url = self._wait(self._up, "the daemon's address")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._daemon.terminate()
        self._daemon.wait(30)
        self.provider.__exit__()

    def _env(self) -> dict[str, str]:
        return {key: value for key, value in os.environ.items() if not key.startswith(("RSI_", "PYTEST", "PYTHON"))}

    def _up(self) -> str | None:
        assert self._daemon.poll() is None, self._log.read_text()
        try:
            found = json.loads((self.home / ".rsi" / "daemon.json").read_text())
        except (OSError, ValueError):
            return None
        return str(found["url"])

    def _flaky(self, _: int, body: dict[str, Any]) -> Answer:
        """A burst refuses the first call of some units; which ones, their text decides."""
        unit = unit_of(body)
        with self._lock:
            self._seen[unit] += 1
            first = self._seen[unit] == 1
        return 429 if first and refused(unit) else "hello"

    def calls(self, unit: str) -> int:
        """How often the provider was asked for a unit."""
        with self._lock:
            return self._seen[unit]

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=10) as answer:
            return json.load(answer)

    def rsi(self, *args: str) -> str:
        """The command line, as a person would use it."""
        command = [self.python, "-m", "rsi", "--home", str(self.home), *args]
        done = subprocess.run(command, capture_output=True, text=True, env=self._env(), timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def fix(self) -> dict[str, Any]:
        """The retry fix that went live, or nothing yet."""
        fixes = [fix for fix in self.get("/v1/fixes")["fixes"] if fix["rule"] == "retry-transient"]
        return next((fix for fix in fixes if fix["state"] not in ("proposed", "checking")), {})

    def run(self, work: Callable[[str], Any]) -> dict[str, Any]:
        """Let agents work until the fix has its verdict; the fix. `work(text)` is one task; what it raises is its failure."""
        workers = [threading.Thread(target=self._work, args=(work, n), daemon=True) for n in range(THREADS)]
        for worker in workers:
            worker.start()
        try:
            return self._wait(self._decided, "a verdict")
        finally:
            self._stop.set()
            for worker in workers:
                worker.join(30)

    def _decided(self) -> dict[str, Any]:
        fix = self.fix()
        decided = (fix.get("verdict") or {}).get("outcome") in DECIDED and fix["state"] != "canary"
        return fix if decided else {}

    def _work(self, work: Callable[[str], Any], number: int) -> None:
        turn = 0
        while not self._stop.is_set():
            turn += 1
            try:
                work(f"unit w{number}x{turn}")
            except Exception as error:
                self._last = error
            time.sleep(0.05)

    def _wait(self, what: Callable[[], Any], why: str) -> Any:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            found = what()
            if found:
                return found
            time.sleep(0.1)
        raise AssertionError(
            f"{why} did not come: {self._story()}; last failure: {self._last!r}\n{self._log.read_text()[-3000:]}"
        )

    def _story(self) -> str:
        """What became of each fix, for a failure's message."""
        told = [
            f"{fix['id']} {fix['rule']} of {fix['task']}: {fix['state']} {fix['verdict']}"
            for fix in self.get("/v1/fixes")["fixes"]
        ]
        return "; ".join(told) or "no fix"

    def roll_back(self, fix: str, work: Callable[[str], Any]) -> None:
        """Take the fix back and work on until a refused unit is asked for only once: no restart, one poll."""
        self.rsi("rollback", fix)
        number = 0

        def once() -> bool:
            nonlocal number
            number += 1
            unit = f"unit after{number}"
            try:
                work(unit)
            except Exception:
                return refused(unit) and self.calls(unit) == 1
            return False

        self._wait(once, "a failure without a retry")


def refused(unit: str) -> bool:
    """Whether the first call of this unit is refused."""
    return int.from_bytes(sha256(unit.encode()).digest()[:4], "big") / 2**32 < FAILING


def unit_of(body: dict[str, Any]) -> str:
    """The text of the unit inside a request: `unit …` up to the end of its line, wherever the framework put it."""
    text = json.dumps(body.get("messages") or body.get("input") or body)
    found = text.partition("unit ")[2]
    end = min((found.find(mark) for mark in ('"', "\\", "'") if mark in found), default=len(found))
    return f"unit {found[:end]}"


def check(fix: dict[str, Any]) -> None:
    """What a real loop must have shown."""
    verdict = fix["verdict"]
    assert verdict["outcome"] == "verified", fix
    assert fix["state"] == "verified"
    assert verdict["n_fixed"] > 0
    assert verdict["n_control"] > 0
    assert verdict["p_fixed"] < verdict["p_control"]

"""Real processes: `rsi up` in a home of its own, stopped or killed by its pid."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

UP_WITHIN_S = 30.0


class Up:
    """One `rsi up` on a free port."""

    def __init__(
        self, home: Path, env: dict[str, str] | None = None, config: str = "worker: {enabled: false}\n"
    ) -> None:
        self.home = home
        self.inbox = home / "inbox"
        self.inbox.mkdir(parents=True, exist_ok=True)
        self.log = home.parent / f"{home.name}.log"
        if not (home / "rsi.yaml").exists():
            (home / "rsi.yaml").write_text(config)
        clean = {key: value for key, value in os.environ.items() if not key.startswith("RSI_")}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "rsi", "--home", str(home), "up", "--port", "0"],
                stdout=log, stderr=log, env={**clean, **(env or {})},
            )  # fmt: skip
        self.url = self._wait()
        self.http = httpx.Client(base_url=self.url, timeout=30)
        secret = (home / ".rsi" / "secret").read_text().strip()
        self.privileged = {"Authorization": f"Bearer {secret}"}

    def _wait(self) -> str:
        deadline = time.monotonic() + UP_WITHIN_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                about = json.loads((self.home / ".rsi" / "daemon.json").read_text())
                if about["pid"] == self.process.pid and httpx.get(about["url"] + "/readyz").status_code == 200:
                    return str(about["url"])
            except (OSError, ValueError, httpx.HTTPError):
                pass
            time.sleep(0.02)
        raise AssertionError(f"the daemon did not come up:\n{self.log.read_text()[-4000:]}")

    def until(self, what, seconds: float = 20.0):
        """Wait for a state: the first truthy answer of `what`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = what()
            if found:
                return found
            time.sleep(0.05)
        raise AssertionError(f"never became true; log:\n{self.log.read_text()[-3000:]}")

    def kill(self) -> None:
        self.http.close()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> int:
        self.http.close()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@pytest.fixture
def up(tmp_path: Path) -> Iterator:
    """A factory of daemons; what a test leaves running is killed."""
    started: list[Up] = []

    def make(name: str = "home", **options) -> Up:
        one = Up(tmp_path / name, **options)
        started.append(one)
        return one

    yield make
    for one in started:
        if one.process.poll() is None:
            one.kill()

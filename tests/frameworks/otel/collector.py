"""The daemon as it is installed, as an OTLP endpoint; what it has made of the spans is read from its database."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, Self

PATIENCE_S = 60.0


class Collector:
    """`with Collector(folder) as collector:`; `url` is the daemon's."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        (self.home / "rsi.yaml").write_text("worker: {enabled: false}\n")
        self._log = folder / "daemon.log"

    def __enter__(self) -> Self:
        python = os.environ.get("RSI_DAEMON_PYTHON") or sys.executable
        clean = {
            key: value for key, value in os.environ.items() if not key.startswith(("RSI_", "PYTEST", "PYTHON", "OTEL"))
        }
        with self._log.open("wb") as log:
            command = [python, "-m", "rsi", "--home", str(self.home), "--quiet", "up", "--port", "0"]
            self._daemon = subprocess.Popen(command, stdout=log, stderr=log, env=clean)
        self.url = self._wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._daemon.terminate()
        self._daemon.wait(30)

    def _wait(self) -> str:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            assert self._daemon.poll() is None, self._log.read_text()
            try:
                url = str(json.loads((self.home / ".rsi" / "daemon.json").read_text())["url"])
                with urllib.request.urlopen(f"{url}/readyz", timeout=5):
                    return url
            except (OSError, ValueError):
                time.sleep(0.05)
        raise AssertionError(self._log.read_text())

    def outcomes(self, source: str) -> list[dict[str, Any]]:
        """Whole outcomes of one source. An answered export is stored, so there is nothing to wait for."""
        database = sqlite3.connect(self.home / ".rsi" / "rsi.db")
        try:
            rows = database.execute(
                "select id, kind, task, status, body from outcomes where source = ? order by ts, id", (source,)
            ).fetchall()
        finally:
            database.close()
        return [{"id": i, "kind": k, "task": t, "status": s, **json.loads(body)} for i, k, t, s, body in rows]

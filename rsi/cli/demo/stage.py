"""The demo's processes: a provider, a daemon in its default configuration, agents. All end with the demo."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self

from rsi import clock
from rsi.cli.demo.provider import Provider
from rsi.cli.remote import Remote, running
from rsi.config import Home
from rsi.errors import RSIError

PROCESSES: Final = 4
AGENTS_EACH: Final = 8
START_WITHIN_S: Final = 20.0
STOP_WITHIN_S: Final = 10.0


class Stage:
    """Everything that runs; a context manager that leaves nothing behind.

    Args:
        folder: for logs and the agents' state.
        home: the daemon's, new or empty.
        seed: of the provider's weather.
        rules: files that are put into the home's `rules/fix/`.
    """

    def __init__(self, folder: Path, home: Path, seed: int, rules: Mapping[str, str]) -> None:
        self.home = Home(home)
        self._folder = folder
        self._seed = seed
        self._children: list[subprocess.Popen[bytes]] = []
        (self.home.path / "rules" / "fix").mkdir(parents=True)
        (self.home.path / "inbox").mkdir()
        (self.home.path / "rsi.yaml").write_text("{}\n", encoding="utf-8")  # the default configuration
        for name, text in rules.items():
            (self.home.path / "rules" / "fix" / name).write_text(text, encoding="utf-8")
        self.provider = Provider(seed)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for child in reversed(self._children):
            child.terminate()
        for child in reversed(self._children):
            try:
                child.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self.provider.stop()

    def start_daemon(self) -> Remote:
        """`rsi up` on a free port.

        Raises:
            RSIError: it did not come up; the message quotes its log.
        """
        command = [sys.executable, "-m", "rsi", "--home", str(self.home.path), "--quiet", "up", "--port", "0"]
        daemon = self._spawn(command, {}, "daemon.log")
        deadline = clock.monotonic() + START_WITHIN_S
        while clock.monotonic() < deadline and daemon.poll() is None:
            found = running(self.home)
            if found is not None:
                return found
            clock.sleep(0.05)
        log = (self._folder / "daemon.log").read_text(encoding="utf-8", errors="replace")
        raise RSIError(f"the demo's daemon did not come up: {log[-2000:]}")

    def start_agents(self, url: str) -> None:
        """32 agents of one source in four processes, and one of another source whose key is bad."""
        env = {"RSI_URL": url, "RSI_HOME": str(self.home.path), "XDG_STATE_HOME": str(self._folder / "state")}
        port = str(self.provider.port)
        for number in range(PROCESSES):
            self._agent(["answer", port, str(self._seed * 100 + number), str(AGENTS_EACH)], env)
        self._agent(["embed", port, str(self._seed), "1"], env)

    def _agent(self, arguments: list[str], env: dict[str, str]) -> None:
        self._spawn([sys.executable, "-m", "rsi.cli.demo.agents", *arguments], env, "agents.log")

    def _spawn(self, command: list[str], env: dict[str, str], log: str) -> subprocess.Popen[bytes]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("RSI_", "PYTEST_"))}
        arguments: dict[str, Any] = {"env": {**clean, **env}, "stdin": subprocess.DEVNULL}
        # a child that nobody knows of would outlive the demo
        with (self._folder / log).open("ab") as file, _uninterrupted():
            child = subprocess.Popen(command, stdout=file, stderr=file, **arguments)  # noqa: S603 - our own programs
            self._children.append(child)
        return child


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """SIGTERM and SIGINT that arrive meanwhile are acted on afterwards."""
    came: list[int] = []
    before = {one: signal.signal(one, lambda number, _: came.append(number)) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    for number in came:
        signal.raise_signal(number)

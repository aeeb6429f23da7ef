"""A client of a real local daemon, with its own state folder and no home unless a test declares one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from agent_kit import Daemon, running

from rsi.client import Client


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RSI_URL", "RSI_TOKEN", "RSI_HOME", "RSI_SOURCE", "RSI_DISABLE", "RSI_OBSERVE_ONLY", "RSI_ENABLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "agent").mkdir()
    monkeypatch.chdir(tmp_path / "agent")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home" / ".rsi").mkdir(parents=True)
    return tmp_path / "home"


@pytest.fixture
def daemon(home: Path) -> Iterator[Daemon]:
    with running(home) as daemon:
        yield daemon


@pytest.fixture
def make_client() -> Iterator[Callable[..., Client]]:
    made: list[Client] = []

    def make(**options: object) -> Client:
        made.append(Client(**({"enabled": True, "source": "app"} | options)))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for client in made:
        client.close(1.0)

"""What the tests of all frameworks share. Runs in an environment that holds one framework, pytest and rsi without its dependencies."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from agent_kit import Daemon, running, wait_for
from provider import Provider

import rsi.client
from rsi.client import Client

#: Distributions whose versions the suite tells, if they are there.
TOLD = [
    "langgraph",
    "langchain",
    "langchain-core",
    "crewai",
    "openai-agents",
    "openai",
    "litellm",
    "claude-agent-sdk",
    "opentelemetry-sdk",
    "opentelemetry-exporter-otlp-proto-http",
    "openinference-instrumentation-langchain",
    "pydantic-ai-slim",
    "pytest",
]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def pytest_report_header() -> str:
    found = [f"{name} {version}" for name in TOLD if (version := _version(name))]
    return f"frameworks ({os.environ.get('RSI_FRAMEWORK_AGE', 'by hand')}): {', '.join(found)}"


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("RSI_") and name != "RSI_DAEMON_PYTHON"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path / "agent"))
    (tmp_path / "agent").mkdir()
    monkeypatch.chdir(tmp_path / "agent")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon that speaks the contract over real sockets: keeps outcomes, serves the policy a test sets."""
    (tmp_path / "home" / ".rsi").mkdir(parents=True)
    with running(tmp_path / "home") as daemon:
        yield daemon


@pytest.fixture
def provider() -> Iterator[Provider]:
    """A local model provider that answers what it is told to."""
    with Provider() as provider:
        yield provider


class World:
    """The process's own client (source `app`), its daemon, and what was reported."""

    def __init__(self, client: Client, daemon: Daemon) -> None:
        self.client, self.daemon, self.version = client, daemon, 0

    def policy(self, *experiments: Any, origin: Any = None, **knobs: Any) -> None:
        """Serve this policy to every source of the client's and wait until it holds."""
        self.version += 1
        scope = {"source": "*", "task": "*", "origin": origin or {}, **knobs}
        self.daemon.set_policy("app", self.version, scopes=[scope] if knobs else [], experiments=experiments)
        self.client.want("app", "any", {"retry"})

        def holds() -> bool:
            policy = self.client.policies.current("app")
            return policy is not None and policy.version >= self.version

        wait_for(holds, f"policy {self.version}")

    def sent(self, **fields: Any) -> list[dict[str, Any]]:
        """All that was reported, in order, with these fields; `started` only if asked for."""
        assert self.client.flush(10)
        items = [item for post in self.daemon.posts for item in post]
        if "status" not in fields:
            items = [item for item in items if item["status"] != "started"]
        return [item for item in items if all(item.get(key) == value for key, value in fields.items())]

    def brief(self) -> list[tuple[str, str, str, str | None]]:
        """(kind, task, status, error type without its module) of each, in order."""
        return [(i["kind"], i["task"], i["status"], _type((i.get("error") or {}).get("type"))) for i in self.sent()]

    def forget(self) -> None:
        """Begin anew with an empty record."""
        assert self.client.flush(10)
        self.daemon.posts.clear()


def _type(name: str | None) -> str | None:
    return name.rpartition(".")[2] if name else None


@pytest.fixture
def world(daemon: Daemon) -> Iterator[World]:
    client = rsi.client.configure(url=daemon.url, source="app", enabled=True)
    yield World(client, daemon)
    rsi.client.configure(enabled=False)


@pytest.fixture
def fresh() -> Callable[..., Client]:
    """Another client, as another process would have."""
    return rsi.client.configure

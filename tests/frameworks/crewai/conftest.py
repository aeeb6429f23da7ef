"""A crew of the real framework, offline: a native model of the local provider, or a scripted one of our own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

# Before the framework is imported: it must neither report about itself nor write into anybody's home.
os.environ |= {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_DISABLE_TRACKING": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "CREWAI_TESTING": "true",
    "OTEL_SDK_DISABLED": "true",
    "CREWAI_STORAGE_DIR": tempfile.mkdtemp(prefix="rsi-crewai-"),
}

import pytest
from crewai import LLM, Agent, Crew, Task
from provider import Provider

from rsi_adapters import crewai as adapter


@pytest.fixture(autouse=True)
def installed(world: Any) -> Iterator[None]:
    adapter.listen(client=world.client)
    yield
    adapter.uninstall()


@pytest.fixture
def native(provider: Provider) -> Callable[..., Any]:
    """CrewAI's own client of the local provider; it does not repeat by itself."""

    def make(model: str = "m", **options: Any) -> Any:
        given = {"base_url": provider.url, "api_key": "k", "max_retries": 0} | options
        return LLM(model=model, provider="openai", **given)

    return make


@pytest.fixture
def crew() -> Callable[..., Crew]:
    """One agent with one task, `find`; the agent does not begin again after an error unless told to."""

    def make(llm: Any, *tools: Any, task: Any = None, **agent: Any) -> Crew:
        given = {"role": "Researcher", "goal": "g", "backstory": "b", "max_retry_limit": 0, "verbose": False} | agent
        worker = Agent(llm=llm, tools=list(tools), **given)
        asked = {"description": "Find X", "expected_output": "X", "name": "find"} | (task or {})
        return Crew(agents=[worker], tasks=[Task(agent=worker, **asked)], verbose=False, name="crew", tracing=False)

    return make

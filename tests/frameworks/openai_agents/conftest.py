"""An agent of the real SDK whose model is a real OpenAI client of the local provider."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from agents import Agent, OpenAIChatCompletionsModel, set_trace_processors
from openai import AsyncOpenAI
from provider import Provider

from rsi_adapters import openai_agents


@pytest.fixture(autouse=True)
def installed(world: Any) -> Iterator[None]:
    set_trace_processors([])  # the default one exports to the vendor
    openai_agents.install(client=world.client, inner_retries=1)
    yield
    openai_agents.uninstall()


@pytest.fixture
def model(provider: Provider) -> Callable[..., OpenAIChatCompletionsModel]:
    def make(name: str = "m", **options: Any) -> OpenAIChatCompletionsModel:
        client = AsyncOpenAI(base_url=provider.url, api_key="k", max_retries=0, **options)
        return OpenAIChatCompletionsModel(model=name, openai_client=client)

    return make


@pytest.fixture
def agent(model: Callable[..., Any]) -> Callable[..., Agent[Any]]:
    def make(*tools: Any, **options: Any) -> Agent[Any]:
        given = {"name": "support", "instructions": "Be nice.", "model": model(), "tools": list(tools)} | options
        return Agent(**given)

    return make

"""A real Router, and plain calls, of the local provider."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

# Before the framework is imported: it must ask nobody for prices and print no advice.
os.environ |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "CRITICAL", "LITELLM_TELEMETRY": "False"}

import litellm as framework
import pytest
from litellm import Router
from provider import Provider

from rsi_adapters import litellm as adapter

framework.suppress_debug_info = True


@pytest.fixture
def world(world: Any) -> Any:
    """Tasks behind what is inside them: LiteLLM tells of a success in a thread of its own, sometimes a moment later."""
    in_order = world.sent

    def sent(**fields: Any) -> list[dict[str, Any]]:
        items = in_order(**fields)
        first: dict[str, int] = {}
        for place, item in enumerate(items):
            first.setdefault(item.get("run") or item["id"], place)
        return sorted(items, key=lambda item: (first[item.get("run") or item["id"]], item["kind"] == "task"))

    world.sent = sent
    return world


@pytest.fixture(autouse=True)
def installed(world: Any) -> Iterator[None]:
    adapter.install(client=world.client)
    yield
    adapter.uninstall()


@pytest.fixture
def router(provider: Provider) -> Callable[..., Router]:
    """A Router with the groups `main` (model m) and `backup` (model b); by itself it tries once and cools nothing down."""

    def make(*more: tuple[str, str], **options: Any) -> Router:
        groups = [("main", "m"), ("backup", "b"), *more]
        given = {"num_retries": 0, "retry_after": 0, "disable_cooldowns": True} | options
        params = {"api_base": provider.url, "api_key": "k"}
        models = [
            {"model_name": name, "litellm_params": {"model": f"openai/{model}", **params}} for name, model in groups
        ]
        return Router(model_list=models, **given)

    return make


@pytest.fixture
def plain(provider: Provider) -> dict[str, Any]:
    """Arguments of a plain call, whose client tries once."""
    return {
        "model": "openai/m",
        "messages": [{"role": "user", "content": "hi"}],
        "api_base": provider.url,
        "api_key": "k",
        "num_retries": 0,
    }

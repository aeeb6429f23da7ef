"""A real loop: bursts of 429 from a local provider, a retry fix that goes live in the running agent or graph, its verdict, its rollback."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, TypedDict

import loop
import pytest
from langchain.agents import create_agent
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.graph import START, StateGraph

import rsi
from rsi_adapters.langgraph import RSIMiddleware, apply_to_graph


def complete(url: str, text: str) -> str:
    """One call of the provider, with no client that repeats by itself."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()
    request = urllib.request.Request(f"{url}/chat/completions", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as got:
        return str(json.load(got)["choices"][0]["message"]["content"])


class Provided(BaseChatModel):
    """The provider's model."""

    url: str

    @property
    def _llm_type(self) -> str:
        return "provided"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **more: Any) -> ChatResult:
        answer = complete(self.url, str(messages[-1].content))
        return ChatResult(generations=[ChatGeneration(message=AIMessage(answer))])


class State(TypedDict):
    text: str


def an_agent(url: str) -> Callable[[str], Any]:
    agent = create_agent(Provided(url=url), [], middleware=[RSIMiddleware(inner_retries=1)], name="support")
    return lambda text: agent.invoke({"messages": [{"role": "user", "content": text}]})


def a_graph(url: str) -> Callable[[str], Any]:
    builder = StateGraph(State).add_node("ask", lambda state: {"text": complete(url, state["text"])})
    graph = builder.add_edge(START, "ask").compile(name="triage")
    assert apply_to_graph(graph, inner_retries=1).nodes == ["ask"]
    return lambda text: graph.invoke({"text": text})


@pytest.fixture
def real(tmp_path: Any) -> Iterator[loop.RealLoop]:
    with loop.RealLoop(tmp_path) as real:
        rsi.configure(url=real.url, source="graph-app", enabled=True)
        yield real
        rsi.configure(enabled=False)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("made", [an_agent, a_graph])
def test_a_fix_goes_live_is_verified_and_is_taken_back_without_a_restart(real, made):
    work = made(real.provider.url)
    fix = real.run(work)
    loop.check(fix)
    real.roll_back(fix["id"], work)

"""pydantic-ai by its own instrumentation: a source with no adapter of ours."""

from __future__ import annotations

import pytest
from pydantic_ai import Agent, ModelRetry, UnexpectedModelBehavior
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import FunctionModel


@pytest.fixture
def agent_of(traced):
    from pydantic_ai.models.instrumented import InstrumentationSettings

    def make(*answers, **options):
        script = iter(answers)

        def answer(_messages, _info):
            found = next(script)
            if isinstance(found, Exception):
                raise found
            part = TextPart(found) if isinstance(found, str) else ToolCallPart(found[0], found[1])
            return ModelResponse(parts=[part])

        agent = Agent(FunctionModel(answer, model_name="fake"), name="helper", **options)
        agent.instrument = InstrumentationSettings(tracer_provider=traced.provider)
        return agent

    return make


def test_success(agent_of, traced):
    agent = agent_of(("add", {"a": 1, "b": 2}), "three")

    @agent.tool_plain
    def add(a: int, b: int) -> int:
        return a + b

    agent.run_sync("1 + 2?")
    assert traced.brief() == [("llm", "chat fake", "ok")] * 2 + [("task", "helper", "ok"), ("tool", "add", "ok")]
    task, model = traced.one("helper"), traced.outcomes()[0]
    assert task["tokens_in"] > 0
    assert model["model"] == "fake"


def test_model_error(agent_of, traced):
    with pytest.raises(RuntimeError):
        agent_of(RuntimeError("503 overloaded")).run_sync("hello")
    assert traced.brief() == [("llm", "chat fake", "failed"), ("task", "helper", "failed")]
    assert {each["error"] for each in traced.outcomes()} == {"503 overloaded"}


def test_tool_error(agent_of, traced):
    agent = agent_of(("search", {}), "never")

    @agent.tool_plain
    def search() -> str:
        raise ValueError("index is gone")

    with pytest.raises(ValueError, match="index"):
        agent.run_sync("find")
    assert traced.brief() == [("llm", "chat fake", "ok"), ("task", "helper", "failed"), ("tool", "search", "failed")]


def test_asking_the_model_again_is_no_failure(agent_of, traced):
    agent = agent_of(("pick", {"n": 0}), ("pick", {"n": 1}), "done")

    @agent.tool_plain(retries=2)
    def pick(n: int) -> str:
        if n == 0:
            raise ModelRetry("not zero")
        return "one"

    agent.run_sync("pick")
    brief = traced.brief()
    assert brief.count(("task", "helper", "ok")) == 1
    assert not [each for each in brief if each[2] == "failed" and each[0] != "tool"]


def test_tries_exhausted(agent_of, traced):
    agent = agent_of(*[("pick", {})] * 5, retries=1)

    @agent.tool_plain
    def pick() -> str:
        raise ModelRetry("again")

    with pytest.raises(UnexpectedModelBehavior):
        agent.run_sync("pick")
    brief = traced.brief()
    assert brief.count(("task", "helper", "failed")) == 1

"""OpenInference's LangChain instrumentation on real graphs and agents with a scripted model: exactly these outcomes."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
import time
from typing import TypedDict

import pytest
from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, RetryPolicy, interrupt
from openinference.instrumentation.langchain import LangChainInstrumentor

USAGE = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}
OK_MODEL, OK_TOOLS = ("step", "model", "ok"), ("step", "tools", "ok")


class State(TypedDict):
    x: int


class Model(GenericFakeChatModel):
    """Answers what it was given; an exception among the answers is raised."""

    def bind_tools(self, tools, **_):
        return self

    def _generate(self, *args, **kwargs):
        return super()._generate(*args, **kwargs)


def model(*answers):
    def script():
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
            yield answer

    return Model(messages=script())


class Failing(Model):
    """Raises at each call."""

    def _generate(self, *args, **kwargs):
        raise RuntimeError("429 Too Many Requests")


def call(name, **args):
    given = {"name": name, "args": args or {"q": "x"}, "id": "call-1"}
    return AIMessage("", tool_calls=[given], usage_metadata=USAGE, response_metadata={"model_name": "fake-1"})


@tool
def good(q: str) -> str:
    """Work."""
    return "fine"


@tool
def bad(q: str) -> str:
    """Fail."""
    raise ValueError("tool boom")


@pytest.fixture
def traced(traced):
    instrumentor = LangChainInstrumentor()
    instrumentor.instrument(tracer_provider=traced.provider)
    yield traced
    instrumentor.uninstrument()


def graph(name, *, checkpointer=None, **nodes):
    builder = StateGraph(State)
    before = START
    for node, work in nodes.items():
        builder.add_node(node, work)
        builder.add_edge(before, node)
        before = node
    return builder.compile(name=name, checkpointer=checkpointer)


def ask(agent):
    return agent.invoke({"messages": [("user", "hello")]})


def test_success(traced):
    ask(create_agent(model(call("good"), AIMessage("done")), [good], name="support"))
    assert traced.brief() == sorted([
        ("llm", "Model", "ok"), ("llm", "Model", "ok"), OK_MODEL, OK_MODEL, OK_TOOLS, ("task", "support", "ok"), ("tool", "good", "ok"),
    ])  # fmt: skip
    task = traced.one("support")
    assert (task["tokens_in"], task["tokens_out"], "parent" in task) == (5, 2, False)
    assert traced.one("good")["parent"] == traced.one("tools")["id"]


def test_model_error(traced):
    with pytest.raises(RuntimeError):
        ask(create_agent(Failing(messages=iter(())), [good], name="support"))
    assert traced.brief() == [("llm", "Failing", "failed"), ("task", "support", "failed")]
    for found in traced.outcomes():
        assert (found["error"], found["error_type"]) == ("429 Too Many Requests", "RuntimeError")
    assert traced.one("Failing")["parent"] == traced.one("support")["id"]


def test_tool_error(traced):
    with pytest.raises(ValueError, match="tool boom"):
        ask(create_agent(model(call("bad")), [bad], name="support"))
    assert traced.brief() == [
        ("llm", "Model", "ok"),
        OK_MODEL,
        ("task", "support", "failed"),
        ("tool", "bad", "failed"),
    ]


def test_node_error_in_a_nested_graph(traced):
    def boom(_):
        raise ValueError("inner boom")

    with pytest.raises(ValueError, match="inner boom"):
        graph("outer", sub=graph("sub", b=boom)).invoke({"x": 0})
    assert traced.brief() == [("step", "b", "failed"), ("task", "outer", "failed")]


def test_retry_then_success(traced):
    tries = []

    def flaky(_):
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("down")
        return {"x": 1}

    builder = StateGraph(State)
    builder.add_node("f", flaky, retry_policy=RetryPolicy(initial_interval=0.01, max_attempts=3, jitter=False))
    builder.add_edge(START, "f")
    builder.compile(name="retried").invoke({"x": 0})
    assert traced.brief() == [
        ("step", "f", "failed"),
        ("step", "f", "failed"),
        ("step", "f", "ok"),
        ("task", "retried", "ok"),
    ]
    assert sorted(each.get("attempt", 1) for each in traced.outcomes() if each["task"] == "f") == [1, 2, 3]


def test_retry_exhausted(traced):
    def down(_):
        raise ConnectionError("down")

    builder = StateGraph(State)
    builder.add_node("f", down, retry_policy=RetryPolicy(initial_interval=0.01, max_attempts=2, jitter=False))
    builder.add_edge(START, "f")
    with pytest.raises(ConnectionError):
        builder.compile(name="retried").invoke({"x": 0})
    assert traced.brief() == [("step", "f", "failed"), ("step", "f", "failed"), ("task", "retried", "failed")]


def test_interrupt_and_resume_are_one_session(traced):
    found = graph("asking", checkpointer=InMemorySaver(), ask=lambda _: {"x": interrupt("ok?")})
    config = {"configurable": {"thread_id": "t-1"}}
    found.invoke({"x": 0}, config)
    assert traced.brief() == [("step", "ask", "paused"), ("task", "asking", "paused")]
    found.invoke(Command(resume=1), config)
    assert traced.brief() == [
        ("step", "ask", "ok"), ("step", "ask", "paused"), ("task", "asking", "ok"), ("task", "asking", "paused"),
    ]  # fmt: skip
    assert {each["session"] for each in traced.outcomes()} == {"t-1"}


def test_interrupt_in_a_nested_graph(traced):
    inner = graph("sub", ask=lambda _: {"x": interrupt("ok?")})
    graph("outer", checkpointer=InMemorySaver(), sub=inner).invoke({"x": 0}, {"configurable": {"thread_id": "t"}})
    assert ("task", "outer", "paused") in traced.brief()
    assert {status for _, _, status in traced.brief()} == {"paused"}


def test_command_to_the_parent(traced):
    inner = graph("sub", b=lambda _: Command(graph=Command.PARENT, goto="end", update={"x": 3}))
    builder = StateGraph(State)
    builder.add_node("sub", inner)
    builder.add_node("end", lambda _: {"x": 4})
    builder.add_edge(START, "sub")
    builder.compile(name="outer").invoke({"x": 0})
    assert {status for _, _, status in traced.brief()} == {"ok"}


async def _slow(_):
    await asyncio.sleep(30)


def test_cancel(traced):
    async def run():
        began = asyncio.Event()

        async def slow(_):
            began.set()
            await asyncio.sleep(30)

        running = asyncio.create_task(graph("cancelled", slow=slow).ainvoke({"x": 0}))
        await began.wait()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running

    asyncio.run(run())
    assert traced.brief() == [("step", "slow", "cancelled"), ("task", "cancelled", "cancelled")]


def test_node_timeout(traced):
    if "timeout" not in inspect.signature(StateGraph.add_node).parameters:
        pytest.skip("this LangGraph has no timeout of a node")
    builder = StateGraph(State)
    builder.add_node("slow", _slow, timeout=0.05)
    builder.add_edge(START, "slow")
    with pytest.raises(Exception, match="timeout"):
        asyncio.run(builder.compile(name="timed").ainvoke({"x": 0}))
    assert traced.brief() == [("step", "slow", "cancelled"), ("task", "timed", "failed")]
    assert traced.one("timed")["error_type"] == "NodeTimeoutError"


def test_unknown_tool_is_not_in_the_spans(traced):
    """The instrumentation shows an unknown tool as an ordinary step: there is nothing in a span to see it by."""
    ask(create_agent(model(call("nope"), AIMessage("done")), [good], name="support"))
    assert {status for _, _, status in traced.brief()} == {"ok"}


def test_a_recovered_model_error(traced):
    def plan(_):
        with contextlib.suppress(RuntimeError):
            Failing(messages=iter(())).invoke("hello")
        return {"x": 1}

    graph("careful", plan=plan).invoke({"x": 0})
    assert traced.brief() == [("llm", "Failing", "failed"), ("step", "plan", "ok"), ("task", "careful", "ok")]


def test_streaming(traced):
    agent = create_agent(model(AIMessage("hello there you")), [good], name="streamer")
    assert list(agent.stream({"messages": [("user", "hi")]}, stream_mode="messages"))
    assert traced.brief() == sorted([("llm", "Model", "ok"), OK_MODEL, ("task", "streamer", "ok")])


def test_async(traced):
    agent = create_agent(model(call("good"), AIMessage("done")), [good], name="async")
    asyncio.run(agent.ainvoke({"messages": [("user", "hi")]}))
    assert traced.brief() == sorted([
        ("llm", "Model", "ok"), ("llm", "Model", "ok"), OK_MODEL, OK_MODEL, OK_TOOLS, ("task", "async", "ok"), ("tool", "good", "ok"),
    ])  # fmt: skip


def test_a_model_call_in_a_thread_is_no_task(traced):
    def work(_):
        thread = threading.Thread(target=lambda: model(AIMessage("z")).invoke("hi"))
        thread.start()
        thread.join()
        return {"x": 1}

    graph("threads", work=work).invoke({"x": 0})
    assert traced.brief() == [("llm", "Model", "ok"), ("step", "work", "ok"), ("task", "threads", "ok")]


def test_many_runs_in_threads(traced):
    """Traces that are exported mixed up: as many tasks as runs, each with its own steps."""
    found = graph("many", a=lambda _: {"x": 1}, b=lambda _: time.sleep(0.001) or {"x": 2})
    threads = [threading.Thread(target=lambda: [found.invoke({"x": 0}) for _ in range(10)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    brief = traced.brief()
    assert [
        brief.count(("task", "many", "ok")),
        brief.count(("step", "a", "ok")),
        brief.count(("step", "b", "ok")),
    ] == [40] * 3
    tasks = {each["id"] for each in traced.outcomes() if each["kind"] == "task"}
    assert {each["parent"] for each in traced.outcomes() if each["kind"] == "step"} == tasks

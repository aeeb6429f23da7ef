"""A graph's runs become outcomes exactly once: what each scenario comes to."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

import pytest
from agent_kit import HTTPError
from conftest import NEW
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, RetryPolicy, interrupt
from scripted import Failing, State, Streaming, busy, chain_of, model, says

from rsi.enforce import guard, step

FAST = RetryPolicy(initial_interval=0.001, jitter=False, retry_on=Exception)


def add(state: State) -> dict[str, int]:
    return {"x": 1}


def boom(state: State) -> dict[str, int]:
    raise ValueError("bad input")


async def aadd(state: State) -> dict[str, int]:
    return {"x": 1}


def test_success(world):
    chain_of(add).invoke({"x": 0}, {"configurable": {"thread_id": "t1"}, "metadata": {"user_id": "ann"}})
    assert world.brief() == [("step", "add", "ok", None), ("task", "app", "ok", None)]
    node, root = world.sent()
    assert (node["parent"], node["run"], node["session"]) == (root["id"], root["id"], "t1")
    assert (root["session"], root["user"], root["source"]) == ("t1", "ann", "app")


def test_an_unnamed_graph_is_called_by_the_module_that_asked(world):
    chain_of(add, name=None).invoke({"x": 0})
    assert world.brief()[-1] == ("task", "test_observed_graphs", "ok", None)


def test_a_node_fails_in_a_nested_graph(world):
    inner = chain_of(boom, name="inner")
    builder = StateGraph(State).add_node("outer", inner).add_edge(START, "outer")
    with pytest.raises(ValueError, match="bad input"):
        builder.compile(name="app").invoke({"x": 0})
    assert world.brief() == [("step", "boom", "failed", "ValueError"), ("task", "app", "failed", "ValueError")]


def test_a_graph_that_a_node_calls_is_inside_it(world):
    inner = chain_of(add, name="inner")

    def call(state: State) -> dict[str, int]:
        inner.invoke({"x": 0})
        return {"x": 1}

    chain_of(call).invoke({"x": 0})
    assert world.brief() == [
        ("step", "add", "ok", None),
        ("step", "call", "ok", None),
        ("task", "app", "ok", None),
    ]


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
def test_retry_then_success(world, how):
    work = Failing(*busy(2))
    graph = chain_of(work, retry_policy=FAST)
    run(graph, how)
    steps = [(i["status"], i.get("attempt", 1)) for i in world.sent(kind="step")]
    assert steps == [("failed", 1), ("failed", 2), ("ok", 3)]
    assert world.brief()[-1] == ("task", "app", "ok", None)


def test_retry_exhausted(world):
    with pytest.raises(HTTPError):
        chain_of(Failing(*busy(5)), retry_policy=FAST).invoke({"x": 0})
    assert world.brief() == [("step", "work", "failed", "HTTPError")] * 3 + [("task", "app", "failed", "HTTPError")]
    assert [i.get("attempt", 1) for i in world.sent(kind="step")] == [1, 2, 3]


def test_a_chain_that_fails_inside_a_node_counts_as_its_try(world):
    from langchain_core.runnables import RunnableLambda

    errors = busy(1)

    def raising(value: Any) -> Any:
        if errors:
            raise errors.pop()
        return value

    def work(state: State) -> dict[str, int]:
        (RunnableLambda(lambda x: x) | RunnableLambda(raising)).invoke(1)
        return {"x": 1}

    chain_of(work, retry_policy=FAST).invoke({"x": 0})
    assert world.brief() == [
        ("step", "work", "failed", "HTTPError"),
        ("step", "work", "ok", None),
        ("task", "app", "ok", None),
    ]
    assert world.sent()[1]["attempt"] == 2


def run(graph: Any, how: str) -> Any:
    async def astream() -> list[Any]:
        return [part async for part in graph.astream({"x": 0})]

    if how == "stream":
        return list(graph.stream({"x": 0}))
    if how == "astream":
        return asyncio.run(astream())
    return asyncio.run(graph.ainvoke({"x": 0})) if how == "ainvoke" else graph.invoke({"x": 0})


@pytest.mark.skipif(not NEW, reason="nodes have timeouts since langgraph 1.2")
def test_a_node_that_times_out_is_the_step_that_failed(world):
    async def slow(state: State) -> dict[str, int]:
        await asyncio.Event().wait()
        return {}

    from langgraph.errors import NodeTimeoutError

    with pytest.raises(NodeTimeoutError):
        asyncio.run(chain_of(slow, timeout=0.02).ainvoke({"x": 0}))
    assert world.brief() == [
        ("step", "slow", "failed", "NodeTimeoutError"),
        ("task", "app", "failed", "NodeTimeoutError"),
    ]


@pytest.mark.skipif(not NEW, reason="nodes have timeouts since langgraph 1.2")
def test_a_node_that_times_out_and_is_tried_again(world):
    tries: list[int] = []

    async def slow(state: State) -> dict[str, int]:
        tries.append(1)
        if len(tries) == 1:
            await asyncio.Event().wait()
        return {"x": 1}

    asyncio.run(chain_of(slow, timeout=0.02, retry_policy=FAST).ainvoke({"x": 0}))
    assert world.brief() == [
        ("step", "slow", "failed", "NodeTimeoutError"),
        ("step", "slow", "ok", None),
        ("task", "app", "ok", None),
    ]


def test_a_timeout_of_the_hosts_own_is_told_where_it_cut(world):
    never = model(says("never"))

    async def ask(state: State) -> dict[str, int]:
        async with asyncio.timeout(0.02):
            await never.ainvoke("hi")
        return {"x": 1}

    with pytest.raises(TimeoutError):
        asyncio.run(chain_of(ask).ainvoke({"x": 0}))
    assert world.brief() == [("llm", "fake-a", "failed", "TimeoutError"), ("task", "app", "failed", "TimeoutError")]


def test_cancel(world):
    began = asyncio.Event()

    async def slow(state: State) -> dict[str, int]:
        began.set()
        await asyncio.Event().wait()
        return {}

    async def main() -> None:
        task = asyncio.create_task(chain_of(slow).ainvoke({"x": 0}))
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert world.brief() == [("step", "slow", "cancelled", None), ("task", "app", "cancelled", None)]


def ask_person(state: State) -> dict[str, int]:
    return {"x": interrupt("ok?")}


def test_a_person_is_asked_and_answers(world):
    graph = chain_of(ask_person, compiled={"checkpointer": InMemorySaver()})
    thread = {"configurable": {"thread_id": "t7"}}
    graph.invoke({"x": 0}, thread)
    graph.invoke(Command(resume=5), thread)
    assert world.brief() == [
        ("step", "ask_person", "paused", None),
        ("task", "app", "paused", None),
        ("step", "ask_person", "ok", None),
        ("task", "app", "ok", None),
    ]
    assert {i["session"] for i in world.sent()} == {"t7"}
    assert all("error" not in i for i in world.sent())


def test_a_person_is_asked_in_a_nested_graph(world):
    inner = chain_of(ask_person, name="inner")
    builder = StateGraph(State).add_node("outer", inner).add_edge(START, "outer")
    graph = builder.compile(name="app", checkpointer=InMemorySaver())
    thread = {"configurable": {"thread_id": "t8"}}
    graph.invoke({"x": 0}, thread)
    graph.invoke(Command(resume=5), thread)
    assert [(line[1], line[2]) for line in world.brief()] == [
        ("ask_person", "paused"),
        ("outer", "paused"),
        ("app", "paused"),
        ("ask_person", "ok"),
        ("outer", "ok"),
        ("app", "ok"),
    ]


def test_a_jump_to_the_outer_graph_is_no_failure(world):
    def jump(state: State) -> Any:
        return Command(graph=Command.PARENT, goto="other", update={"x": 1})

    def other(state: State) -> dict[str, int]:
        return {"x": 1}

    inner = chain_of(jump, name="inner")
    builder = StateGraph(State).add_node("outer", inner, destinations=("other",)).add_node("other", other)
    builder.add_edge(START, "outer").compile(name="app").invoke({"x": 0})
    assert {line[2] for line in world.brief()} == {"ok"}
    assert [line[1] for line in world.brief()].count("app") == 1


@pytest.mark.skipif(not NEW, reason="graphs can be drained since langgraph 1.2")
def test_a_graph_that_was_told_to_stop_is_paused(world):
    from langgraph.errors import GraphDrained
    from langgraph.runtime import RunControl

    control = RunControl()

    def first(state: State) -> dict[str, int]:
        control.request_drain("SIGTERM")
        return {"x": 1}

    graph = chain_of(first, add, compiled={"checkpointer": InMemorySaver()})
    thread = {"configurable": {"thread_id": "t"}}
    with pytest.raises(GraphDrained):
        graph.invoke({"x": 0}, thread, control=control)
    graph.invoke(None, thread)
    assert world.brief() == [
        ("step", "first", "ok", None),
        ("task", "app", "paused", None),
        ("step", "add", "ok", None),
        ("task", "app", "ok", None),
    ]


@pytest.mark.skipif(not NEW, reason="nodes have error handlers since langgraph 1.2")
def test_a_node_whose_failure_is_handled_is_a_failed_step_of_a_task_that_worked(world):
    builder = StateGraph(State).add_node("boom", boom, error_handler=add).add_edge(START, "boom")
    builder.compile(name="app").invoke({"x": 0})
    assert world.brief() == [
        ("step", "boom", "failed", "ValueError"),
        ("step", "__error_handler__boom", "ok", None),
        ("task", "app", "ok", None),
    ]


@pytest.mark.skipif(not NEW, reason="told apart since langgraph 1.2")
def test_a_node_that_cancels_itself_has_failed(world):
    async def gives_up(state: State) -> dict[str, int]:
        raise asyncio.CancelledError

    with pytest.raises(Exception, match="gives_up"):
        asyncio.run(chain_of(gives_up).ainvoke({"x": 0}))
    assert world.brief() == [
        ("step", "gives_up", "failed", "NodeCancelledError"),
        ("task", "app", "failed", "NodeCancelledError"),
    ]


def test_the_recursion_limit_is_the_tasks_own_failure(world):
    from langgraph.errors import GraphRecursionError

    builder = StateGraph(State).add_node("loop", add).add_edge(START, "loop").add_edge("loop", "loop")
    with pytest.raises(GraphRecursionError):
        builder.compile(name="app").invoke({"x": 0}, {"recursion_limit": 3})
    assert world.brief()[-1] == ("task", "app", "failed", "GraphRecursionError")
    assert {line[2] for line in world.brief()[:-1]} == {"ok"}


def parallel(*nodes: Any) -> Any:
    builder = StateGraph(State)
    for node in nodes:
        builder.add_node(node.__name__, node).add_edge(START, node.__name__)
    return builder.compile(name="app")


def test_branches_side_by_side_in_threads(world):
    met = threading.Barrier(2, timeout=5)

    def left(state: State) -> dict[str, int]:
        met.wait()
        return {"x": 1}

    def right(state: State) -> dict[str, int]:
        met.wait()
        raise ValueError("right")

    with pytest.raises(ValueError, match="right"):
        parallel(left, right).invoke({"x": 0})
    assert sorted(world.brief()[:-1]) == [("step", "left", "ok", None), ("step", "right", "failed", "ValueError")]
    assert world.brief()[-1] == ("task", "app", "failed", "ValueError")


def test_a_sibling_that_is_cancelled_has_not_failed(world):
    async def quick(state: State) -> dict[str, int]:
        await asyncio.sleep(0.01)
        raise ValueError("quick")

    async def slow(state: State) -> dict[str, int]:
        await asyncio.Event().wait()
        return {}

    with pytest.raises(ValueError, match="quick"):
        asyncio.run(parallel(quick, slow).ainvoke({"x": 0}))
    assert sorted(world.brief()) == [
        ("step", "quick", "failed", "ValueError"),
        ("step", "slow", "cancelled", None),
        ("task", "app", "failed", "ValueError"),
    ]


def test_a_stream_that_is_closed_early_is_cancelled(world):
    stream = chain_of(add, boom).stream({"x": 0})
    next(stream)
    stream.close()
    assert world.brief()[-1] == ("task", "app", "cancelled", None)
    assert len(world.sent(kind="task")) == 1


def test_an_async_stream_that_is_closed_early_is_cancelled(world):
    async def main() -> None:
        stream = chain_of(aadd, boom).astream({"x": 0})
        await stream.__anext__()
        await stream.aclose()

    asyncio.run(main())
    assert world.brief()[-1] == ("task", "app", "cancelled", None)
    assert len(world.sent(kind="task")) == 1


def test_what_a_reader_does_between_two_parts_of_a_stream_is_not_inside_it(world):
    @guard("reading")
    def read() -> None: ...

    for _ in chain_of(add, name="first").stream({"x": 0}):
        read()
        chain_of(add, name="second").invoke({"x": 0})
    tasks = [i["task"] for i in world.sent(kind="task")]
    assert sorted(tasks) == ["first", "reading", "second"]


def test_tokens_of_a_model_that_streams(world):
    stream = model(says("hello big world"), kind=Streaming)

    def ask(state: State) -> dict[str, int]:
        stream.invoke("hi")
        return {"x": 1}

    assert len(list(chain_of(ask).stream({"x": 0}, stream_mode="messages"))) >= 3
    assert world.brief() == [("llm", "fake-a", "ok", None), ("step", "ask", "ok", None), ("task", "app", "ok", None)]


def test_a_model_call_tells_model_provider_and_tokens(world):
    asked = model(says("yes"))

    def ask(state: State) -> dict[str, int]:
        asked.invoke("hi")
        return {"x": 1}

    chain_of(ask).invoke({"x": 0})
    call = world.sent(kind="llm")[0]
    assert (call["model"], call["provider"], call["tokens_in"], call["tokens_out"]) == ("fake-a-2026", "fake", 10, 3)
    assert "input" not in call
    root = world.sent(kind="task")[0]
    assert (root["tokens_in"], root["tokens_out"]) == (10, 3)


def test_a_model_called_in_a_bare_thread_is_no_task(world):
    asked = model(says("yes"))

    def ask(state: State) -> dict[str, int]:
        thread = threading.Thread(target=lambda: asked.invoke("hi"))
        thread.start()
        thread.join()
        return {"x": 1}

    chain_of(ask).invoke({"x": 0})
    assert world.brief() == [("llm", "fake-a", "ok", None), ("step", "ask", "ok", None), ("task", "app", "ok", None)]
    assert "parent" not in world.sent(kind="llm")[0]


def test_tries_of_with_retry_are_counted(world):
    asked = model(*busy(2), says("yes"))
    patient = asked.with_retry(
        stop_after_attempt=4, wait_exponential_jitter=False, retry_if_exception_type=(HTTPError,)
    )

    def ask(state: State) -> dict[str, int]:
        patient.invoke("hi")
        return {"x": 1}

    chain_of(ask).invoke({"x": 0})
    calls = [(i["status"], i.get("attempt", 1)) for i in world.sent(kind="llm")]
    assert calls == [("failed", 1), ("failed", 2), ("ok", 3)]
    assert world.brief()[-2:] == [("step", "ask", "ok", None), ("task", "app", "ok", None)]


def test_a_guard_inside_a_node_is_a_tool_of_it(world):
    @guard("lookup")
    def lookup() -> int:
        return 1

    def work(state: State) -> dict[str, int]:
        return {"x": lookup()}

    chain_of(work).invoke({"x": 0})
    assert world.brief() == [("tool", "lookup", "ok", None), ("step", "work", "ok", None), ("task", "app", "ok", None)]
    inner, node, root = world.sent()
    assert (inner["parent"], node["parent"], inner["run"]) == (node["id"], root["id"], root["id"])


def test_a_guard_inside_an_async_node_is_a_tool_of_it(world):
    @guard("lookup")
    async def lookup() -> int:
        return 1

    async def work(state: State) -> dict[str, int]:
        return {"x": await lookup()}

    asyncio.run(chain_of(work).ainvoke({"x": 0}))
    inner, node, root = world.sent()
    assert (inner["kind"], inner["parent"], node["parent"]) == ("tool", node["id"], root["id"])


def test_a_graph_inside_a_guard_is_a_step_of_it(world):
    @guard("answer", session=lambda: "s1")
    def answer() -> Any:
        return chain_of(add, name="graph").invoke({"x": 0}, {"configurable": {"thread_id": "t1"}})

    answer()
    assert world.brief() == [("step", "add", "ok", None), ("step", "graph", "ok", None), ("task", "answer", "ok", None)]
    assert {i["session"] for i in world.sent()} == {"s1"}


def test_a_graph_inside_an_async_step_is_a_step_of_it(world):
    async def main() -> None:
        async with step("outer"):
            await chain_of(aadd, name="graph").ainvoke({"x": 0})

    asyncio.run(main())
    assert [line[:2] for line in world.brief()] == [("step", "aadd"), ("step", "graph"), ("task", "outer")]


def test_the_functional_interface(world):
    from langgraph.func import entrypoint, task

    errors = busy(1)

    @task
    def fetch(q: int) -> int:
        if errors:
            raise errors.pop()
        return q

    @entrypoint()
    def flow(q: int) -> int:
        with contextlib.suppress(HTTPError):
            fetch(q).result()
        return fetch(q).result()

    assert flow.with_config(run_name="app").invoke(3) == 3
    assert world.brief() == [
        ("step", "fetch", "failed", "HTTPError"),
        ("step", "fetch", "ok", None),
        ("step", "flow", "ok", None),
        ("task", "app", "ok", None),
    ]


def test_many_at_once(world):
    work = chain_of(add, add_again)

    def many() -> None:
        for _ in range(20):
            work.invoke({"x": 0})

    threads = [threading.Thread(target=many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    async def more() -> None:
        await asyncio.gather(*(work.ainvoke({"x": 0}) for _ in range(20)))

    asyncio.run(more())
    sent = world.sent()
    assert (len(sent), len({i["id"] for i in sent})) == (300, 300)
    roots = {i["id"] for i in sent if i["kind"] == "task"}
    assert len(roots) == 100
    assert all(i["run"] in roots for i in sent if i["kind"] == "step")


def add_again(state: State) -> dict[str, int]:
    return {"x": 1}

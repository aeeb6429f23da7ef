"""The same run seen by our own handler, and through OpenInference's instrumentation, a real OTLP exporter and our door: the same outcomes."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from collector import PATIENCE_S, Collector
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, RetryPolicy, interrupt
from openinference.instrumentation.langchain import LangChainInstrumentor
from opentelemetry.trace import Status, StatusCode
from test_otel_langchain import Failing, State, ask, bad, call, good, graph, model

import rsi
from rsi_adapters.langgraph import install, uninstall

_numbers = itertools.count(1)
#: (kind, task, status, error class, fingerprint, attempt, kind and task of what is around it)
Seen = tuple[str, str, str, str | None, int | None, int, tuple[str, str] | None]


@contextlib.contextmanager
def ours(collector: Collector) -> Iterator[str]:
    """Our handler, reporting to the daemon as it does in any agent."""
    source = f"handler-{next(_numbers)}"
    client = rsi.configure(url=collector.url, source=source, enabled=True)
    assert install()
    yield source
    uninstall()
    assert client.flush(30)
    rsi.configure(enabled=False)


def seen(collector: Collector, source: str) -> Counter[Seen]:
    """What the daemon has of one source, once it has looked at all that failed."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        rows = _rows(collector, source)
        if rows and all(row["fingerprint"] for row in rows.values() if row["status"] == "failed"):
            return Counter(_seen(row, rows.get(row.get("parent") or "")) for row in rows.values())
        time.sleep(0.1)
    raise AssertionError(f"{source}: {_rows(collector, source)}")


def _rows(collector: Collector, source: str) -> dict[str, dict[str, Any]]:
    with contextlib.closing(sqlite3.connect(collector.home / ".rsi" / "rsi.db")) as database:
        asked = "select id, kind, task, status, fingerprint, body from outcomes where source = ?"
        rows = database.execute(asked, (source,)).fetchall()
    return {
        row[0]: {**json.loads(row[5]), "kind": row[1], "task": row[2], "status": row[3], "fingerprint": row[4]}
        for row in rows
    }


def _seen(row: dict[str, Any], around: dict[str, Any] | None) -> Seen:
    error = str(row.get("error_type") or "").rpartition(".")[2] or None
    return (
        row["kind"], row["task"], row["status"], error, row["fingerprint"], row.get("attempt") or 1,
        (around["kind"], around["task"]) if around else None,
    )  # fmt: skip


@pytest.fixture
def both(collector: Collector, traced: Any) -> Callable[[Callable[[], Any]], tuple[Counter[Seen], Counter[Seen]]]:
    """Run something twice; what our handler made of it, and what came of its spans."""

    def run(scenario: Callable[[], Any]) -> tuple[Counter[Seen], Counter[Seen]]:
        with ours(collector) as source:
            scenario()
        instrumentor = LangChainInstrumentor()
        instrumentor.instrument(tracer_provider=traced.provider)
        try:
            scenario()
        finally:
            instrumentor.uninstrument()
        assert traced.outcomes()
        return seen(collector, source), seen(collector, traced.source)

    return run


def agent(*answers: Any, tools: Any = (good,)) -> Any:
    return create_agent(model(*answers), list(tools), name="support")


def one_node(work: Any, name: str = "app", **options: Any) -> Any:
    return StateGraph(State).add_node("work", work, **options).add_edge(START, "work").compile(name=name)


def flaky(times: int, attempts: int) -> Callable[[], Any]:
    def scenario() -> Any:
        left = [ConnectionError("connection reset by peer") for _ in range(times)]

        def work(_: Any) -> dict[str, int]:
            if left:
                raise left.pop()
            return {"x": 1}

        policy = RetryPolicy(initial_interval=0.01, max_attempts=attempts, jitter=False)
        with contextlib.suppress(ConnectionError):
            one_node(work, retry_policy=policy).invoke({"x": 0})

    return scenario


def success() -> None:
    ask(agent(call("good"), AIMessage("done")))


def in_a_coroutine() -> None:
    asyncio.run(agent(call("good"), AIMessage("done")).ainvoke({"messages": [("user", "hi")]}))


def streamed() -> None:
    assert list(agent(AIMessage("hello there")).stream({"messages": [("user", "hi")]}, stream_mode="messages"))


def model_error() -> None:
    with pytest.raises(RuntimeError):
        ask(create_agent(Failing(messages=iter(())), [good], name="support"))


def tool_error() -> None:
    with pytest.raises(ValueError, match="tool boom"):
        ask(agent(call("bad"), tools=[bad]))


def nested() -> None:
    def boom(_: Any) -> Any:
        raise ValueError("inner boom")

    with pytest.raises(ValueError, match="inner boom"):
        graph("outer", sub=graph("sub", b=boom)).invoke({"x": 0})


def recovered() -> None:
    def plan(_: Any) -> dict[str, int]:
        with contextlib.suppress(RuntimeError):
            Failing(messages=iter(())).invoke("hello")
        return {"x": 1}

    graph("careful", plan=plan).invoke({"x": 0})


def asked() -> None:
    found = graph("asking", checkpointer=InMemorySaver(), ask=lambda _: {"x": interrupt("ok?")})
    config = {"configurable": {"thread_id": "t-1"}}
    found.invoke({"x": 0}, config)
    found.invoke(Command(resume=1), config)


def jump() -> None:
    inner = graph("inner", b=lambda _: Command(graph=Command.PARENT, goto="end", update={"x": 3}))
    builder = StateGraph(State).add_node("sub", inner, destinations=("end",)).add_node("end", lambda _: {"x": 4})
    builder.add_edge(START, "sub").compile(name="outer").invoke({"x": 0})


def cancelled() -> None:
    async def main() -> None:
        began = asyncio.Event()

        async def work(_: Any) -> None:
            began.set()
            await asyncio.Event().wait()

        running = asyncio.create_task(one_node(work).ainvoke({"x": 0}))
        await began.wait()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running

    asyncio.run(main())


SAME = [
    success, in_a_coroutine, streamed, model_error, tool_error, nested, recovered, asked, cancelled,
    pytest.param(flaky(2, 3), id="retried"), pytest.param(flaky(9, 2), id="exhausted"),
]  # fmt: skip


@pytest.mark.parametrize("scenario", SAME)
def test_the_same_outcomes(both, scenario):
    handler, spans = both(scenario)
    assert handler == spans


def test_a_graph_inside_a_node_is_a_step_more_in_the_spans(both):
    handler, spans = both(jump)
    assert [(task, status, around) for _, task, status, *_, around in handler - spans] == [("b", "ok", ("step", "sub"))]
    assert sorted((task, status, around) for _, task, status, *_, around in spans - handler) == [
        ("b", "ok", ("step", "inner")),
        ("inner", "ok", ("step", "sub")),
    ]


def test_an_unknown_tool_is_seen_by_the_handler_alone(both):
    handler, spans = both(lambda: ask(agent(call("nope"), AIMessage("sorry"))))
    (only,) = handler - spans
    assert only[:3] == ("tool", "nope", "failed")
    assert not spans - handler


def test_a_node_that_timed_out_is_a_cancelled_one_in_its_span(both):
    if "timeout" not in inspect.signature(StateGraph.add_node).parameters:
        pytest.skip("this LangGraph has no timeout of a node")

    def scenario() -> None:
        async def work(_: Any) -> None:
            await asyncio.Event().wait()

        with pytest.raises(Exception, match="timeout"):
            asyncio.run(one_node(work, timeout=0.05).ainvoke({"x": 0}))

    handler, spans = both(scenario)
    assert _brief(handler) == [
        ("step", "work", "failed", "NodeTimeoutError"),
        ("task", "app", "failed", "NodeTimeoutError"),
    ]
    assert _brief(spans) == [("step", "work", "cancelled", None), ("task", "app", "failed", "NodeTimeoutError")]


def test_an_error_that_was_raised_from_another_one_may_be_another_fingerprint(both):
    """A span has both tracebacks in one text; all else agrees."""

    def work(_: Any) -> None:
        raise RuntimeError("no plan today") from ConnectionError("connection reset by peer")

    def scenario() -> None:
        with pytest.raises(RuntimeError):
            one_node(work).invoke({"x": 0})

    handler, spans = both(scenario)
    assert _but_the_fingerprint(handler) == _but_the_fingerprint(spans)


def _brief(found: Counter[Seen]) -> list[tuple[str, str, str, str | None]]:
    return sorted(each[:4] for each in found.elements())


def _but_the_fingerprint(found: Counter[Seen]) -> list[Any]:
    return sorted((*each[:4], each[5]) for each in found.elements())


def test_hand_made_spans_say_the_same(collector, traced):
    """GenAI spans of a run that a handler saw: an agent whose tool failed after its model was asked twice."""
    source = f"handler-{next(_numbers)}"
    client = rsi.configure(url=collector.url, source=source, enabled=True)
    with contextlib.suppress(ValueError), rsi.step("support"):
        with contextlib.suppress(OSError), rsi.step("gpt-x", kind="llm"):
            raise ConnectionError("connection reset by peer")
        with rsi.step("gpt-x", kind="llm"):
            pass
        with rsi.step("search", kind="tool") as tool:
            tool.fail("no such index", error_type="LookupError")
        raise ValueError("no plan today")
    assert client.flush(30)
    rsi.configure(enabled=False)
    tracer = traced.provider.get_tracer("hand-made")

    def span(name: str, **about: str) -> Any:
        return tracer.start_as_current_span(name, attributes={f"gen_ai.{key}": value for key, value in about.items()})

    chat = {"operation.name": "chat", "request.model": "gpt-x"}
    with contextlib.suppress(ValueError), span("run", **{"operation.name": "invoke_agent", "agent.name": "support"}):
        with contextlib.suppress(OSError), span("gpt-x", **chat):
            raise ConnectionError("connection reset by peer")
        with span("gpt-x", **chat):
            pass
        with span("tool", **{"operation.name": "execute_tool", "tool.name": "search"}) as tool:
            tool.set_status(Status(StatusCode.ERROR, "no such index"))
            tool.set_attribute("error.type", "LookupError")
        raise ValueError("no plan today")
    assert traced.outcomes()
    handler, spans = seen(collector, source), seen(collector, traced.source)
    assert [each[:5] for each in sorted(handler)] == [each[:5] for each in sorted(spans)]

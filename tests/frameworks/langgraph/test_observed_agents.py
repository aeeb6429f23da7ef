"""An agent's models and tools: what failed is told once, what looks like success and is none is not believed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from agent_kit import HTTPError
from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware, ToolRetryMiddleware
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import ToolException, tool
from scripted import ASKED, busy, model, says

CALLS = says("", ("lookup", {"q": "x"}))


@tool
def lookup(q: str) -> str:
    """Look up."""
    return "found"


@tool("lookup")
def broken(q: str) -> str:
    """Look up."""
    raise TimeoutError("upstream timed out")


def agent(script: list[Any], *tools: Any, **more: Any) -> Any:
    return create_agent(model(*script), list(tools) or [lookup], name="support", **more)


def test_success(world):
    agent([CALLS, says("done")]).invoke(ASKED)
    assert world.brief() == [
        ("llm", "fake-a", "ok", None),
        ("step", "model", "ok", None),
        ("tool", "lookup", "ok", None),
        ("step", "tools", "ok", None),
        ("llm", "fake-a", "ok", None),
        ("step", "model", "ok", None),
        ("task", "support", "ok", None),
    ]
    assert all("attempt" not in item for item in world.sent())


def test_async_success(world):
    asyncio.run(agent([CALLS, says("done")]).ainvoke(ASKED))
    assert [line[1] for line in world.brief()] == ["fake-a", "model", "lookup", "tools", "fake-a", "model", "support"]
    assert {line[2] for line in world.brief()} == {"ok"}


@pytest.mark.parametrize("how", ["sync", "async"])
def test_model_error(world, how):
    asked = agent([HTTPError(500)])
    with pytest.raises(HTTPError):
        asked.invoke(ASKED) if how == "sync" else asyncio.run(asked.ainvoke(ASKED))
    assert world.brief() == [("llm", "fake-a", "failed", "HTTPError"), ("task", "support", "failed", "HTTPError")]
    assert world.sent(kind="llm")[0]["error"]["status"] == 500


@pytest.mark.parametrize("how", ["sync", "async"])
def test_tool_error(world, how):
    asked = agent([CALLS, says("done")], broken)
    with pytest.raises(TimeoutError):
        asked.invoke(ASKED) if how == "sync" else asyncio.run(asked.ainvoke(ASKED))
    assert [line for line in world.brief() if line[2] == "failed"] == [
        ("tool", "lookup", "failed", "TimeoutError"),
        ("task", "support", "failed", "TimeoutError"),
    ]


def test_a_tool_that_does_not_exist(world):
    agent([says("", ("nope", {})), says("sorry")]).invoke(ASKED)
    assert [line for line in world.brief() if line[0] == "tool"] == [("tool", "nope", "failed", None)]
    assert world.brief()[-1] == ("task", "support", "ok", None)
    item = world.sent(kind="tool")[0]
    assert "not a valid tool" in item["error"]["message"]
    assert item["parent"] == world.sent(kind="step", task="tools")[0]["id"]


def test_arguments_that_do_not_fit(world):
    agent([says("", ("lookup", {"zz": 1})), says("sorry")]).invoke(ASKED)
    assert [line for line in world.brief() if line[0] == "tool"] == [("tool", "lookup", "failed", "ValidationError")]
    assert world.brief()[-1] == ("task", "support", "ok", None)


def test_a_tool_that_says_itself_that_it_failed(world):
    @tool("lookup")
    def handled(q: str) -> str:
        """Look up."""
        raise ToolException("no such page")

    handled.handle_tool_error = True
    agent([CALLS, says("sorry")], handled).invoke(ASKED)
    assert [line for line in world.brief() if line[0] == "tool"] == [("tool", "lookup", "failed", None)]
    assert world.sent(kind="tool")[0]["error"]["message"] == "no such page"
    assert world.brief()[-1] == ("task", "support", "ok", None)


def test_a_retrying_middleware_of_the_hosts_is_counted(world):
    tries: list[int] = []

    @tool("lookup")
    def flaky(q: str) -> str:
        """Look up."""
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("reset")
        return "ok"

    patient = ToolRetryMiddleware(max_retries=3, initial_delay=0.001, jitter=False)
    agent([CALLS, says("done")], flaky, middleware=[patient]).invoke(ASKED)
    tools = [(i["status"], i.get("attempt", 1)) for i in world.sent(kind="tool")]
    assert tools == [("failed", 1), ("failed", 2), ("ok", 3)]
    assert world.brief()[-1] == ("task", "support", "ok", None)


def test_a_retrying_middleware_that_gives_up_is_told_as_its_tries(world):
    patient = ToolRetryMiddleware(max_retries=1, initial_delay=0.001, jitter=False)
    agent([CALLS, says("sorry")], broken, middleware=[patient]).invoke(ASKED)
    assert [line for line in world.brief() if line[0] == "tool"] == [("tool", "lookup", "failed", "TimeoutError")] * 2
    assert world.brief()[-1] == ("task", "support", "ok", None)


def _model_retry(**more: Any) -> Any:
    middleware = pytest.importorskip("langchain.agents.middleware")
    if not hasattr(middleware, "ModelRetryMiddleware"):
        pytest.skip("ModelRetryMiddleware came with langchain 1.1")
    return middleware.ModelRetryMiddleware(max_retries=1, initial_delay=0.001, jitter=False, **more)


def test_an_answer_that_no_model_gave_is_a_failure(world):
    agent(busy(2), middleware=[_model_retry()]).invoke(ASKED)
    assert world.brief() == [
        ("llm", "fake-a", "failed", "HTTPError"),
        ("llm", "fake-a", "failed", "HTTPError"),
        ("step", "model", "ok", None),
        ("task", "support", "failed", "HTTPError"),
    ]
    assert [i.get("attempt", 1) for i in world.sent(kind="llm")] == [1, 2]


def test_a_model_that_answers_at_the_second_try_is_none(world):
    agent([*busy(1), says("done")], middleware=[_model_retry()]).invoke(ASKED)
    assert world.brief()[-1] == ("task", "support", "ok", None)


def test_another_model_answers(world):
    other = ModelFallbackMiddleware(model(says("from b"), name="fake-b"))
    agent(busy(1), middleware=[other]).invoke(ASKED)
    assert world.brief() == [
        ("llm", "fake-a", "failed", "HTTPError"),
        ("llm", "fake-b", "ok", None),
        ("step", "model", "ok", None),
        ("task", "support", "ok", None),
    ]


def test_an_agent_as_a_tool_of_another_is_inside_it(world):
    inner = create_agent(model(HTTPError(500)), [], name="inner")

    @tool
    def ask(q: str) -> str:
        """Ask the other one."""
        return str(inner.invoke(ASKED)["messages"][-1].content)

    with pytest.raises(HTTPError):
        create_agent(model(says("", ("ask", {"q": "x"}))), [ask], name="outer").invoke(ASKED)
    assert [line for line in world.brief() if line[2] == "failed"] == [
        ("llm", "fake-a", "failed", "HTTPError"),
        ("task", "outer", "failed", "HTTPError"),
    ]
    assert len(world.sent(kind="task")) == 1


def test_an_approval_that_is_waited_for(world):
    from langchain.agents.middleware import HumanInTheLoopMiddleware
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.types import Command

    asked = agent(
        [CALLS, says("done")],
        middleware=[HumanInTheLoopMiddleware(interrupt_on={"lookup": True})],
        checkpointer=InMemorySaver(),
    )
    thread = {"configurable": {"thread_id": "t1"}}
    asked.invoke(ASKED, thread)
    asked.invoke(Command(resume={"decisions": [{"type": "approve"}]}), thread)
    assert [i["status"] for i in world.sent(kind="task")] == ["paused", "ok"]
    assert {i["session"] for i in world.sent()} == {"t1"}
    assert not world.sent(status="failed")


class Library(BaseRetriever):
    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        raise ConnectionError("index away")


def test_a_retriever_in_a_chain_is_a_step(world):
    chain = (RunnableLambda(lambda x: x) | Library()).with_config(run_name="answer")
    with pytest.raises(ConnectionError):
        chain.invoke("q")
    assert world.brief() == [
        ("step", "Library", "failed", "ConnectionError"),
        ("task", "answer", "failed", "ConnectionError"),
    ]


def test_a_model_called_alone_is_no_task(world):
    model(says("hi")).invoke("hi")
    assert world.brief() == [("llm", "fake-a", "ok", None)]

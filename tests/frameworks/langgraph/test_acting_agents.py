"""`RSIMiddleware`: an agent's model and tool calls follow the policy of the unit at hand."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

import pytest
from agent_kit import HTTPError, policy_of, trial
from langchain.agents import create_agent
from langchain_core.messages import SystemMessage
from langchain_core.tools import tool
from scripted import ASKED, busy, model, says

import rsi.client
from rsi_adapters.langgraph import RSIMiddleware, uninstall

QUICK = {"max_attempts": 3, "initial_s": 0.001}
CALLS = says("", ("lookup", {"q": "x"}))


def flaky(*errors: BaseException) -> Any:
    left = list(errors)

    @tool("lookup")
    def lookup(q: str) -> str:
        """Look up."""
        if left:
            raise left.pop(0)
        return "found"

    return lookup


def agent(asked: Any, *tools: Any, **options: Any) -> Any:
    return create_agent(asked, list(tools), middleware=[RSIMiddleware(**options)], name="support")


def run(it: Any, how: str, thread: str = "t") -> Any:
    config = {"configurable": {"thread_id": thread}}
    return it.invoke(ASKED, config) if how == "sync" else asyncio.run(it.ainvoke(ASKED, config))


BOTH = pytest.mark.parametrize("how", ["sync", "async"])


@BOTH
def test_a_model_call_is_tried_again(world, how):
    world.policy(retry=QUICK)
    asked = model(*busy(2), says("done"))
    run(agent(asked), how)
    assert world.brief() == [
        ("llm", "fake-a", "failed", "HTTPError"),
        ("llm", "fake-a", "failed", "HTTPError"),
        ("llm", "fake-a", "ok", None),
        ("step", "model", "ok", None),
        ("task", "support", "ok", None),
    ]
    assert [i.get("attempt", 1) for i in world.sent(kind="llm")] == [1, 2, 3]
    (task,) = world.sent(kind="task")
    assert (task["policy_version"], task["attempt"]) == (1, 3)


@BOTH
def test_retry_exhausted(world, how):
    world.policy(retry=QUICK)
    with pytest.raises(HTTPError):
        run(agent(model(*busy(9))), how)
    assert world.brief() == [("llm", "fake-a", "failed", "HTTPError")] * 3 + [
        ("task", "support", "failed", "HTTPError")
    ]


def test_a_model_that_repeats_by_itself_is_an_inner_layer(world):
    world.policy(retry={**QUICK, "max_attempts": 6})
    asked = model(*busy(9), max_retries=2)
    with pytest.raises(HTTPError):
        run(agent(asked), "sync")
    assert len(asked.seen) == 2


@BOTH
def test_another_declared_model_answers(world, how):
    world.policy(fallbacks=["unknown", "small"])
    other = model(says("from b"), name="fake-b")
    assert run(agent(model(*busy(9)), models={"small": other}), how)["messages"][-1].content == "from b"
    assert [line for line in world.brief() if line[0] != "step"] == [
        ("llm", "fake-a", "failed", "HTTPError"),
        ("llm", "fake-b", "ok", None),
        ("task", "support", "ok", None),
    ]


@BOTH
def test_lessons_are_added_to_the_system_message_once(world, how):
    world.policy(lessons=["Quote the order number."], retry=QUICK)
    asked = model(*busy(1), CALLS, says("done"))
    it = create_agent(asked, [flaky()], system_prompt="You are X", middleware=[RSIMiddleware()], name="support")
    run(it, how)
    systems = [messages[0] for messages in asked.seen]
    assert len(systems) == 3
    for system in systems:
        assert isinstance(system, SystemMessage)
        assert system.text if isinstance(system.text, str) else system.text()
        assert str(system.content).startswith("You are X")
        assert str(system.content).count("Quote the order number.") == 1


def test_lessons_for_an_agent_without_a_system_message(world):
    world.policy(lessons=["Quote the order number."])
    asked = model(says("done"))
    run(agent(asked), "sync")
    assert "Quote the order number." in str(asked.seen[0][0].content)


@BOTH
def test_the_length_of_the_answer_is_limited(world, how):
    world.policy(max_output_tokens=64)
    asked = model(says("done"))
    run(agent(asked), how)
    assert asked.given == [{"max_tokens": 64}]


def test_a_sync_call_is_cut_by_the_models_own_setting(world):
    world.policy(timeout_s=5)
    asked = model(says("done"))
    run(agent(asked, timeout_setting="timeout"), "sync")
    assert asked.given == [{"timeout": 5}]


def test_a_coroutine_is_cut(world):
    world.policy(timeout_s=0.05)
    with pytest.raises(TimeoutError, match="rsi policy"):
        run(agent(model(says("never"))), "async")
    assert world.brief() == [
        ("llm", "fake-a", "failed", "TimeoutError"),
        ("task", "support", "failed", "TimeoutError"),
    ]


def test_a_coroutine_that_was_cut_is_tried_again(world):
    world.policy(timeout_s=0.2, retry={**QUICK, "on": ["timeout_model", "timeout_tool"]})
    run(agent(model(says("never"), says("done"))), "async")
    assert world.brief() == [
        ("llm", "fake-a", "failed", "TimeoutError"),
        ("llm", "fake-a", "ok", None),
        ("step", "model", "ok", None),
        ("task", "support", "ok", None),
    ]


@BOTH
def test_a_tool_that_may_be_called_twice_is(world, how):
    world.policy(retry=QUICK)
    run(agent(model(CALLS, says("done")), flaky(*busy(2)), idempotent=["lookup"]), how)
    tools = [(i["status"], i.get("attempt", 1)) for i in world.sent(kind="tool")]
    assert tools == [("failed", 1), ("failed", 2), ("ok", 3)]
    assert world.brief()[-1] == ("task", "support", "ok", None)


@BOTH
def test_any_other_tool_is_not(world, how):
    world.policy(retry=QUICK)
    with pytest.raises(HTTPError):
        run(agent(model(CALLS, says("done")), flaky(*busy(1))), how)
    assert [line for line in world.brief() if line[2] == "failed"] == [
        ("tool", "lookup", "failed", "HTTPError"),
        ("task", "support", "failed", "HTTPError"),
    ]


def test_a_tool_that_the_home_calls_idempotent_may_be_called_twice(daemon, tmp_path):
    home = tmp_path / "home"
    (home / "rsi.yaml").write_text("sources: {app: {idempotent: [lookup]}}\n", encoding="utf-8")
    client = rsi.client.configure(url=daemon.url, home=home, source="app", enabled=True)
    daemon.set_policy("app", 1, scopes=[{"source": "*", "task": "*", "retry": QUICK}])
    client.want("app", "any", {"retry"})
    policy_of(client, "app", 1)
    run(agent(model(CALLS, says("done")), flaky(*busy(1))), "sync")


@BOTH
def test_a_tool_that_does_not_exist_and_one_that_asks_a_person_are_not_repeated(world, how):
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.types import Command, interrupt

    world.policy(retry=QUICK)
    tries: list[int] = []

    @tool
    def ask(q: str) -> str:
        """Ask."""
        tries.append(1)
        return str(interrupt("ok?"))

    it = create_agent(
        model(says("", ("nope", {})), says("", ("ask", {"q": "x"})), says("done")),
        [ask],
        middleware=[RSIMiddleware(idempotent=["ask", "nope"])],
        name="support",
        checkpointer=InMemorySaver(),
    )
    run(it, how)
    resumed = Command(resume="yes")
    thread = {"configurable": {"thread_id": "t"}}
    it.invoke(resumed, thread) if how == "sync" else asyncio.run(it.ainvoke(resumed, thread))
    assert [line for line in world.brief() if line[0] in ("tool", "task")] == [
        ("tool", "nope", "failed", None),
        ("tool", "ask", "paused", None),
        ("task", "support", "paused", None),
        ("tool", "ask", "ok", None),
        ("task", "support", "ok", None),
    ]
    assert len(tries) == 2


@pytest.mark.parametrize("how", ["sync", "async", "threads"])
def test_both_arms_in_one_process(world, how):
    world.policy(trial(patch={"retry": QUICK}))
    threads = [f"t{n}" for n in range(20)]

    class PerThread:
        """Each conversation has its own model, which is busy once."""

        def __init__(self) -> None:
            self.agents = {thread: agent(model(*busy(1), says("done"))) for thread in threads}

        def one(self, thread: str) -> None:
            with contextlib.suppress(HTTPError):
                run(self.agents[thread], "sync", thread)

        async def later(self, thread: str) -> None:
            with contextlib.suppress(HTTPError):
                await self.agents[thread].ainvoke(ASKED, {"configurable": {"thread_id": thread}})

        async def everybody(self) -> None:
            await asyncio.gather(*map(self.later, threads))

    them = PerThread()
    if how == "async":
        asyncio.run(them.everybody())
    elif how == "threads":
        workers = [threading.Thread(target=them.one, args=(thread,)) for thread in threads]
        [worker.start() for worker in workers]
        [worker.join() for worker in workers]
    else:
        [them.one(thread) for thread in threads]
    tasks = world.sent(kind="task")
    assert len(tasks) == 20
    assert {i["fixes"][0]["arm"] for i in tasks} == {"fixed", "control"}
    assert all(i["fixes"][0]["enforced"] for i in tasks)
    assert all(i["status"] == ("ok" if i["fixes"][0]["arm"] == "fixed" else "failed") for i in tasks)
    assert sorted(i["session"] for i in world.sent(status="started")) == sorted(threads)


def test_a_rollback_holds_without_a_restart(world):
    it = agent(model(*busy(1), says("done"), *busy(1), says("done")))
    world.policy(retry=QUICK)
    run(it, "sync", "a")
    world.version += 1
    world.daemon.set_policy("app", world.version)
    policy_of(world.client, "app", world.version)
    with pytest.raises(HTTPError):
        run(it, "sync", "b")


def test_it_sees_to_it_that_somebody_observes(world):
    uninstall()
    run(agent(model(says("done"))), "sync")
    assert world.brief()[-1] == ("task", "support", "ok", None)


@pytest.mark.parametrize("switch", ["RSI_DISABLE", "RSI_OBSERVE_ONLY"])
def test_switched_off_it_is_not_there(daemon, monkeypatch, switch):
    monkeypatch.setenv(switch, "1")
    client = rsi.client.configure(url=daemon.url, source="app", enabled=True)
    daemon.set_policy("app", 1, scopes=[{"source": "*", "task": "*", "retry": QUICK, "lessons": ["x"]}])
    asked = model(*busy(1), says("done"))
    with pytest.raises(HTTPError):
        run(agent(asked), "sync")
    assert len(asked.seen) == 1
    assert client.flush(5)
    assert [i["status"] for i in daemon.items(kind="task")] == ([] if switch == "RSI_DISABLE" else ["failed"])
    assert daemon.policy_queries == []


def test_only_what_it_can_do_is_offered(world):
    run(agent(model(says("done")), models={"small": "fake"}), "sync")
    world.sent()
    offered = {query.get("task"): set(query.get("enforces", "").split(",")) for query in world.daemon.policy_queries}
    assert offered["support"] == {"retry", "lessons", "fallbacks", "max_output_tokens"}


def test_of_two_tools_side_by_side_only_the_one_that_was_cut_is_told_so(world):
    world.policy(timeout_s=0.3, retry={**QUICK, "on": ["timeout_model", "timeout_tool"]})
    tries: list[int] = []

    @tool
    async def slow(q: str) -> str:
        """Look up."""
        tries.append(1)
        if len(tries) == 1:
            await asyncio.Event().wait()
        return "found"

    @tool
    async def quick(q: str) -> str:
        """Look up."""
        return "found"

    both = says("", ("slow", {"q": "x"}), ("quick", {"q": "x"}))
    run(agent(model(both, says("done")), slow, quick, idempotent=["slow", "quick"]), "async")
    assert sorted(line[1:] for line in world.brief() if line[0] == "tool") == [
        ("quick", "ok", None),
        ("slow", "failed", "TimeoutError"),
        ("slow", "ok", None),
    ]
    assert world.brief()[-1] == ("task", "support", "ok", None)

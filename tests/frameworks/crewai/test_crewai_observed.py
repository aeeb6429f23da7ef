"""What the real framework does becomes exactly these outcomes, none twice and none missing."""

from __future__ import annotations

import asyncio
import threading

import pytest
from agent_kit import wait_for
from crew_kit import Scripted, asks
from crewai import Agent, Crew, Process, Task
from crewai.events import crewai_event_bus
from crewai.tools import tool

import rsi
from rsi_adapters import crewai as adapter

FIND = ("task", "find", "ok", None)


@tool("lookup")
def lookup(q: str) -> str:
    """Look something up."""
    return "found"


@tool("broken")
def broken(q: str) -> str:
    """Fail."""
    raise ConnectionError("the warehouse is down")


def test_success_is_one_task_with_its_session_model_and_tokens(world, crew):
    crew(Scripted()).kickoff()
    (task,) = world.sent()
    assert world.brief() == [FIND]
    assert (task["model"], task["tokens_in"], task["tokens_out"]) == ("m", 10, 3)
    assert task["session"]
    assert task["duration_ms"] >= 0


def test_a_native_model_and_its_tool(world, crew, native, provider):
    provider.script = [[("lookup", {"q": "x"})], "X is 42"]
    assert "42" in str(crew(native(), lookup).kickoff())
    (task,) = world.sent()
    assert (task["status"], task["tokens_in"], task["tokens_out"]) == ("ok", 22, 14)


def test_a_task_without_a_name_has_its_role_and_template(world, crew):
    crew(Scripted(), role="{kind} expert", task={"name": None, "description": "Find {thing}"}).kickoff(
        inputs={"kind": "Bird", "thing": "a wren"}
    )
    assert world.sent()[0]["task"] == "{kind} expert: Find {thing}"


def test_a_model_error_is_one_failed_call_and_one_failed_task(world, crew, native, provider):
    provider.default = 503
    with pytest.raises(Exception, match="overloaded"):
        crew(native()).kickoff()
    call, task = world.sent()
    assert [(i["kind"], i["task"], i["status"]) for i in (call, task)] == [
        ("llm", "m", "failed"),
        ("task", "find", "failed"),
    ]
    assert (call["parent"], call["session"]) == (task["id"], task["session"])
    assert call["error"]["status"] == task["error"]["status"] == 503


def test_an_agent_that_begins_again_fails_once_as_a_task(world, crew):
    with pytest.raises(RuntimeError):
        crew(Scripted(RuntimeError("503 overloaded"), RuntimeError("503 overloaded")), max_retry_limit=1).kickoff()
    assert [line[:3] for line in world.brief()] == [
        ("llm", "m", "failed"),
        ("llm", "m", "failed"),
        ("task", "find", "failed"),
    ]
    assert [item.get("attempt", 1) for item in world.sent(kind="llm")] == [1, 2]


def test_an_agent_that_begins_again_and_succeeds(world, crew):
    crew(Scripted(RuntimeError("503 overloaded")), max_retry_limit=1).kickoff()
    assert [line[:3] for line in world.brief()] == [("llm", "m", "failed"), ("task", "find", "ok")]


def test_a_tool_error_that_the_model_is_told_of_is_recovered(world, crew, native, provider):
    provider.script = [[("broken", {"q": "x"})], "sorry"]
    crew(native(), broken).kickoff()
    assert world.brief() == [("tool", "broken", "failed", "ConnectionError"), FIND]
    assert world.sent()[0]["parent"] == world.sent()[1]["id"]


def test_a_tool_that_the_framework_tries_three_times(world, crew):
    crew(Scripted(asks("broken")), broken).kickoff()
    assert world.brief() == [("tool", "broken", "failed", "ConnectionError")] * 3 + [FIND]
    assert [item.get("attempt", 1) for item in world.sent(kind="tool")] == [1, 2, 3]


def test_an_unknown_tool_of_a_react_agent_is_told_once(world, crew):
    crew(Scripted(asks("no_such_tool")), lookup).kickoff()
    assert world.brief() == [("tool", "no_such_tool", "failed", "ToolNotFound"), FIND]


def test_an_unknown_tool_by_function_calling_is_told_once(world, crew, native, provider):
    provider.script = [[("no_such_tool", {"q": "x"})], "done"]
    crew(native(), lookup).kickoff()
    assert [line[:3] for line in world.brief()] == [("tool", "no_such_tool", "failed"), FIND[:3]]


def test_arguments_that_a_tool_cannot_take(world, crew, native, provider):
    provider.script = [[("lookup", {"nothing": 1})], "done"]
    crew(native(), lookup).kickoff()
    assert [line[:3] for line in world.brief()] == [("tool", "lookup", "failed"), FIND[:3]]


def test_a_guardrail_that_passes_the_second_time(world, crew):
    asked = []

    def strict(output):
        asked.append(output)
        return (len(asked) > 1, output.raw if len(asked) > 1 else "longer, please")

    crew(Scripted(), task={"guardrail": strict}).kickoff()
    assert world.brief() == [FIND]


def test_a_guardrail_that_never_passes(world, crew):
    with pytest.raises(Exception, match="guardrail"):
        crew(Scripted(), task={"guardrail": lambda output: (False, "no"), "guardrail_max_retries": 1}).kickoff()
    assert [line[:3] for line in world.brief()] == [("task", "find", "failed")]


def test_a_timeout_of_the_client(world, crew, native, provider):
    provider.script = [2.0]
    with pytest.raises(Exception, match=r"(?i)time"):
        crew(native(timeout=0.2)).kickoff()
    assert [line[:3] for line in world.brief()] == [("llm", "m", "failed"), ("task", "find", "failed")]


def test_an_agent_that_takes_too_long(world, crew, native, provider):
    provider.script = [1.5]
    with pytest.raises(TimeoutError):
        crew(native(), max_execution_time=1).kickoff()
    assert world.sent(kind="task")[0]["error"]["type"] == "TimeoutError"
    assert len(world.sent(kind="task")) == 1


def test_a_person_is_asked_and_answers(world, crew, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: "")
    crew(Scripted(), task={"human_input": True}).kickoff()
    assert world.brief() == [FIND]


def test_two_tasks_of_one_kickoff_share_their_session(world):
    worker = Agent(role="R", goal="g", backstory="b", llm=Scripted(), max_retry_limit=0)
    tasks = [Task(description=name, expected_output="X", agent=worker, name=name) for name in ("plan", "write")]
    Crew(agents=[worker], tasks=tasks, tracing=False).kickoff()
    assert world.brief() == [("task", "plan", "ok", None), ("task", "write", "ok", None)]
    assert len({item["session"] for item in world.sent()}) == 1


def test_the_conversation_may_be_named_by_an_input(world, crew):
    adapter.uninstall()
    adapter.listen(client=world.client, session_input="chat")
    crew(Scripted()).kickoff(inputs={"chat": "c-7"})
    assert world.sent()[0]["session"] == "c-7"


def test_a_crew_inside_a_tool_is_a_step_of_the_task_around_it(world, crew):
    @tool("ask")
    def ask(q: str) -> str:
        """Ask the experts."""
        return str(crew(Scripted(model="inner"), task={"name": "answer"}).kickoff())

    crew(Scripted(asks("ask")), ask).kickoff()
    assert world.brief() == [("step", "answer", "ok", None), FIND]
    step, task = world.sent()
    assert (step["parent"], step["session"]) == (task["id"], task["session"])


def test_a_crew_that_fails_inside_a_tool_is_told_where_it_began(world, crew, native, provider):
    @tool("ask")
    def ask(q: str) -> str:
        """Ask the experts."""
        return str(crew(native("inner"), task={"name": "answer"}).kickoff())

    provider.default = 503
    crew(Scripted(asks("ask")), ask).kickoff()
    found = world.brief()
    assert found[-1] == FIND
    assert {line[:3] for line in found[:-1]} == {("llm", "inner", "failed")}
    assert len(found[:-1]) == len(provider.requests)


def test_a_guard_inside_a_tool_is_a_part_of_the_task(world, crew):
    @tool("priced")
    def priced(q: str) -> str:
        """Ask for the price."""

        @rsi.guard("price", client=world.client)
        def price() -> str:
            return "3"

        return price()

    crew(Scripted(asks("priced")), priced).kickoff()
    assert world.brief() == [("tool", "price", "ok", None), FIND]
    guarded, task = world.sent()
    assert guarded["parent"] == task["id"]


def test_a_crew_inside_a_guard_is_a_step_of_it(world, crew):
    @rsi.guard("outer", client=world.client)
    def outer() -> None:
        crew(Scripted()).kickoff()

    outer()
    assert world.brief() == [("step", "find", "ok", None), ("task", "outer", "ok", None)]


def test_kickoff_for_each_is_one_unit_an_input(world, crew):
    crew(Scripted(), task={"description": "Find {x}"}).kickoff_for_each(inputs=[{"x": str(n)} for n in range(3)])
    assert world.brief() == [FIND] * 3
    assert len({item["session"] for item in world.sent()}) == 3


def test_kickoff_async_many_at_once_do_not_mix(world, crew):
    async def main() -> None:
        await asyncio.gather(*(crew(Scripted(model=f"m{n}")).kickoff_async() for n in range(8)))

    asyncio.run(main())
    assert world.brief() == [FIND] * 8
    assert len({item["session"] for item in world.sent()}) == 8
    assert {item["model"] for item in world.sent()} == {f"m{n}" for n in range(8)}


def test_native_async(world, crew, native, provider):
    provider.script = ["X is 42", 503]

    async def main() -> None:
        await crew(native()).akickoff()
        with pytest.raises(Exception, match="overloaded"):
            await crew(native()).akickoff()

    asyncio.run(main())
    assert [line[:3] for line in world.brief()] == [FIND[:3], ("llm", "m", "failed"), ("task", "find", "failed")]


def test_a_cancelled_crew_is_cancelled_and_not_failed(world, crew, native, provider):
    provider.script = [5.0]

    async def main() -> None:
        running = asyncio.create_task(crew(native()).akickoff())
        await asyncio.to_thread(wait_for, lambda: provider.requests)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())
    assert [line[:3] for line in world.brief()] == [("task", "find", "cancelled")]


def test_a_crew_that_was_left_by_ctrl_c_is_cancelled_and_the_next_is_no_part_of_it(world, crew):
    with pytest.raises(KeyboardInterrupt):
        crew(Scripted(KeyboardInterrupt())).kickoff()
    crew(Scripted()).kickoff()
    assert [line[:3] for line in world.brief()] == [("task", "find", "cancelled"), ("task", "find", "ok")]


def test_threads(world, crew):
    threads = [threading.Thread(target=lambda: crew(Scripted()).kickoff()) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert world.brief() == [FIND] * 6


def test_a_task_in_a_thread_of_its_own(world):
    worker = Agent(role="R", goal="g", backstory="b", llm=Scripted(), max_retry_limit=0)
    side = Task(description="d", expected_output="X", agent=worker, name="side", async_execution=True)
    last = Task(description="d", expected_output="X", agent=worker, name="last", context=[side])
    Crew(agents=[worker], tasks=[side, last], tracing=False).kickoff()
    assert sorted(world.brief()) == [("task", "last", "ok", None), ("task", "side", "ok", None)]
    assert len({item["session"] for item in world.sent()}) == 1


def test_work_handed_to_a_coworker_is_part_of_the_task(world):
    given = '{"task": "t", "context": "c", "coworker": "Writer"}'
    boss = Agent(
        role="Boss",
        goal="g",
        backstory="b",
        llm=Scripted(asks("Delegate work to coworker", given)),
        allow_delegation=True,
    )
    writer = Agent(role="Writer", goal="g", backstory="b", llm=Scripted(model="w"), max_retry_limit=0)
    task = Task(description="d", expected_output="X", agent=boss, name="find")
    Crew(agents=[boss, writer], tasks=[task], tracing=False).kickoff()
    assert world.brief() == [FIND]


def test_a_hierarchical_crew(world):
    worker = Agent(role="Worker", goal="g", backstory="b", llm=Scripted(model="w"), max_retry_limit=0)
    task = Task(description="d", expected_output="X", name="find")
    Crew(agents=[worker], tasks=[task], process=Process.hierarchical, manager_llm=Scripted(), tracing=False).kickoff()
    assert world.brief() == [FIND]


def test_an_agent_alone_is_a_task_named_by_its_role(world):
    Agent(role="Soloist", goal="g", backstory="b", llm=Scripted()).kickoff("hi")
    assert world.brief() == [("task", "Soloist", "ok", None)]


def test_a_model_called_by_itself_is_no_task(world, native, provider):
    provider.script = [503]
    with pytest.raises(Exception, match="overloaded"):
        native().call("hi")
    assert [line[:3] for line in world.brief()] == [("llm", "m", "failed")]


def test_uninstalled_it_is_the_framework_as_it_was(world, crew):
    ours = crewai_event_bus.emit
    adapter.uninstall()
    assert crewai_event_bus.emit is not ours
    assert "emit" not in vars(crewai_event_bus)
    crew(Scripted()).kickoff()
    assert world.sent() == []


def test_listening_twice_is_listening_once(world, crew):
    assert adapter.listen(client=world.client) == adapter.listen()
    crew(Scripted()).kickoff()
    assert world.brief() == [FIND]

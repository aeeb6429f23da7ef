"""What the real SDK does becomes exactly these outcomes, none twice and none missing."""

from __future__ import annotations

import asyncio
import threading

import pytest
from agent_kit import wait_for
from agents import (
    Agent,
    GuardrailFunctionOutput,
    InputGuardrailTripwireTriggered,
    MaxTurnsExceeded,
    ModelBehaviorError,
    RunConfig,
    Runner,
    function_tool,
    input_guardrail,
    trace,
)
from openai import APIStatusError, APITimeoutError

import rsi

WF = "Agent workflow"
LLM = ("llm", "m", "ok", None)


@function_tool
def look(q: str) -> str:
    """Look it up."""
    return "found"


@function_tool
def broken(q: str) -> str:
    """Fail, and let the model know."""
    raise ConnectionError("the warehouse is down")


@function_tool(failure_error_function=None)
def fatal(q: str) -> str:
    """Fail, and end the run."""
    raise ConnectionError("the warehouse is down")


def test_success_with_its_session_model_and_tokens(world, agent):
    config = RunConfig(workflow_name="answer", group_id="chat-7")
    assert Runner.run_sync(agent(), "hi", run_config=config).final_output == "hello"
    llm, task = world.sent()
    assert world.brief() == [LLM, ("task", "answer", "ok", None)]
    assert task["session"] == llm["session"] == "chat-7"
    assert llm["parent"] == task["id"]
    assert (llm["model"], llm["tokens_in"], llm["tokens_out"]) == ("m", 11, 7)


def test_a_tool_that_works_and_a_guard_inside_it(world, provider, agent):
    @function_tool
    def priced(q: str) -> str:
        """With a guarded call inside."""

        @rsi.guard("price", client=world.client)
        def price() -> str:
            return "3"

        return price()

    provider.script = [[("priced", {"q": "x"})], "done"]
    Runner.run_sync(agent(priced), "hi")
    assert world.brief() == [
        LLM,
        ("tool", "price", "ok", None),
        ("tool", "priced", "ok", None),
        LLM,
        ("task", WF, "ok", None),
    ]
    _, guarded, tool, _, task = world.sent()
    assert (guarded["parent"], tool["parent"]) == (tool["id"], task["id"])


def test_a_model_error_is_one_failed_call_and_one_failed_task(world, provider, agent):
    provider.script = [503]
    with pytest.raises(APIStatusError):
        Runner.run_sync(agent(), "hi")
    (llm, task) = world.sent()
    assert (llm["kind"], llm["status"], task["kind"], task["status"]) == ("llm", "failed", "task", "failed")
    assert task["error"]["status"] == 503
    assert "overloaded" in llm["error"]["message"]


def test_a_tool_error_that_the_model_is_told_of_is_recovered(world, provider, agent):
    provider.script = [[("broken", {"q": "x"})], "sorry"]
    Runner.run_sync(agent(broken), "hi")
    assert [line[:3] for line in world.brief()] == [LLM[:3], ("tool", "broken", "failed"), LLM[:3], ("task", WF, "ok")]
    assert world.sent()[1]["error"]["message"]


def test_a_tool_error_that_ends_the_run(world, provider, agent):
    provider.script = [[("fatal", {"q": "x"})]]
    with pytest.raises(Exception, match="warehouse"):
        Runner.run_sync(agent(fatal), "hi")
    assert [line[:3] for line in world.brief()] == [LLM[:3], ("tool", "fatal", "failed"), ("task", WF, "failed")]


def test_an_unknown_tool(world, provider, agent):
    provider.script = [[("no_such_tool", {"q": "x"})]]
    with pytest.raises(ModelBehaviorError):
        Runner.run_sync(agent(look), "hi")
    kinds = [line[:3] for line in world.brief()]
    assert kinds[-1] == ("task", WF, "failed")
    assert kinds.count(("task", WF, "failed")) == 1
    assert [line for line in kinds if line[0] == "tool"] == [("tool", "no_such_tool", "failed")]


def test_too_many_turns(world, provider, agent):
    looked = []

    @function_tool(name_override="look")
    def counted(q: str) -> str:
        """Look it up."""
        looked.append(q)
        return "found"

    provider.default = [("look", {"q": "x"})]
    with pytest.raises(MaxTurnsExceeded):
        Runner.run_sync(agent(counted), "hi", max_turns=2)
    assert looked
    assert world.brief()[-1] == ("task", WF, "failed", "MaxTurnsExceeded")
    assert [line[1] for line in world.brief()].count("look") == len(looked)


def test_a_guardrail_that_trips(world, agent):
    @input_guardrail
    async def polite(context, agent, given):
        return GuardrailFunctionOutput(output_info=None, tripwire_triggered=True)

    with pytest.raises(InputGuardrailTripwireTriggered):
        Runner.run_sync(agent(input_guardrails=[polite]), "hi")
    found = world.brief()
    assert found[-1] == ("task", WF, "failed", "InputGuardrailTripwireTriggered")
    assert ("step", "polite", "failed", "GuardrailTripwireTriggered") in found


def test_a_timeout_of_the_client(world, provider, agent, model):
    provider.script = [2.0]
    with pytest.raises(APITimeoutError):
        Runner.run_sync(agent(model=model(timeout=0.2)), "hi")
    assert [line[:3] for line in world.brief()] == [("llm", "m", "failed"), ("task", WF, "failed")]


def test_a_cancelled_run_is_cancelled_and_not_failed(world, provider, agent):
    provider.script = [5.0]

    async def main() -> None:
        running = asyncio.create_task(Runner.run(agent(), "hi"))
        await asyncio.to_thread(wait_for, lambda: provider.requests)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())
    assert world.brief()[-1][:3] == ("task", WF, "cancelled")
    assert "failed" not in {line[2] for line in world.brief()}


def test_a_handoff_is_one_task(world, provider, agent, model):
    other = Agent(name="billing", model=model("n"))
    provider.script = [[("transfer_to_billing", {})], "done"]
    assert Runner.run_sync(agent(handoffs=[other]), "hi").last_agent is other
    assert [line[:3] for line in world.brief()] == [LLM[:3], ("llm", "n", "ok"), ("task", WF, "ok")]


def test_an_agent_as_a_tool_is_a_step_of_the_run_around_it(world, provider, agent, model):
    inner = Agent(name="expert", model=model("n"))
    provider.script = [[("ask", {"input": "x"})], "inner answer", "done"]
    Runner.run_sync(agent(inner.as_tool("ask", "Ask the expert.")), "hi")
    found = world.brief()
    assert [line[0] for line in found].count("task") == 1
    assert found[-1] == ("task", WF, "ok", None)
    assert ("tool", "ask", "ok", None) in found
    nested = next(item for item in world.sent() if item["kind"] == "step")
    assert nested["parent"] == next(item for item in world.sent() if item["task"] == "ask")["id"]


def test_a_trace_of_the_host_is_the_task_and_its_runs_are_steps(world, provider, agent):
    provider.script = ["one", 503]
    with trace("shopping", group_id="g1"):
        Runner.run_sync(agent(), "hi")
        with pytest.raises(APIStatusError):
            Runner.run_sync(agent(), "ho")
    found = world.brief()
    assert found[-1][:3] == ("task", "shopping", "failed")
    assert [line[0] for line in found].count("task") == 1
    assert {item["session"] for item in world.sent()} == {"g1"}


def test_streaming(world, agent):
    async def main() -> str:
        result = Runner.run_streamed(agent(), "hi")
        async for _ in result.stream_events():
            pass
        return str(result.final_output)

    assert asyncio.run(main()) == "hello"
    assert [line[:3] for line in world.brief()] == [LLM[:3], ("task", WF, "ok")]


def test_a_stream_that_fails(world, provider, agent):
    provider.script = [503]

    async def main() -> None:
        result = Runner.run_streamed(agent(), "hi")
        with pytest.raises(APIStatusError):
            async for _ in result.stream_events():
                pass

    asyncio.run(main())
    assert [line[:3] for line in world.brief()] == [("llm", "m", "failed"), ("task", WF, "failed")]


def test_many_runs_at_once_do_not_mix(world, provider, agent):
    async def main() -> None:
        await asyncio.gather(*(Runner.run(agent(), f"n{n}", run_config=RunConfig(group_id=f"g{n}")) for n in range(20)))

    asyncio.run(main())
    tasks = {item["id"]: item for item in world.sent(kind="task")}
    calls = world.sent(kind="llm")
    assert len(tasks) == len(calls) == 20
    assert all(tasks[call["parent"]]["session"] == call["session"] for call in calls)


def test_threads(world, agent):
    threads = [threading.Thread(target=lambda: Runner.run_sync(agent(), "hi")) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(world.sent(kind="task")) == len(world.sent(kind="llm")) == 6


def test_a_run_that_waits_for_a_person_is_paused_and_goes_on_as_the_same_unit(world, provider, agent):
    @function_tool(needs_approval=True)
    def pay(amount: int) -> str:
        """Pay."""
        return "paid"

    provider.script = [[("pay", {"amount": 3})], "done"]
    asking = agent(pay)
    result = Runner.run_sync(asking, "hi")
    assert len(result.interruptions) == 1
    state = result.to_state()
    state.approve(result.interruptions[0])
    assert Runner.run_sync(asking, state).final_output == "done"
    first, second = world.sent(kind="task")
    assert (first["status"], second["status"]) == ("paused", "ok")
    assert first["session"] == second["session"]


def test_inside_a_guard_it_is_a_step(world, agent):
    @rsi.guard("outer", client=world.client)
    def outer() -> None:
        Runner.run_sync(agent(), "hi")

    outer()
    assert world.brief() == [LLM, ("step", WF, "ok", None), ("task", "outer", "ok", None)]


def test_uninstalled_it_is_the_sdk_as_it_was(world, agent):
    from rsi_adapters import openai_agents

    wrapped = Runner.__dict__["run"]
    openai_agents.uninstall()
    assert Runner.__dict__["run"] is not wrapped
    Runner.run_sync(agent(), "hi")
    assert world.sent() == []

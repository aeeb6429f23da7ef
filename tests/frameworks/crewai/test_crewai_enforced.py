"""What the policy says takes effect in the next kickoff of the same process, in both arms of an experiment, and goes away again."""

from __future__ import annotations

import asyncio
import copy
import logging

import loop
import pytest
from agent_kit import trial
from crew_kit import Scripted
from crewai import LLM, Agent, Crew, Task
from crewai.events import crewai_event_bus
from crewai.hooks import get_before_llm_call_hooks
from crewai.tools import tool
from provider import Answer

import rsi
from rsi_adapters import crewai as adapter

FAST = {"max_attempts": 3, "initial_s": 0.01, "max_s": 0.05}
LESSON = "Prices are in cents."


@pytest.fixture
def listens(world):
    """Listen again, with these options."""

    def again(**options):
        adapter.uninstall()
        return adapter.listen(client=world.client, **options)

    return again


def test_a_model_call_is_retried_and_each_failed_attempt_is_seen_once(world, crew, native, provider):
    world.policy(retry=FAST)
    provider.script = [503, 500]
    crew(native()).kickoff()
    assert len(provider.requests) == 3
    *calls, task = world.sent()
    assert [(call["status"], call.get("attempt", 1)) for call in calls] == [("failed", 1), ("failed", 2)]
    assert (task["status"], task["policy_version"]) == ("ok", world.version)


def test_retries_end(world, crew, native, provider):
    world.policy(retry=FAST)
    provider.default = 503
    with pytest.raises(Exception, match="overloaded"):
        crew(native()).kickoff()
    assert len(provider.requests) == 3
    assert [line[:3] for line in world.brief()] == [("llm", "m", "failed")] * 3 + [("task", "find", "failed")]


def test_the_session_outlives_scopes_that_failures_closed(world, native, provider):
    """CrewAI tells a failed call twice; the second closes what is around the call, up to the kickoff."""
    world.policy(retry=FAST)
    provider.script = [503, 503, "X is 42", "X is 42"]
    worker = Agent(role="R", goal="g", backstory="b", llm=native(), max_retry_limit=0)
    tasks = [Task(description=name, expected_output="X", agent=worker, name=name) for name in ("plan", "write")]
    Crew(agents=[worker], tasks=tasks, tracing=False).kickoff()
    found = world.sent(kind="task")
    assert [(task["task"], task["status"], task.get("attempt", 1)) for task in found] == [
        ("plan", "ok", 3),
        ("write", "ok", 1),
    ]
    assert len({task["session"] for task in found}) == 1


def test_what_crewai_repeats_itself_is_not_multiplied(world, crew, native, provider):
    world.policy(retry=FAST)
    provider.default = 429
    with pytest.raises(Exception, match="Rate limit"):
        crew(native()).kickoff()
    assert len(provider.requests) == 3


def test_without_a_policy_crewai_does_what_it_did(world, crew, native, provider):
    provider.script = [503]
    with pytest.raises(Exception, match="overloaded"):
        crew(native()).kickoff()
    assert len(provider.requests) == 1


@pytest.mark.parametrize("status", [400, 401])
def test_what_cannot_go_better_is_not_retried(world, crew, native, provider, status):
    world.policy(retry=FAST)
    provider.default = status
    with pytest.raises(Exception, match=str(status)):
        crew(native()).kickoff()
    assert len(provider.requests) == 1


def test_the_clients_own_repeating_is_reckoned_with(world, crew, native, provider):
    world.policy(retry={**FAST, "max_attempts": 6})
    provider.default = 503
    with pytest.raises(Exception, match="overloaded"):
        crew(native(max_retries=1)).kickoff()
    assert len(provider.requests) == 6  # three tries of ours, each made twice below


def test_tools_are_never_run_again_by_a_retry(world, crew, native, provider):
    bought = []

    @tool("buy")
    def buy(q: str) -> str:
        """Once is enough."""
        bought.append(q)
        return "bought"

    world.policy(retry=FAST)
    provider.script = [[("buy", {"q": "x"})], 503, "done"]
    crew(native(), buy).kickoff()
    assert bought == ["x"]
    assert len(provider.requests) == 3


def test_a_scripted_model_of_the_hosts_own_is_helped_too(world, crew):
    world.policy(retry=FAST)
    model = Scripted(RuntimeError("503 Service Unavailable"))
    crew(model).kickoff()
    assert len(model.heard) == 2
    assert [line[:3] for line in world.brief()] == [("llm", "m", "failed"), ("task", "find", "ok")]


def test_async_and_native_async_are_retried_too(world, crew, native, provider):
    world.policy(retry=FAST)
    provider.script = [503, "X is 42", 503, "X is 42"]

    async def main() -> None:
        await crew(native()).kickoff_async()
        await crew(native()).akickoff()

    asyncio.run(main())
    assert len(provider.requests) == 4
    assert [item["status"] for item in world.sent(kind="task")] == ["ok", "ok"]


def test_a_timeout_cuts_an_attempt(world, crew, native, provider):
    world.policy(timeout_s=0.3, retry=FAST)
    provider.script = [3.0, "X is 42"]
    crew(native()).kickoff()
    assert [line[:3] for line in world.brief()] == [("llm", "m", "failed"), ("task", "find", "ok")]


def test_a_timeout_cuts_native_async(world, crew, native, provider):
    world.policy(timeout_s=0.3, retry=FAST)
    provider.script = [3.0, "X is 42"]
    asyncio.run(crew(native()).akickoff())
    assert world.sent(kind="task")[0]["status"] == "ok"


def test_a_declared_model_takes_over(world, crew, native, provider, listens):
    listens(fallbacks={"small": native("small")})
    world.policy(fallbacks=["small"])
    provider.script = [500, "X is 42"]
    crew(native()).kickoff()
    assert [request["model"] for request in provider.requests] == ["m", "small"]
    assert world.sent(kind="task")[0]["status"] == "ok"


def test_lessons_reach_the_model_once_in_every_call(world, crew, native, provider):
    @tool("lookup")
    def lookup(q: str) -> str:
        """Look something up."""
        return "found"

    world.policy(lessons=[LESSON])
    provider.script = [[("lookup", {"q": "x"})], "done"]
    crew(native(), lookup).kickoff()
    assert [str(request["messages"]).count(LESSON) for request in provider.requests] == [1, 1]


def test_lessons_reach_a_react_agent(world, crew):
    world.policy(lessons=[LESSON])
    model = Scripted()
    crew(model).kickoff()
    assert model.heard[0].count(LESSON) == 1


def test_both_arms_are_real_in_one_process_with_kickoff_for_each(world, crew, native, provider):
    world.policy(trial("f1", patch={"retry": FAST}))
    one = crew(native(), task={"description": "Find {x}"})
    done: list[bool] = []
    for n in range(16):  # within the retry budget's reserve
        provider.script = [503, "X is 42"]
        try:
            one.kickoff_for_each(inputs=[{"x": f"thing {n}"}])
            done.append(True)
        except Exception:
            done.append(False)
        provider.script = []
    tasks = world.sent(kind="task")
    assert len({task["session"] for task in tasks}) == len(tasks) == 16
    assert {task["fixes"][0]["arm"] for task in tasks} == {"fixed", "control"}
    assert [task["fixes"][0]["arm"] == "fixed" for task in tasks] == done
    assert all(task["fixes"][0]["enforced"] for task in tasks)
    assert len(world.sent(status="started")) == 16


def test_both_arms_are_real_in_one_loop_with_kickoff_async(world, crew, native, provider):
    world.policy(trial("f1", patch={"retry": FAST}))
    seen: set[str] = set()

    def first_fails(_: int, body: dict) -> Answer:
        unit = loop.unit_of(body)
        first, _ = unit not in seen, seen.add(unit)
        return 503 if first else "X is 42"

    provider.default = first_fails

    async def main() -> list[bool]:
        crews = [crew(native(), task={"description": f"unit number{n}"}) for n in range(12)]
        found = await asyncio.gather(*(each.kickoff_async() for each in crews), return_exceptions=True)
        return [not isinstance(one, BaseException) for one in found]

    done = asyncio.run(main())
    arms = [task["fixes"][0]["arm"] for task in world.sent(kind="task")]
    assert set(arms) == {"fixed", "control"}
    assert arms.count("fixed") == done.count(True)
    assert {(t["fixes"][0]["arm"], t["status"]) for t in world.sent(kind="task")} == {
        ("fixed", "ok"),
        ("control", "failed"),
    }


def test_lessons_are_for_one_arm_only(world, crew, native, provider):
    world.policy(trial("f1", patch={"lessons": [LESSON]}))
    for _ in range(12):
        crew(native()).kickoff()
    told = [LESSON in str(request["messages"]) for request in provider.requests]
    assert told == [task["fixes"][0]["arm"] == "fixed" for task in world.sent(kind="task")]
    assert set(told) == {True, False}


def test_taken_back_it_holds_from_the_next_kickoff_on(world, crew, native, provider):
    one = crew(native())
    world.policy(retry=FAST)
    provider.script = [503]
    one.kickoff()
    world.policy()
    provider.script = [503]
    with pytest.raises(Exception, match="overloaded"):
        one.kickoff()


def test_an_agent_has_its_own_model_when_it_does_not_work(world, crew, native, provider):
    world.policy(retry=FAST)
    model = native()
    one = crew(model)
    provider.script = ["X is 42", 400]
    one.kickoff()
    assert one.agents[0].llm is model
    assert one.agents[0].agent_executor.llm is model
    with pytest.raises(Exception, match="400"):
        one.kickoff()
    assert one.agents[0].llm is model
    assert one.usage_metrics.total_tokens == 18


def test_a_stand_in_is_what_it_stands_for(world, crew, native, provider):
    found = []

    @tool("look")
    def look(q: str) -> str:
        """Look who works here."""
        found.append(one.agents[0].llm)
        return "seen"

    model = native(temperature=0.5)
    provider.script = [[("look", {"q": "x"})], "done"]
    one = crew(model, look)
    one.kickoff()
    stand_in = found[0]
    assert stand_in is not model
    assert (stand_in.model, stand_in.temperature, stand_in.provider) == (model.model, 0.5, model.provider)
    assert stand_in.supports_function_calling() == model.supports_function_calling()
    assert stand_in.get_context_window_size() == model.get_context_window_size()
    assert stand_in.api == model.api
    assert stand_in.get_token_usage_summary() == model.get_token_usage_summary()
    assert copy.copy(stand_in).model == model.model


def test_a_streaming_model_is_never_made_to_repeat(world, crew, native, provider):
    world.policy(retry=FAST)
    provider.script = [503]
    with pytest.raises(Exception, match="overloaded"):
        crew(native(stream=True)).kickoff()
    assert len(provider.requests) == 1


def test_an_outer_guard_owns_the_retries(world, crew, native, provider):
    world.policy(retry=FAST)
    provider.default = 503

    @rsi.guard("outer", idempotent=True, inner_retries=1, client=world.client)
    def outer() -> None:
        crew(native()).kickoff()

    with pytest.raises(Exception, match="overloaded"):
        outer()
    assert len(provider.requests) == 3


def test_each_enforcement_is_one_line(world, crew, native, provider, caplog):
    world.policy(retry=FAST)
    provider.script = [503]
    with caplog.at_level(logging.INFO, logger="rsi"):
        crew(native()).kickoff()
    assert [record.getMessage() for record in caplog.records if "retry 2/3" in record.getMessage()] == [
        "retry 2/3 find (person)"
    ]


def test_observing_only(world, crew, native, provider, daemon, monkeypatch):
    adapter.uninstall()
    monkeypatch.setenv("RSI_OBSERVE_ONLY", "1")
    watching = rsi.configure(url=daemon.url, source="app", enabled=True)
    adapter.listen(client=watching)
    daemon.set_policy("app", 9, scopes=[{"source": "*", "task": "*", "origin": {}, "retry": FAST}])
    provider.script = [503]
    with pytest.raises(Exception, match="overloaded"):
        crew(native()).kickoff()
    assert watching.flush(5)
    assert len(provider.requests) == 1
    assert daemon.posts


def test_switched_off_nothing_is_sent(world, crew, daemon, monkeypatch):
    adapter.uninstall()
    monkeypatch.setenv("RSI_DISABLE", "1")
    adapter.listen(client=rsi.configure(url=daemon.url, source="app", enabled=True))
    crew(Scripted()).kickoff()
    assert daemon.posts == []


def test_uninstalled_while_a_crew_works_every_agent_has_its_own_model(world, crew, native, provider):
    world.policy(retry=FAST)

    @tool("leave")
    def leave(q: str) -> str:
        """Take everything back in the middle of the work."""
        adapter.uninstall()
        return "left"

    model = native()
    one = crew(model, leave)
    provider.script = [[("leave", {"q": "x"})], "done"]
    one.kickoff()
    assert one.agents[0].llm is model
    assert get_before_llm_call_hooks() == []
    assert "emit" not in vars(crewai_event_bus)
    adapter.listen(client=world.client)
    one.agents[0].tools = one.tasks[0].tools = []
    one.kickoff()  # no part of the task that was under way
    assert world.brief() == [("task", "find", "ok", None)]


@pytest.mark.timeout(900)
def test_a_real_loop(tmp_path):
    adapter.uninstall()
    with loop.RealLoop(tmp_path) as real:
        client = rsi.configure(url=real.url, source="crew-app", enabled=True)
        adapter.listen(client=client)
        answers = real.provider.default
        real.provider.default = lambda n, body: (
            503 if answers(n, body) == 429 else "hello"
        )  # CrewAI repeats a 429 itself

        def work(text: str) -> None:
            model = LLM(model="m", provider="openai", base_url=real.provider.url, api_key="k", max_retries=0)
            worker = Agent(role="R", goal="g", backstory="b", llm=model, max_retry_limit=0, verbose=False)
            task = Task(description=text, expected_output="X", agent=worker, name="find")
            Crew(agents=[worker], tasks=[task], verbose=False, tracing=False).kickoff()

        fix = real.run(work)
        loop.check(fix)
        real.roll_back(fix["id"], work)
        adapter.uninstall()
        rsi.configure(enabled=False)

"""What the policy says takes effect in the next run of the same process, in both arms of an experiment, and goes away again."""

from __future__ import annotations

import asyncio

import loop
import pytest
from agent_kit import trial
from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, RunConfig, Runner, function_tool
from agents.retry import ModelRetrySettings
from openai import APIStatusError, AsyncOpenAI, DefaultAsyncHttpxClient

import rsi
from rsi_adapters import openai_agents

FAST = {"max_attempts": 3, "initial_s": 0.01, "max_s": 0.05}


def test_a_model_call_is_retried_and_each_failed_attempt_is_seen_once(world, provider, agent):
    world.policy(retry=FAST)
    provider.script = [503, 429]
    assert Runner.run_sync(agent(), "hi").final_output == "hello"
    assert len(provider.requests) == 3
    *calls, task = world.sent()
    assert [(call["status"], call.get("attempt", 1)) for call in calls] == [("failed", 1), ("failed", 2), ("ok", 3)]
    assert (task["status"], task["policy_version"]) == ("ok", world.version)


def test_retries_end(world, provider, agent):
    world.policy(retry=FAST)
    provider.default = 503
    with pytest.raises(APIStatusError):
        Runner.run_sync(agent(), "hi")
    assert len(provider.requests) == 3


@pytest.mark.parametrize("status", [400, 401])
def test_what_cannot_go_better_is_not_retried(world, provider, agent, status):
    world.policy(retry=FAST)
    provider.default = status
    with pytest.raises(APIStatusError):
        Runner.run_sync(agent(), "hi")
    assert len(provider.requests) == 1


def test_a_hosts_own_retry_policy_is_left_alone(world, provider, agent):
    world.policy(retry=FAST)
    provider.default = 503
    own = ModelSettings(retry=ModelRetrySettings(max_retries=1, policy=lambda context: True))
    with pytest.raises(APIStatusError):
        Runner.run_sync(agent(model_settings=own), "hi")
    assert len(provider.requests) == 2


def test_async_and_streamed_runs_are_retried_too(world, provider, agent):
    world.policy(retry=FAST)
    provider.script = [503, "one", 503, "two"]

    async def main() -> tuple[str, str]:
        first = await Runner.run(agent(), "hi")
        result = Runner.run_streamed(agent(), "hi")
        async for _ in result.stream_events():
            pass
        return str(first.final_output), str(result.final_output)

    assert asyncio.run(main()) == ("one", "two")
    assert {item["status"] for item in world.sent(kind="task")} == {"ok"}


def test_lessons_come_behind_the_instructions_and_the_hosts_filter_still_works(world, provider, agent):
    world.policy(lessons=["Prices are in cents."])
    Runner.run_sync(agent(), "hi")
    said = provider.requests[0]["messages"][0]["content"]
    assert said.startswith("Be nice.")
    assert "- Prices are in cents." in said

    def own(data):
        data.model_data.instructions += " Filtered."
        return data.model_data

    Runner.run_sync(agent(), "hi", run_config=RunConfig(call_model_input_filter=own))
    said = provider.requests[1]["messages"][0]["content"]
    assert "Filtered." in said
    assert "cents" in said


def test_the_output_limit(world, provider, agent):
    world.policy(max_output_tokens=512)
    Runner.run_sync(agent(), "hi")
    assert 512 in {provider.requests[0].get("max_tokens"), provider.requests[0].get("max_completion_tokens")}


def test_a_declared_model_takes_over_if_nothing_was_done_yet(world, provider, agent, model):
    openai_agents.uninstall()
    openai_agents.install(client=world.client, inner_retries=1, fallbacks={"small": model("small")})
    world.policy(fallbacks=["small"])
    provider.script = [500]
    assert Runner.run_sync(agent(), "hi").final_output == "hello"
    assert [request["model"] for request in provider.requests] == ["m", "small"]
    assert [item["status"] for item in world.sent(kind="task")] == ["ok"]


def test_a_run_in_which_a_tool_was_called_is_not_made_again(world, provider, agent, model):
    openai_agents.uninstall()
    openai_agents.install(client=world.client, inner_retries=1, fallbacks={"small": model("small")})
    world.policy(fallbacks=["small"])
    bought = []

    @function_tool
    def buy(q: str) -> str:
        """Once is enough."""
        bought.append(q)
        return "bought"

    provider.script = [[("buy", {"q": "x"})], 500]
    with pytest.raises(APIStatusError):
        Runner.run_sync(agent(buy), "hi")
    assert bought == ["x"]


def test_both_arms_are_real_in_one_process(world, provider, agent):
    world.policy(trial("f1", patch={"retry": FAST}))
    done: dict[str, bool] = {}
    for n in range(16):  # within the retry budget's reserve
        provider.script = [503]
        try:
            Runner.run_sync(agent(), "hi", run_config=RunConfig(group_id=f"s{n}"))
            done[f"s{n}"] = True
        except APIStatusError:
            done[f"s{n}"] = False
        provider.script = []
    tasks = {item["session"]: item for item in world.sent(kind="task")}
    arms = {session: item["fixes"][0]["arm"] for session, item in tasks.items()}
    assert set(arms.values()) == {"fixed", "control"}
    assert all(done[session] == (arm == "fixed") for session, arm in arms.items())
    assert all(item["fixes"][0]["enforced"] for item in tasks.values())
    assert len(world.sent(status="started")) == 16


def test_taken_back_it_holds_from_the_next_run_on(world, provider, agent):
    world.policy(retry=FAST)
    provider.script = [503]
    Runner.run_sync(agent(), "hi")
    world.policy()
    provider.script = [503]
    with pytest.raises(APIStatusError):
        Runner.run_sync(agent(), "hi")


def test_an_outer_guard_owns_the_retries(world, provider, agent):
    world.policy(retry=FAST)
    provider.default = 503

    @rsi.guard("outer", idempotent=True, inner_retries=1, client=world.client)
    def outer() -> None:
        Runner.run_sync(agent(), "hi")

    with pytest.raises(APIStatusError):
        outer()
    assert len(provider.requests) == 3


def test_observing_only(world, provider, agent, daemon, monkeypatch):
    openai_agents.uninstall()
    monkeypatch.setenv("RSI_OBSERVE_ONLY", "1")
    watching = rsi.configure(url=daemon.url, source="app", enabled=True)
    openai_agents.install(client=watching, inner_retries=1)
    daemon.set_policy("app", 9, scopes=[{"source": "*", "task": "*", "origin": {}, "retry": FAST}])
    provider.script = [503]
    with pytest.raises(APIStatusError):
        Runner.run_sync(agent(), "hi")
    watching.flush(5)
    assert len(provider.requests) == 1


def test_switched_off_nothing_is_sent(world, provider, agent, daemon, monkeypatch):
    openai_agents.uninstall()
    monkeypatch.setenv("RSI_DISABLE", "1")
    openai_agents.install(client=rsi.configure(url=daemon.url, source="app", enabled=True))
    Runner.run_sync(agent(), "hi")
    assert daemon.posts == []


@pytest.mark.timeout(900)
def test_a_real_loop(tmp_path):
    openai_agents.uninstall()
    with loop.RealLoop(tmp_path) as real:
        client = rsi.configure(url=real.url, source="agents-app", enabled=True)
        openai_agents.install(client=client, inner_retries=1)

        def work(text: str) -> None:
            http = DefaultAsyncHttpxClient(verify=False)  # reading the certificates anew is most of what a run costs
            asked = AsyncOpenAI(base_url=real.provider.url, api_key="k", max_retries=0, http_client=http)
            agent = Agent(name="a", model=OpenAIChatCompletionsModel(model="m", openai_client=asked))
            Runner.run_sync(agent, text)

        fix = real.run(work)
        loop.check(fix)
        real.roll_back(fix["id"], work)
        openai_agents.uninstall()
        rsi.configure(enabled=False)

"""What the policy says takes effect in the next call of the same process, in both arms of an experiment, and goes away again."""

from __future__ import annotations

import asyncio
import logging

import litellm
import loop
import pytest
from agent_kit import trial
from litellm import Router

import rsi
from rsi_adapters import litellm as adapter

FAST = {"max_attempts": 3, "initial_s": 0.01, "max_s": 0.05}
LESSON = "Prices are in cents."
M = [{"role": "user", "content": "hi"}]


def test_a_call_is_retried_and_each_attempt_is_seen_once(world, router, provider):
    world.policy(retry=FAST)
    provider.script = [503, 429]
    router().completion(model="main", messages=M)
    *calls, task = world.sent()
    assert [(call["status"], call.get("attempt", 1)) for call in calls] == [("failed", 1), ("failed", 2), ("ok", 3)]
    assert (task["status"], task["attempt"], task["policy_version"]) == ("ok", 3, world.version)


def test_retries_end(world, router, provider):
    world.policy(retry=FAST)
    provider.default = 503
    with pytest.raises(litellm.ServiceUnavailableError):
        router().completion(model="main", messages=M)
    assert [line[:3] for line in world.brief()] == [("llm", "m", "failed")] * 3 + [("task", "main", "failed")]


@pytest.mark.parametrize("status", [400, 401])
def test_what_cannot_go_better_is_not_retried(world, router, provider, status):
    world.policy(retry=FAST)
    provider.default = status
    with pytest.raises((litellm.BadRequestError, litellm.AuthenticationError)):
        router().completion(model="main", messages=M)
    assert len(provider.requests) == 1


def test_a_routers_own_tries_are_reckoned_with(world, router, provider):
    world.policy(retry={**FAST, "max_attempts": 6})
    provider.default = 503
    with pytest.raises(litellm.ServiceUnavailableError):
        router(num_retries=2).completion(model="main", messages=M)
    assert len(provider.requests) == 6  # two tries of ours, each made three times below


def test_what_a_call_says_of_its_tries_goes_before_the_routers(world, router, provider):
    world.policy(retry={**FAST, "max_attempts": 6})
    provider.default = 503
    with pytest.raises(litellm.ServiceUnavailableError):
        router(num_retries=5).completion(model="main", messages=M, num_retries=0)
    assert len(provider.requests) == 6


def test_deployments_that_cool_down_are_waited_for(world, router, provider):
    world.policy(retry={"max_attempts": 4, "initial_s": 0.01, "max_s": 5})
    provider.script = [503, 503]
    one = router(("main", "m2"), disable_cooldowns=False, allowed_fails=0, cooldown_time=1)
    one.completion(model="main", messages=M)
    assert len(provider.requests) == 3  # the third try met nobody and waited
    assert world.sent(kind="task")[0]["status"] == "ok"


def test_async_is_retried_too(world, router, provider):
    world.policy(retry=FAST)
    provider.script = [503]
    asyncio.run(router().acompletion(model="main", messages=M))
    assert [line[:3] for line in world.brief()] == [("llm", "m", "failed"), ("llm", "m", "ok"), ("task", "main", "ok")]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_plain_calls_inside_a_run_take_the_policy(world, plain, provider, kind):
    world.policy(retry=FAST)
    provider.script = [503]
    with rsi.step("answer", client=world.client):
        litellm.completion(**plain) if kind == "sync" else asyncio.run(litellm.acompletion(**plain))
    assert [line[:3] for line in world.brief()] == [
        ("llm", "m", "failed"),
        ("llm", "m", "ok"),
        ("task", "answer", "ok"),
    ]


def test_plain_calls_outside_any_run_are_left_alone(world, plain, provider):
    world.policy(retry=FAST)
    provider.script = [503]
    with pytest.raises(litellm.ServiceUnavailableError):
        litellm.completion(**plain)
    assert len(provider.requests) == 1


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_timeout_cuts_an_attempt(world, router, provider, kind):
    world.policy(timeout_s=0.3, retry=FAST)
    provider.script = [3.0]
    one = router()
    if kind == "sync":
        one.completion(model="main", messages=M)
    else:
        asyncio.run(one.acompletion(model="main", messages=M))
    assert [line[:3] for line in world.brief()] == [("llm", "m", "failed"), ("llm", "m", "ok"), ("task", "main", "ok")]


def test_a_declared_group_takes_over(world, router, provider):
    adapter.uninstall()
    adapter.install(client=world.client, fallbacks={"small": "backup"})
    world.policy(fallbacks=["small"])
    provider.script = [500]
    router().completion(model="main", messages=M)
    assert [request["model"] for request in provider.requests] == ["m", "b"]
    assert world.sent(kind="task")[0]["status"] == "ok"


def test_a_declared_model_of_another_provider_takes_over_a_plain_call(world, plain, provider):
    adapter.uninstall()
    small = {"model": "openai/small", "api_base": provider.url, "api_key": "other"}
    adapter.install(client=world.client, fallbacks={"small": small})
    world.policy(fallbacks=["small"])
    provider.script = [500]
    with rsi.step("answer", client=world.client):
        litellm.completion(**plain)
    assert [request["model"] for request in provider.requests] == ["m", "small"]


def test_a_fallback_without_a_model_is_refused():
    adapter.uninstall()
    with pytest.raises(ValueError, match="names no model"):
        adapter.install(fallbacks={"small": {"api_key": "k"}})


def test_lessons_and_output_limit(world, router, provider):
    world.policy(lessons=[LESSON], max_output_tokens=512)
    messages = [{"role": "system", "content": "Be nice."}, *M]
    router().completion(model="main", messages=messages, max_tokens=100)
    (request,) = provider.requests
    assert [message["role"] for message in request["messages"]] == ["system", "system", "user"]
    assert LESSON in request["messages"][1]["content"]
    assert request["max_tokens"] == 512
    assert len(messages) == 2


def test_both_arms_are_real_in_one_process(world, router, provider):
    world.policy(trial("f1", patch={"retry": FAST}))
    one, done = router(), {}
    for n in range(16):  # within the retry budget's reserve
        provider.script = [503]
        try:
            one.completion(model="main", messages=M, metadata={"session_id": f"s{n}"})
            done[f"s{n}"] = True
        except litellm.ServiceUnavailableError:
            done[f"s{n}"] = False
        provider.script = []
    tasks = {item["session"]: item for item in world.sent(kind="task")}
    arms = {session: item["fixes"][0]["arm"] for session, item in tasks.items()}
    assert set(arms.values()) == {"fixed", "control"}
    assert all(done[session] == (arm == "fixed") for session, arm in arms.items())
    assert all(item["fixes"][0]["enforced"] for item in tasks.values())
    assert len(world.sent(status="started")) == 16


def test_taken_back_it_holds_from_the_next_call_on_and_the_router_is_as_it_was(world, router, provider):
    one = router()
    before = one.get_settings()
    world.policy(retry=FAST, timeout_s=5)
    provider.script = [503]
    one.completion(model="main", messages=M)
    world.policy()
    provider.script = [503]
    with pytest.raises(litellm.ServiceUnavailableError):
        one.completion(model="main", messages=M)
    assert one.get_settings() == before


def test_an_outer_guard_owns_the_retries(world, router, provider):
    world.policy(retry=FAST)
    provider.default = 503

    @rsi.guard("outer", idempotent=True, inner_retries=1, client=world.client)
    def outer() -> None:
        router().completion(model="main", messages=M)

    with pytest.raises(litellm.ServiceUnavailableError):
        outer()
    assert len(provider.requests) == 3


def test_each_enforcement_is_one_line(world, router, provider, caplog):
    world.policy(retry=FAST)
    provider.script = [503]
    with caplog.at_level(logging.INFO, logger="rsi"):
        router().completion(model="main", messages=M)
    said = [record.getMessage() for record in caplog.records if record.name == "rsi"]
    assert said == ["retry 2/3 main (person)"]


def test_observing_only(world, router, provider, daemon, monkeypatch):
    adapter.uninstall()
    monkeypatch.setenv("RSI_OBSERVE_ONLY", "1")
    watching = rsi.configure(url=daemon.url, source="app", enabled=True)
    adapter.install(client=watching)
    daemon.set_policy("app", 9, scopes=[{"source": "*", "task": "*", "origin": {}, "retry": FAST}])
    provider.script = [503]
    with pytest.raises(litellm.ServiceUnavailableError):
        router().completion(model="main", messages=M)
    assert watching.flush(5)
    assert len(provider.requests) == 1
    assert daemon.posts


def test_switched_off_nothing_is_sent(world, router, daemon, monkeypatch):
    adapter.uninstall()
    monkeypatch.setenv("RSI_DISABLE", "1")
    adapter.install(client=rsi.configure(url=daemon.url, source="app", enabled=True))
    router().completion(model="main", messages=M)
    assert daemon.posts == []


@pytest.mark.timeout(900)
def test_a_real_loop(tmp_path):
    adapter.uninstall()
    with loop.RealLoop(tmp_path) as real:
        client = rsi.configure(url=real.url, source="litellm-app", enabled=True)
        adapter.install(client=client)
        params = {"model": "openai/m", "api_base": real.provider.url, "api_key": "k"}
        models = [{"model_name": "main", "litellm_params": params}]
        one = Router(model_list=models, num_retries=0, disable_cooldowns=True)

        def work(text: str) -> None:
            one.completion(model="main", messages=[{"role": "user", "content": text}])

        fix = real.run(work)
        loop.check(fix)
        real.roll_back(fix["id"], work)
        adapter.uninstall()
        rsi.configure(enabled=False)

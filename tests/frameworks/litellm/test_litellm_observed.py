"""What the real LiteLLM does becomes exactly these outcomes, none twice and none missing."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from types import ModuleType

import litellm
import pytest
from agent_kit import wait_for

import rsi
from rsi_adapters import litellm as adapter

M = [{"role": "user", "content": "hi"}]
CALL = ("llm", "m", "ok", None)
TASK = ("task", "main", "ok", None)


def lines(world):
    return [line[:3] for line in world.brief()]


def settled(world, count):
    """What LiteLLM tells in its own threads has arrived; nothing more may come."""
    wait_for(lambda: len(world.sent()) >= count, f"{count} outcomes")
    return world.sent()


def test_a_plain_call_is_one_llm_with_model_provider_and_tokens(world, plain):
    litellm.completion(**plain)
    (call,) = settled(world, 1)
    assert world.brief() == [CALL]
    assert (call["model"], call["provider"], call["tokens_in"], call["tokens_out"]) == ("m", "openai", 11, 7)
    assert "parent" not in call


def test_a_plain_call_that_fails(world, plain, provider):
    provider.script = [503]
    with pytest.raises(litellm.ServiceUnavailableError):
        litellm.completion(**plain)
    (call,) = world.sent()
    assert (call["kind"], call["status"], call["error"]["status"]) == ("llm", "failed", 503)


def test_what_fails_before_it_is_sent_is_told_too(world):
    with pytest.raises(litellm.BadRequestError):
        litellm.completion(model="no-such-provider", messages=M)
    assert lines(world) == [("llm", "no-such-provider", "failed")]


def test_async_success_and_failure(world, plain, provider):
    provider.script = ["hello", 500]

    async def main() -> None:
        await litellm.acompletion(**plain)
        with pytest.raises(litellm.InternalServerError):
            await litellm.acompletion(**plain)
        await asyncio.to_thread(wait_for, lambda: len(world.sent()) >= 2, "both")

    asyncio.run(main())
    assert sorted(lines(world)) == [("llm", "m", "failed"), ("llm", "m", "ok")]


def test_inside_a_step_a_call_is_a_part_of_it_and_told_before_it_ends(world, plain):
    with rsi.step("answer", client=world.client):
        litellm.completion(**plain)
    assert world.brief() == [CALL, ("task", "answer", "ok", None)]
    call, task = world.sent()
    assert call["parent"] == task["id"]


def test_a_call_of_a_router_is_a_task_with_its_calls(world, router):
    router().completion(model="main", messages=M, metadata={"session_id": "s1"}, user="u1")
    assert world.brief() == [CALL, TASK]
    call, task = world.sent()
    assert (call["parent"], call["session"], task["session"], task["user"]) == (task["id"], "s1", "s1", "u1")
    assert (task["tokens_in"], task["tokens_out"]) == (11, 7)


def test_inside_a_run_a_router_is_only_its_calls(world, router):
    with rsi.step("answer", client=world.client):
        router().completion(model="main", messages=M)
    assert world.brief() == [CALL, ("task", "answer", "ok", None)]


def test_a_routers_own_retries_are_tries_of_one_task(world, router, provider):
    provider.script = [503, 500]
    router(num_retries=2).completion(model="main", messages=M)
    assert lines(world) == [("llm", "m", "failed"), ("llm", "m", "failed"), CALL[:3], TASK[:3]]
    assert [item.get("attempt", 1) for item in world.sent()] == [1, 2, 3, 3]


def test_a_routers_own_retries_end(world, router, provider):
    provider.default = 503
    with pytest.raises(litellm.ServiceUnavailableError):
        router(num_retries=1).completion(model="main", messages=M)
    assert lines(world) == [("llm", "m", "failed")] * 2 + [("task", "main", "failed")]


def test_a_routers_own_fallback(world, router, provider):
    provider.script = [503]
    router(fallbacks=[{"main": ["backup"]}]).completion(model="main", messages=M)
    assert lines(world) == [("llm", "m", "failed"), ("llm", "b", "ok"), TASK[:3]]
    assert world.sent(kind="task")[0]["attempt"] == 2


def test_a_router_in_a_loop(world, router, provider):
    provider.script = [503, "hello", 400]

    async def main() -> None:
        one = router(num_retries=1)
        await one.acompletion(model="main", messages=M)
        with pytest.raises(litellm.BadRequestError):
            await one.acompletion(model="main", messages=M)

    asyncio.run(main())
    assert lines(world) == [
        ("llm", "m", "failed"),
        CALL[:3],
        TASK[:3],
        ("llm", "m", "failed"),
        ("task", "main", "failed"),
    ]


def test_a_router_whose_deployments_cool_down(world, router, provider):
    provider.default = 503
    one = router(("main", "m2"), disable_cooldowns=False, allowed_fails=0, cooldown_time=60)
    for _ in range(3):
        with pytest.raises((litellm.ServiceUnavailableError, ValueError)):
            one.completion(model="main", messages=M)
    failed = ("task", "main", "failed")
    assert sorted(lines(world)) == [("llm", "m", "failed"), ("llm", "m2", "failed"), failed, failed, failed]
    last = world.sent(kind="task")[-1]
    assert last["error"]["status"] == 429
    assert last["error"]["type"].endswith("RouterRateLimitError")


def test_cooling_down_inside_a_run_is_told_once(world, router, provider):
    provider.default = 503
    one = router(("main", "m2"), disable_cooldowns=False, allowed_fails=0, cooldown_time=60)
    for _ in range(2):
        with pytest.raises(litellm.ServiceUnavailableError):
            one.completion(model="main", messages=M)
    world.forget()
    with rsi.step("answer", client=world.client), pytest.raises(ValueError, match="No deployments"):
        one.completion(model="main", messages=M)
    assert lines(world) == [("llm", "main", "failed"), ("task", "answer", "ok")]


def test_a_stream_is_told_when_it_ends(world, plain):
    with rsi.step("answer", client=world.client):
        parts = list(litellm.completion(**plain, stream=True))
    assert parts
    settled(world, 2)
    assert sorted(world.brief()) == [CALL, ("task", "answer", "ok", None)]
    call, task = world.sent(kind="llm")[0], world.sent(kind="task")[0]
    assert call["parent"] == task["id"]


def test_a_stream_of_a_router_outside_any_run_is_an_llm(world, router):
    async def main() -> None:
        async for _ in await router().acompletion(model="main", messages=M, stream=True):
            pass
        await asyncio.to_thread(settled, world, 1)

    asyncio.run(main())
    assert world.brief() == [CALL]


def test_a_timeout(world, router, provider):
    provider.script = [2.0]
    with pytest.raises(litellm.Timeout):
        router().completion(model="main", messages=M, timeout=0.2)
    assert lines(world) == [("llm", "m", "failed"), ("task", "main", "failed")]


def test_cancelled_it_is_cancelled_and_not_failed(world, router, provider):
    provider.script = [3.0]

    async def main() -> None:
        running = asyncio.create_task(router().acompletion(model="main", messages=M))
        await asyncio.to_thread(wait_for, lambda: provider.requests, "a request")
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())
    assert sorted(lines(world)) == [("llm", "m", "cancelled"), ("task", "main", "cancelled")]


def test_threads_and_tasks_do_not_mix(world, router):
    one = router()

    def work(n: int) -> None:
        one.completion(model="main", messages=M, metadata={"session_id": f"t{n}"})

    async def main() -> None:
        calls = (one.acompletion(model="main", messages=M, metadata={"session_id": f"a{n}"}) for n in range(6))
        await asyncio.gather(*calls)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    asyncio.run(main())
    for thread in threads:
        thread.join()
    assert sorted(world.brief()) == [CALL] * 12 + [TASK] * 12
    tasks = {task["id"]: task["session"] for task in world.sent(kind="task")}
    assert {tasks[call["parent"]] for call in world.sent(kind="llm")} == set(tasks.values())
    assert all(tasks[call["parent"]] == call["session"] for call in world.sent(kind="llm"))
    assert len(set(tasks.values())) == 12


def test_embeddings_are_calls_too(world, plain, provider):
    provider.default = {
        "object": "list",
        "model": "e",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}],
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }
    litellm.embedding(model="openai/e", input=["x"], api_base=plain["api_base"], api_key="k")
    settled(world, 1)
    assert lines(world) == [("llm", "e", "ok")]


@pytest.mark.parametrize("answer", ["hello", 503])
def test_what_a_hooked_framework_tells_itself_is_not_told_twice(world, plain, provider, monkeypatch, answer):
    """A stand-in for a framework that cannot be installed beside this version: a caller in its module."""
    for name in ("crewai.llm", "rsi_adapters.crewai.hooks"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    place = {"__name__": "crewai.llm", "litellm": litellm}
    exec("def call(given):\n    return litellm.completion(**given)", place)
    provider.script = [answer]
    with rsi.step("answer", client=world.client), contextlib.suppress(litellm.ServiceUnavailableError):
        place["call"](plain)
    assert world.brief() == [("task", "answer", "ok", None)]


def test_uninstalled_it_is_the_framework_as_it_was(world, router, plain):
    ours = litellm.completion, litellm.Router.completion
    adapter.uninstall()
    assert (litellm.completion, litellm.Router.completion) != ours
    assert not any(type(each).__module__.startswith("rsi_adapters") for each in litellm.success_callback)
    router().completion(model="main", messages=M)
    litellm.completion(**plain)
    assert world.sent() == []


def test_installing_twice_is_installing_once(world, router):
    assert adapter.install(client=world.client) == adapter.install()
    router().completion(model="main", messages=M)
    assert world.brief() == [CALL, TASK]

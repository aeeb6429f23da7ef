"""An enforcer inside a framework acts on the policy for the unit at hand and reports nothing that its observer reports."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from agent_kit import FakeClock, HTTPError, World

from rsi.enforce import guard
from rsi.enforce.layer import PLAIN, Attempt, Layer
from rsi.enforce.told import told
from rsi.enforce.watched import Watched

KNOBS = ("retry", "timeout_s", "max_output_tokens", "lessons", "reask")


@pytest.fixture
def layer(world: World) -> Layer:
    return Layer("model", knobs=KNOBS, fallbacks=("small",), client=world.client, inner_retries=1)


@pytest.fixture
def watched(world: World) -> Watched:
    return Watched(client=world.client)


def sent(world: World) -> list[dict[str, Any]]:
    world.client.flush(5)
    return [item for post in world.daemon.posts for item in post]


class Flaky:
    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.seen: list[Attempt] = []

    def __call__(self, attempt: Attempt) -> str:
        self.seen.append(attempt)
        if self.errors:
            raise self.errors.pop(0)
        return "answer"

    async def later(self, attempt: Attempt) -> str:
        return self(attempt)


def test_without_a_policy_the_call_is_made_once_and_plain(world, layer, watched):
    calls = Flaky(HTTPError(503))
    watched.begin("r", "t", enter=True)
    with pytest.raises(HTTPError):
        layer.call(calls)
    watched.end("r")
    assert calls.seen == [PLAIN]
    assert [item["task"] for item in sent(world)] == ["t"]


def test_it_retries_under_the_policy_of_the_task_and_reports_nothing_itself(world, layer, watched, fake: FakeClock):
    world.policy(retry={"max_attempts": 3, "initial_s": 0.1})
    calls = Flaky(HTTPError(503), HTTPError(503))
    watched.begin("r", "t", enter=True)
    assert layer.call(calls) == "answer"
    watched.end("r")
    assert [a.number for a in calls.seen] == [1, 2, 3]
    assert len(fake.slept) == 2
    (root,) = sent(world)
    assert (root["task"], root["status"], root["policy_version"]) == ("t", "ok", 1)


def test_it_turns_to_a_declared_model_and_hands_on_what_the_policy_says(world, layer, watched):
    world.policy(fallbacks=["big", "small"], timeout_s=5, max_output_tokens=64, lessons=["be brief"])
    calls = Flaky(HTTPError(500))
    watched.begin("r", "t", enter=True)
    layer.call(calls)
    watched.end("r")
    first, second = calls.seen
    assert (first.fallback, first.timeout_s, first.max_output_tokens, first.lessons) == (None, 5, 64, ["be brief"])
    assert second.fallback == "small"


def test_the_model_is_told_its_mistake_once(world, layer, watched):
    world.policy(reask={"on": ["output_parse"], "max": 1})
    wrong = ValueError("Could not parse LLM output: no JSON found")
    calls = Flaky(wrong, ValueError("Could not parse LLM output: still none"))
    watched.begin("r", "t", enter=True)
    with pytest.raises(ValueError, match="still"):
        layer.call(calls)
    watched.end("r")
    assert [a.mistake for a in calls.seen] == [None, wrong]


def test_what_is_inside_only_observes_and_names_the_reported_run(world, layer, watched, fake: FakeClock):
    world.policy(retry={"max_attempts": 2, "initial_s": 0.1})
    tries: list[int] = []

    @guard("lookup", idempotent=True, client=world.client)
    def lookup() -> None:
        tries.append(1)
        raise HTTPError(503)

    watched.begin("r", "t", enter=True)
    with pytest.raises(HTTPError):
        layer.call(lambda attempt: lookup())
    watched.end("r", HTTPError(503))
    assert len(tries) == 2
    *inside, root = sent(world)
    assert {item["parent"] for item in inside} == {root["id"]}


def test_coroutines_are_cut_where_the_policy_says_so(world, layer, watched):
    world.policy(timeout_s=0.01)

    async def slow(attempt: Attempt) -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        watched.begin("r", "t", enter=True)
        with pytest.raises(TimeoutError, match="rsi policy"):
            await layer.acall(slow)
        watched.end("r", status="failed")

    asyncio.run(main())


def test_async_retries(world, layer, watched, fake: FakeClock):
    world.policy(retry={"max_attempts": 3, "initial_s": 0.1})
    calls = Flaky(HTTPError(503))

    async def main() -> str:
        watched.begin("r", "t", enter=True)
        try:
            return await layer.acall(calls.later)
        finally:
            watched.end("r")

    assert asyncio.run(main()) == "answer"
    assert len(calls.seen) == 2


def test_a_call_outside_any_run_is_a_task_of_its_own(world, layer):
    layer.call(Flaky())
    (item,) = sent(world)
    assert (item["kind"], item["task"], item["status"]) == ("task", "model", "ok")


def test_only_what_the_layer_can_do_is_offered(world, layer, watched):
    watched.begin("r", "t", enter=True)
    layer.call(Flaky())
    watched.end("r")
    world.client.flush(5)
    offered = {
        query["task"]: set(query["enforces"].split(",")) for query in world.daemon.policy_queries if "task" in query
    }
    assert offered["t"] == {*KNOBS, "fallbacks"}


def test_lessons_are_whole_or_left_out():
    assert told([]) == ""
    assert told(["be brief", "  "]) == "Lessons from earlier runs of this work:\n- be brief"
    assert told(["x" * 200, "short"], limit=100).endswith("\n- short")

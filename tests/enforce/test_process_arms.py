"""What a whole process shares is tried by process: one arm for all its calls, announced once, named by every task."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from agent_kit import Daemon, Flaky, World, trial

import rsi
from rsi.client import Client
from rsi.enforce import guard, step
from rsi.policy import Process, arm, effective, read

FEWER = {"max_concurrency": 1}


def fewer(fraction: float = 0.5, stage: int = 1, **fields: Any) -> dict[str, Any]:
    return trial("f7", patch=FEWER, fraction=fraction, stage=stage, salt=f"salt-{stage}", **fields)


def ok(client: Client, **options: Any) -> Callable[[], str]:
    return guard("search", client=client, **options)(lambda: "done")


def test_every_call_is_in_the_arm_of_its_process(world: World, make_client: Any, daemon: Daemon) -> None:
    world.policy(fewer())
    search = ok(world.client)
    for _ in range(6):
        search()
    drawn = arm("salt-1", world.client.id, 0.5)
    tasks = world.reported(kind="task", status="ok")
    assert [item["metadata"]["client"] for item in tasks] == [world.client.id] * 6
    ref = {"id": "f7", "arm": drawn, "f": 0.5, "stage": 1, "enforced": True}
    assert [item["fixes"] for item in tasks] == [[ref]] * 6


def test_a_process_says_once_that_it_began(world: World) -> None:
    world.policy(fewer())
    search = ok(world.client)
    threads = [threading.Thread(target=search) for _ in range(3)]
    search()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    began = world.one(status="started")
    assert (began["metadata"], began["fixes"][0]["id"]) == ({"client": world.client.id}, "f7")


@pytest.mark.parametrize("name", ["fixed", "control"])
def test_the_limit_holds_in_the_fixed_arm_alone(world: World, name: str) -> None:
    fraction = 0.999999 if name == "fixed" else 0.000001
    world.policy(fewer(fraction))
    inside, most, both = 0, 0, threading.Barrier(2, timeout=0.5)

    def work() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        with suppress(threading.BrokenBarrierError):
            both.wait()
        inside -= 1

    search = guard("search", client=world.client)(work)
    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == (1 if name == "fixed" else 2)


def test_a_process_stays_in_the_stage_that_it_began_in(world: World) -> None:
    world.policy(fewer(0.1, stage=1))
    search = ok(world.client)
    search()
    world.policy(fewer(0.5, stage=2))
    search()
    stages = [item["fixes"][0]["stage"] for item in world.reported(kind="task", status="ok")]
    assert stages == [1, 1]


def test_a_forked_child_is_another_process(world: World) -> None:
    world.policy(fewer())
    search = ok(world.client)
    search()
    parent = world.client.id
    world.reported()
    world.client.reset_after_fork()
    search()
    assert {item["metadata"]["client"] for item in world.reported(kind="task", status="ok")} == {
        parent,
        world.client.id,
    }
    assert len(world.reported(status="started")) == 2


def test_beside_it_units_keep_their_own_arms(world: World) -> None:
    retry = trial("f8", patch={"retry": {"max_attempts": 2, "on": ["rate_limit"]}})
    world.policy(fewer(), retry)
    search = guard("search", idempotent=True, client=world.client)(Flaky())
    for _ in range(5):
        search()
    for item in world.reported(kind="task", status="ok"):
        arms = {ref["id"]: ref["arm"] for ref in item["fixes"]}
        assert arms == {"f7": arm("salt-1", world.client.id, 0.5), "f8": arm("salt-f8", item["id"], 0.5)}
    began = [[ref["id"] for ref in item["fixes"]] for item in world.reported(status="started")]
    assert began == [["f7", "f8"], *[["f8"]] * 4]


def test_a_task_that_only_tries_units_says_nothing_of_its_process(world: World) -> None:
    world.policy(trial("f8", patch={"retry": {"max_attempts": 2, "on": ["rate_limit"]}}))
    guard("search", idempotent=True, client=world.client)(Flaky())()
    assert all("metadata" not in item for item in world.reported())


def test_what_the_host_says_of_a_task_stays_beside_it(world: World) -> None:
    world.policy(fewer())
    search = ok(world.client)
    with step("job", client=world.client, metadata={"client": "acme", "tier": 1}):
        search()
    assert world.one(task="job", status="ok")["metadata"] == {"client": world.client.id, "tier": 1}
    with step("plain", client=world.client, metadata={"client": "acme"}):
        pass
    assert world.one(task="plain")["metadata"] == {"client": "acme"}


def test_inside_a_run_of_another_process_none_begins_here(world: World) -> None:
    world.policy(fewer())
    search = ok(world.client)
    with step("job", client=world.client):
        headers = rsi.inject()
    with rsi.extract(headers):
        search()
    assert world.reported(status="started") == []


def test_who_does_not_say_its_process_goes_without() -> None:
    document = {"version": 1, "valid_until": "2100-01-01T00:00:00Z", "experiments": [fewer(0.999999)]}
    policy = read(document).policy
    assert policy is not None
    nobody = effective(policy, "app", "search", "u1", ["max_concurrency"], 0.0)
    assert (nobody.fixes, dict(nobody.scope)) == ((), {})
    process = Process("p1")
    found = effective(policy, "app", "search", "u1", ["max_concurrency"], 0.0, process)
    assert (found.fixes, dict(found.scope)) == (tuple(process.held.values()), FEWER)

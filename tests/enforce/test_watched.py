"""An observer's kit: a framework's runs become outcomes exactly once, and bubbling errors are reported where they began."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from agent_kit import HTTPError, World

from rsi.client import current_run
from rsi.enforce import guard, step
from rsi.enforce.watched import Watched


@pytest.fixture
def watched(world: World) -> Watched:
    return Watched(client=world.client)


def told(world: World) -> list[dict[str, Any]]:
    world.client.flush(5)
    return [item for post in world.daemon.posts for item in post]


def brief(world: World) -> list[tuple[Any, ...]]:
    return [(i["kind"], i["task"], i["status"], (i.get("error") or {}).get("message")) for i in told(world)]


def test_a_tree_becomes_a_task_and_its_parts_with_parents_session_and_run(world, watched):
    watched.begin("r", "graph", session="s1")
    watched.begin("n", "node", parent="r")
    watched.begin("m", "model", parent="n", kind="llm", model="gpt")
    watched.end("m", tokens_in=3)
    watched.end("n")
    watched.end("r")
    model, node, root = told(world)
    assert (root["kind"], root["status"], root.get("parent")) == ("task", "ok", None)
    assert (node["kind"], node["parent"], node["run"], node["session"]) == ("step", root["id"], root["id"], "s1")
    assert (model["kind"], model["parent"], model["model"], model["tokens_in"]) == ("llm", node["id"], "gpt", 3)
    assert len(watched) == 0


def test_an_error_that_bubbles_is_reported_where_it_began_and_by_the_task(world, watched):
    error = ValueError("broken")
    for key, parent in (("r", None), ("sub", "r"), ("n", "sub")):
        watched.begin(key, key, parent=parent)
    for key in ("n", "sub", "r"):
        watched.end(key, error)
    assert brief(world) == [("step", "n", "failed", "broken"), ("task", "r", "failed", "broken")]


@pytest.mark.parametrize("how", ["cause", "context", "group"])
def test_a_wrapped_error_began_where_the_inner_one_did(world, watched, how):
    inner = ValueError("inner")
    outer: BaseException = RuntimeError("outer")
    if how == "group":
        outer = ExceptionGroup("outer", [inner])
    elif how == "cause":
        outer.__cause__ = inner
    else:
        outer.__context__ = inner
    watched.begin("r", "r")
    watched.begin("a", "a", parent="r")
    watched.begin("b", "b", parent="a")
    watched.end("b", inner)
    watched.end("a", outer)
    watched.end("r", outer)
    assert [line[1] for line in brief(world)] == ["b", "r"]


def test_another_error_after_a_handled_one_began_where_it_was_raised(world, watched):
    watched.begin("r", "r")
    watched.begin("a", "a", parent="r")
    watched.begin("b", "b", parent="a")
    watched.end("b", ValueError("handled"))
    watched.end("a", KeyError("new"))
    watched.end("r")
    assert brief(world) == [
        ("step", "b", "failed", "handled"),
        ("step", "a", "failed", "'new'"),
        ("task", "r", "ok", None),
    ]


def test_tries_of_the_same_work_are_counted_and_siblings_side_by_side_are_not(world, watched):
    watched.begin("r", "r")
    for n in range(2):
        watched.begin(n, "search", parent="r")
        watched.end(n, TimeoutError(f"try {n}"))
    watched.begin(2, "search", parent="r")
    watched.end(2)
    watched.begin("x", "fetch", parent="r")
    watched.begin("y", "fetch", parent="r")
    watched.end("x", ValueError("x"))
    watched.end("y", ValueError("y"))
    watched.end("r")
    attempts = [(i["task"], i.get("attempt", 1)) for i in told(world)]
    assert attempts == [("search", 1), ("search", 2), ("search", 3), ("fetch", 1), ("fetch", 1), ("r", 3)]


def test_a_task_tells_the_tries_of_all_inside_whoever_made_them(world, watched):
    """Else a verdict would take the time of a second try for that of a first one."""
    watched.begin("r", "r")
    watched.begin("n", "node", parent="r")
    for key, model, error in (("m1", "a", OSError("down")), ("m2", "b", None), ("m3", "a", None)):
        watched.begin(key, model, parent="n", kind="llm")
        watched.end(key, error)
    watched.end("n")
    watched.end("r")
    assert [(i["task"], i.get("attempt", 1)) for i in told(world)][-2:] == [("node", 1), ("r", 2)]


def test_a_step_around_guards_that_try_again_tells_it_too(world):
    left = [HTTPError(503), HTTPError(503)]
    world.policy(retry={"max_attempts": 3, "initial_s": 0.001})

    @guard("fetch", idempotent=True, inner_retries=1, client=world.client)
    def fetch() -> None:
        if left:
            raise left.pop()

    with step("r", client=world.client):
        fetch()
    assert [(i["task"], i.get("attempt", 1)) for i in world.reported()][-2:] == [("fetch", 3), ("r", 3)]


def test_quiet_runs_are_silent_unless_an_error_began_in_them(world, watched):
    watched.begin("r", "r")
    watched.begin("a", "a", parent="r", quiet=True)
    watched.end("a")
    watched.begin("b", "b", parent="r", quiet=True)
    watched.end("b", ValueError("here"))
    watched.end("r")
    assert [line[1] for line in brief(world)] == ["b", "r"]


def test_waiting_for_a_person_inside_makes_the_task_paused_and_cancelling_is_no_failure(world, watched):
    interrupt = type("GraphInterrupt", (Exception,), {"__module__": "langgraph.errors"})()
    watched.begin("r", "r")
    watched.begin("a", "a", parent="r")
    watched.begin("b", "b", parent="a")
    watched.end("b", interrupt)
    watched.end("a", interrupt)
    watched.end("r")
    watched.begin("c", "c")
    watched.end("c", asyncio.CancelledError())
    assert [line[1:3] for line in brief(world)] == [
        ("b", "paused"),
        ("a", "paused"),
        ("r", "paused"),
        ("c", "cancelled"),
    ]


def test_a_condemned_run_has_failed_though_the_framework_says_that_it_went_well(world, watched):
    watched.begin("r", "r")
    watched.condemn("r", TimeoutError("all tries failed"))
    watched.end("r")
    assert brief(world) == [("task", "r", "failed", "all tries failed")]


def test_what_the_framework_never_began_can_be_reported_inside_a_run(world, watched):
    watched.begin("r", "r")
    watched.failed_inside("r", "no_such_tool", ValueError("unknown tool"))
    watched.end("r")
    tool, root = told(world)
    assert (tool["kind"], tool["task"], tool["parent"], tool["status"]) == (
        "tool",
        "no_such_tool",
        root["id"],
        "failed",
    )
    assert root["status"] == "ok"


def test_an_end_that_is_told_twice_or_was_never_begun_reports_nothing(world, watched):
    watched.begin("r", "r")
    watched.begin("r", "again")
    watched.end("r")
    watched.end("r", ValueError("late"))
    watched.end("never")
    assert [line[1] for line in brief(world)] == ["r"]


def test_a_lone_model_call_is_no_task(world, watched):
    watched.begin("m", "model", kind="llm", alone=True)
    watched.end("m")
    assert brief(world) == [("llm", "model", "ok", None)]


def test_guards_inside_an_entered_run_are_parts_of_it_and_nothing_begins_inside_one_that_is_over(world, watched):
    @guard("lookup", client=world.client)
    def lookup() -> None: ...

    def elsewhere() -> None:  # ends in another context than the one that was entered
        watched.end("r")

    watched.begin("r", "graph", enter=True)
    lookup()
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert current_run() is None
    lookup()
    inside, root, after = told(world)
    assert (inside["kind"], inside["parent"]) == ("tool", root["id"])
    assert (after["kind"], after.get("parent")) == ("task", None)


def test_a_framework_inside_a_guard_is_a_step_of_it(world, watched):
    with step("outer", client=world.client):
        watched.begin("r", "graph", enter=True)
        watched.end("r")
    inner, outer = told(world)
    assert (inner["kind"], inner["parent"]) == ("step", outer["id"])


def test_forgotten_ends_do_not_fill_the_memory(world):
    watched = Watched(client=world.client, max_open=3)
    for n in range(10):
        watched.begin(n, "t")
    assert len(watched) == 3
    assert world.client.status()["runs_forgotten"] == 7


def test_a_try_that_failed_further_in_is_a_try_of_the_work_around_it(world, watched):
    watched.begin("r", "r")
    for n in range(2):
        watched.begin(n, "node", parent="r")
        watched.begin(f"chain {n}", "node", parent=n, quiet=True)
        error = ValueError(f"try {n}") if n == 0 else None
        watched.end(f"chain {n}", error)
        watched.end(n, error)
    watched.end("r")
    assert [(i["task"], i["status"], i.get("attempt", 1)) for i in told(world)] == [
        ("node", "failed", 1),
        ("node", "ok", 2),
        ("r", "ok", 2),
    ]


def test_two_branches_that_fail_side_by_side_both_began_where_they_did(world, watched):
    first, second = ValueError("first"), ValueError("second")
    watched.begin("r", "r")
    watched.begin("inner", "inner", parent="r")
    for key, error in (("a", first), ("b", second)):
        watched.begin(key, key, parent="inner")
        watched.end(key, error)
    watched.end("inner", first)
    watched.end("r", first)
    assert [line[1] for line in brief(world)] == ["a", "b", "r"]


def test_a_timeout_that_asyncio_made_anew_began_where_the_old_one_did(world, watched):
    watched.begin("r", "r")
    watched.begin("tool", "tool", parent="r")
    watched.end("tool", TimeoutError("upstream timed out"))
    watched.begin("x", "x", parent="r")
    watched.begin("y", "y", parent="x")
    watched.end("y", TimeoutError("late"))
    watched.end("x", TimeoutError("late"))
    watched.end("r", TimeoutError("late"))
    assert [line[1] for line in brief(world)] == ["tool", "y", "r"]


def test_what_is_told_late_says_itself_how_long_it_took(world, watched):
    watched.begin("r", "r")
    watched.end("r", ms=12.5)
    assert told(world)[0]["duration_ms"] == 12.5


@pytest.mark.parametrize("made_good", ["nowhere", "in b", "in c"])
def test_a_parent_that_is_named_has_an_outcome(world, watched, made_good):
    """The daemon asks a failed step's parent whether it was made good; one that is never told of cannot answer."""
    error = OSError("down")
    for key, parent in (("r", None), ("a", "r"), ("b", "a"), ("c", "b"), ("d", "c")):
        watched.begin(key, key, parent=parent, quiet=key == "b")
    watched.end("d", error)
    watched.begin("e", "e", parent="c")
    watched.end("e")
    watched.end("c", None if made_good == "in c" else error)
    for key in ("b", "a", "r"):
        watched.end(key, error if made_good == "nowhere" else None)
    items = {i["id"]: i for i in told(world)}
    around = {i["task"]: items[i["parent"]]["task"] for i in items.values() if "parent" in i}
    assert (
        around
        == {
            "nowhere": {"d": "r", "e": "r"},
            "in b": {"d": "a", "e": "a", "a": "r"},
            "in c": {"d": "c", "e": "c", "c": "a", "a": "r"},
        }[made_good]
    )
    assert [i["task"] for i in items.values()][:2] == ["d", "e"]

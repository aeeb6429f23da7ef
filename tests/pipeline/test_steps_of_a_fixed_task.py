"""Where a task has got what helps, its steps get no proposal that nobody could act on."""

import pytest
from loop_kit import Loop, hand_clock

from rsi.fix.plan import REFRESH_S


@pytest.fixture
def loop(tmp_path):
    with hand_clock() as time:
        made = Loop(tmp_path)
        made.time = time
        yield made
        made.close()


def strike(loop, n=20, source="app"):
    """Every other task fails, with the step inside it."""
    for nth in range(n):
        category = "rate_limit" if nth % 2 else None
        task = loop.item(source, category=category)
        loop.send(loop.item(source, "model", category, kind="step", parent=task["id"]), task)
    loop.pipeline.cycle()


def lose_steps(loop, source="app"):
    """Steps fail, and their tasks never end."""
    loop.send(*(loop.item(source, "model", "rate_limit", kind="step", parent=f"p{n}") for n in range(6)))
    loop.pipeline.cycle()
    loop.time.forward(2 * loop.config.verify.silent_after)
    loop.pipeline.cycle()


def scopes(loop, *states):
    return sorted((one.source, one.task) for one in loop.fixes() if not states or one.state in states)


def test_a_step_whose_task_is_being_fixed_is_left_alone(loop):
    loop.client()
    strike(loop)
    assert scopes(loop) == [("app", "search")]


def test_a_proposal_for_a_step_is_withdrawn_once_its_task_gets_one(loop):
    lose_steps(loop)
    assert scopes(loop, "proposed") == [("app", "model")]
    loop.client()
    strike(loop)
    assert scopes(loop, "canary") == [("app", "search")]
    loop.time.forward(2 * REFRESH_S)
    strike(loop)
    assert scopes(loop, "superseded") == [("app", "model")]


def test_a_step_that_a_client_can_act_on_keeps_its_proposal(loop):
    loop.client()
    loop.client(task="model")
    strike(loop)
    assert scopes(loop) == [("app", "model"), ("app", "search")]


def test_the_task_of_another_source_covers_nothing(loop):
    loop.client()
    strike(loop)
    lose_steps(loop, "other")
    assert ("other", "model") in scopes(loop, "proposed")


def test_when_the_tasks_fix_is_taken_back_the_step_speaks_again(loop):
    loop.client()
    strike(loop)
    loop.pipeline.rollback("f1", "person:test")
    loop.time.forward(60)
    strike(loop)
    assert ("app", "model") in scopes(loop, "proposed")

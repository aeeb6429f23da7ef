"""Side effects: each measure beyond its allowance blocks `verified` and then rolls back; its control does neither."""

import random

import pytest
from arms_kit import act
from loop_kit import Loop, hand_clock, rule

from rsi.model import Outcome
from rsi.stats import StatsInputError
from rsi.store import fixes
from rsi.verify import decide, guards, watch
from rsi.verify.guards import Allowance, Guards

WORD = {
    "latency": "the time of tasks", "calls": "calls per task", "tokens": "tokens per task",
    "cost": "cost per task", "other": "failures of other",
}  # fmt: skip


@pytest.fixture
def time():
    with hand_clock() as made:
        yield made


@pytest.fixture
def loop(tmp_path, time):
    """A canary for a category whose arms do not act on one another."""
    made = Loop(tmp_path, rules=[rule(categories=("provider_5xx",))])
    made.client()
    made.fail(n=15, ok=35, category="provider_5xx")
    made.pipeline.cycle()
    assert made.fix().state == "canary"
    yield made
    made.close()


def world(measure, times, p_fixed=0.03):
    """Failures fall from .3 to `p_fixed`; one measure of the fixed arm is `times` what it is without."""
    rng = random.Random(5)

    def fields(fixed):
        more = times if fixed else 1.0
        failed = rng.random() < (p_fixed if fixed else 0.3)
        other = rng.random() < 0.06 * (more if measure == "other" else 1.0)
        tries = 1 + (rng.random() < 0.2 * (more if measure == "calls" else 1.0)) * 4
        return {
            "category": "auth" if other else "provider_5xx" if failed else None,
            "attempt": tries,
            "duration_ms": rng.lognormvariate(5, 0.4) * (more if measure == "latency" else 1.0),
            "tokens_in": rng.randrange(50, 150) * (more if measure == "tokens" else 1.0),
            "cost_usd": rng.paretovariate(2.5) * (more if measure == "cost" else 1.0),
        }

    return fields


@pytest.mark.parametrize(
    ("measure", "times"), [("latency", 2.0), ("calls", 5.0), ("tokens", 2.0), ("cost", 2.5), ("other", 6.0)]
)
def test_a_measure_beyond_its_allowance_is_rolled_back_and_named(loop, measure, times):
    act(loop, 600, world(measure, times, p_fixed=0.25), step=50, seconds=0.1)
    fix = loop.fix()
    assert (fix.state, fix.verdict.outcome) == ("rolled_back", "worse")
    assert WORD[measure] in fix.verdict.why


def test_the_control_of_all_five_is_verified(loop):
    """The same failures and the same reports, of which none knows the arm."""
    act(loop, 600, world("none of them", 1.0), step=50, seconds=0.1)
    fix = loop.fix()
    assert (fix.state, fix.verdict.outcome) == ("verified", "verified")
    assert "not told" not in fix.verdict.cannot_exclude


def test_a_tripped_guard_blocks_verified_says_which_and_is_not_kept_at_the_deadline(loop):
    blocked = []

    def until(verdict):
        blocked.append(verdict.why.startswith(decide.GUARD))
        return blocked[-1]

    act(loop, 200, world("latency", 3.0, p_fixed=0.05), step=5, until=until)
    fix = loop.fix()
    assert (fix.state, fix.verdict.outcome) == ("canary", "undecided")
    assert "the time of tasks whose first try worked" in fix.verdict.why
    assert "1.1 times is allowed" in fix.verdict.why
    assert decide.at_deadline(fix.verdict, "keep") == "remove"


def test_what_nobody_reports_is_named_as_not_excluded(loop):
    act(loop, 200, lambda fixed: {"category": None if fixed or loop.random.random() > 0.4 else "provider_5xx"})
    fix = loop.fix()
    assert fix.state == "verified"
    assert (
        "not told by both arms: the time of tasks whose first try worked, tokens per task, cost"
        in fix.verdict.cannot_exclude
    )
    assert "side effects by the same labels" in fix.verdict.method


def test_retries_within_the_budgets_reserve_are_no_side_effect(loop):
    """Slow traffic: one extra call a second is paid for, so that four tries of every third task are allowed."""
    act(loop, 300, lambda fixed: {"attempt": 3 if fixed and loop.random.random() < 0.4 else 1}, step=50, seconds=60.0)
    with loop.store.read() as conn:
        found = watch.load_guards(conn, fixes.get(conn, 1))
    assert found.units("calls") == (found.units("calls")[0], 300 - found.units("calls")[0])
    assert found.tripped() == []


@pytest.mark.parametrize(("per_task", "tripped"), [(1.31, False), (2.0, True)])
def test_both_arms_of_a_client_fill_one_budget(loop, per_task, tripped):
    """At half of the tasks the fixed arm may make two extra calls in five: more the client never lets it make."""

    def fields(fixed):
        return {"attempt": 1 + (loop.random.random() < per_task - 1.0) if fixed else 1}

    act(loop, 1200, fields, step=100, seconds=0.5)
    with loop.store.read() as conn:
        found = watch.load_guards(conn, fixes.get(conn, 1))
    assert any(WORD["calls"] in said for said in found.tripped()) is tripped


@pytest.mark.parametrize(("fraction", "tripped"), [(0.1, False), (0.5, False), (0.9, True)])
def test_what_the_budget_leaves_to_the_fixed_arm_depends_on_its_share(fraction, tripped):
    rng = random.Random(3)
    found = Guards(guards.allowance("retry", {}))
    found.budget = guards.budget(100_000, 100.0, 1)
    for n in range(3000):
        fixed = rng.random() < fraction
        found.note(f"u{n}", "fixed" if fixed else "control", fraction, {"calls": 1.0 + (fixed and rng.random() < 0.38)})
        found.tell(f"u{n}", complete=True)
    assert bool(found.tripped()) is tripped
    others = Guards(guards.allowance("timeout_s", {}))  # a knob that the budget does not pay for
    for n in range(3000):
        fixed = rng.random() < fraction
        others.note(
            f"u{n}", "fixed" if fixed else "control", fraction, {"calls": 1.0 + (fixed and rng.random() < 0.38)}
        )
        others.tell(f"u{n}", complete=True)
    assert others.tripped()


def test_the_rules_own_allowance_widens_what_the_knob_may_cost():
    assert guards.allowance("retry", {}).calls == 0.2
    assert guards.allowance("retry", {"extra_calls": 0.5}) == Allowance(calls=0.5, tokens=0.5, cost=0.5)
    assert guards.allowance("timeout_s", {"extra_calls": 0}).latency == 0.5
    assert guards.allowance("lessons", {"extra_latency": 1.0, "extra_cost": 0.7}) == Allowance(
        latency=1.0, tokens=0.2, cost=0.7
    )
    assert guards.allowance("stop", {}) == Allowance()


def test_a_session_bets_once_whatever_it_does_later():
    found = Guards(Allowance())
    for n in range(40):
        found.note("s", "fixed", 0.5, {"latency": 9.0})
        found.tell("s", complete=False)
        found.note(f"u{n}", "control", 0.5, {"latency": 1.0})
        found.tell(f"u{n}", complete=True)
    assert found.units("latency") == (1, 40)


def test_a_session_that_fell_silent_bets_after_thirty_others():
    found = Guards(Allowance())
    found.note("s", "fixed", 0.5, {"cost": 9.0})
    found.tell("s", complete=False)
    for n in range(30):
        assert found.units("cost")[0] == 0
        found.tell(f"u{n}", complete=True)
    assert found.units("cost")[0] == 1


def test_a_crossed_unit_does_not_bet():
    found = Guards(Allowance())
    found.note("x", "fixed", 0.5, {"cost": 9.0})
    found.drop("x")
    found.tell("x", complete=True)
    assert found.units("cost") == (0, 0)


def test_guards_survive_a_restart_and_hold_no_units_text(loop):
    act(loop, 40, world("cost", 1.3, p_fixed=0.3), step=8)
    with loop.store.read() as conn:
        before = watch.load_guards(conn, fixes.get(conn, 1))
    assert "c60" not in str(before.to_dict())
    loop.restart()
    with loop.store.read() as conn:
        assert watch.load_guards(conn, fixes.get(conn, 1)).to_dict() == before.to_dict()
    assert Guards.from_dict(before.to_dict()).to_dict() == before.to_dict()
    old = {**before.to_dict(), "version": 1, "extra": 0.1}  # what it says of side effects outlives an upgrade
    del old["budget"], old["fraction"]
    assert Guards.from_dict(old).to_dict()["bets"] == before.to_dict()["bets"]
    for broken in ({}, {"version": 99}, {**before.to_dict(), "bets": {}}):
        with pytest.raises(StatsInputError, match="guards"):
            Guards.from_dict(broken)


def test_only_tasks_whose_first_try_worked_say_how_long_it_takes():
    def of(**fields):
        outcome = Outcome(id="1", ts=0.0, source="a", task="t", kind="task", duration_ms=7.0, **fields)
        return guards.measured(outcome, {"rate_limit"})

    assert of(status="ok") == {"calls": 1.0, "latency": 7.0, "other": 0.0}
    assert "latency" not in of(status="ok", attempt=2)
    assert "latency" not in of(status="failed", error="429 Too Many Requests")
    assert of(status="failed", error="429 Too Many Requests", error_status=429)["other"] == 0.0
    assert of(status="failed", error="401 Incorrect API key provided", error_status=401)["other"] == 1.0
    assert of(status="ok", tokens_out=3.0, cost_usd=0.1)["tokens"] == 3.0


def test_tokens_and_cost_are_those_of_one_call_where_extra_calls_are_weighed_as_calls():
    def of(**fields):
        outcome = Outcome(id="1", ts=0.0, source="a", task="t", kind="task", **fields)
        return guards.measured(outcome, {"rate_limit"}, per_call=True)

    assert of(status="ok", attempt=3, tokens_in=30.0, tokens_out=60.0, cost_usd=0.6) == {
        "calls": 3.0, "tokens": 30.0, "cost": pytest.approx(0.2), "other": 0.0,
    }  # fmt: skip
    refused = of(status="failed", error="429 Too Many Requests", tokens_in=0.0, tokens_out=0.0, cost_usd=0.0)
    assert refused == {"calls": 1.0, "other": 0.0}  # it has no price, and would make what works look dear
    assert of(status="failed", tokens_out=7.0)["tokens"] == 7.0
    assert of(status="ok", tokens_out=0.0)["tokens"] == 0.0


@pytest.mark.parametrize(("ramp", "measure"), [([0.5], "tokens"), ([0.1, 0.5], "tokens"), ([0.1, 0.5], "cost")])
def test_what_the_budget_pays_for_are_calls_and_not_dearer_ones(ramp, measure):
    """A retry that doubles what a call takes is seen at any share, however much of the budget is left."""
    rng = random.Random(8)
    found = Guards(guards.allowance("retry", {}))
    for n in range(800):
        fraction = ramp[min(n // 200, len(ramp) - 1)]
        found.budget = guards.budget(n + 1, 10.0 * n, 4)
        fixed = rng.random() < fraction
        values = {"calls": 1.0, measure: rng.lognormvariate(5, 0.4) * (2.0 if fixed else 1.0)}
        found.note(f"u{n}", "fixed" if fixed else "control", fraction, values)
        found.tell(f"u{n}", complete=True)
    assert any(said.startswith(WORD[measure]) for said in found.significant())

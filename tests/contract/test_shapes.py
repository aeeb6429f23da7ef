"""Contract §4: names and types of what the routes answer, as they come over the wire."""

from types import NoneType

import pytest
from loop_kit import config

from rsi.fix import states
from rsi.model import KNOBS

NUMBER = (int, float)
TEXT, LIST, DICT, FLAG = str, list, dict, bool

ISSUE = {
    "id": TEXT, "title": TEXT, "category": TEXT, "severity": TEXT, "state": TEXT, "task_type": TEXT, "sources": LIST,
    "frequency": int, "unrecovered": int, "failure_rate": NUMBER, "impact_score": NUMBER, "first_seen": TEXT,
    "last_seen": TEXT, "recurring": FLAG, "trend": TEXT, "sample_errors": LIST, "suggested_action": TEXT,
    "correlated": LIST, "why": TEXT,
}  # fmt: skip
FIX = {
    "id": TEXT, "issue": TEXT, "rule": TEXT, "category": TEXT, "state": TEXT, "safe": FLAG, "change": DICT,
    "evidence": DICT, "verdict": (dict, NoneType), "journal": LIST, "cost": (dict, NoneType),
}  # fmt: skip
CHANGE = {"target": TEXT, "before": DICT, "after": DICT, "bounds": DICT}
VERDICT = {
    "outcome": TEXT, "method": TEXT, "cannot_exclude": TEXT, "p_fixed": NUMBER, "p_control": NUMBER, "n_fixed": int,
    "n_control": int, "at": TEXT,
}  # fmt: skip
POLICY = {"version": int, "valid_until": TEXT, "scopes": LIST, "experiments": LIST}
EXPERIMENT = {
    "fix": TEXT, "state": TEXT, "stage": int, "salt": TEXT, "fraction": NUMBER, "source": TEXT, "task": TEXT,
    "knobs": LIST, "patch": DICT,
}  # fmt: skip
COST = {
    "tasks": int, "failures_avoided": NUMBER, "extra_calls": NUMBER, "extra_tokens": (int, float, NoneType),
    "extra_s": (int, float, NoneType),
}  # fmt: skip
HEALTH = {
    "health_score": NUMBER, "lo": NUMBER, "hi": NUMBER, "n": NUMBER, "state": TEXT, "as_of": TEXT, "sources": DICT,
}  # fmt: skip


def check(found, shape):
    assert set(shape) <= set(found), f"missing: {set(shape) - set(found)}"
    wrong = {name: found[name] for name, kind in shape.items() if not isinstance(found[name], kind)}
    assert not wrong


def retried(home):
    """A call fails with probability .3 and takes a second; each try costs 100 tokens."""

    def outcome(scope, _arms):
        most = (scope.get("retry") or {}).get("max_attempts", 1)
        attempts = next((n for n in range(1, most + 1) if home.random.random() >= 0.3), None)
        return attempts is None, attempts or most

    return outcome


@pytest.fixture
def verified(home, time):
    home.client()
    home.fail(n=15, ok=35)
    home.pipeline.cycle()
    home.until(
        lambda fix: fix.state != "canary", retried(home), clock_=time, duration_ms=1000, tokens_in=60, tokens_out=40
    )
    assert home.fix().state == "verified"
    return home


def test_an_issue_over_every_route(home):
    home.fail(n=2, ok=1)
    home.pipeline.cycle()
    (listed,) = home.get("/v1/issues")["issues"]
    patterns = home.get("/patterns")
    check(listed, ISSUE)
    assert patterns["patterns"] == [listed]
    assert isinstance(patterns["health_score"], float)
    one = home.get("/v1/issues/i1")
    assert one == {**listed, "related": [], "templates": one["templates"], "templates_total": 1}
    assert set(one["templates"][0]) == {"id", "template", "n", "why"}
    assert (listed["state"], listed["trend"], listed["category"]) == ("new", "new", "rate_limit")
    check(home.get("/health"), HEALTH)


def test_a_fix_with_verdict_evidence_cost_and_journal(verified):
    (listed,) = verified.get("/v1/fixes")["fixes"]
    one = verified.get("/v1/fixes/f1")
    for found in (listed, one):
        check(found, FIX)
        check(found["change"], CHANGE)
        check(found["verdict"], VERDICT)
        check(found["cost"], COST)
    assert one["state"] == "verified"
    assert one["verdict"]["outcome"] == "verified"
    assert [line["what"] for line in one["journal"]][:3] == ["fix.proposed", "fix.checking", "fix.canary"]
    assert all({"at", "who", "what", "detail"} <= set(line) for line in one["journal"])


def test_the_cost_of_a_fix_is_what_the_fixed_arm_did_more_than_the_control_arm(verified):
    cost, verdict = verified.get("/v1/fixes/f1")["cost"], verified.fix().verdict
    assert cost["tasks"] == verdict.n_fixed
    avoided = (verdict.p_control - verdict.p_fixed) * verdict.n_fixed
    assert cost["failures_avoided"] == pytest.approx(avoided, abs=0.02)
    assert 0.2 * cost["tasks"] < cost["extra_calls"] < 0.8 * cost["tasks"], "a third of the calls is tried again"
    assert (cost["extra_tokens"], cost["extra_s"]) == (0, 0), "every task of this world takes as long and as many"


def test_the_cost_goes_on_in_the_holdout_and_stays_when_the_fix_is_over(verified):
    before = verified.fix().cost
    verified.act(200, retried(verified))
    verified.pipeline.cycle()
    after = verified.fix().cost
    assert after.tasks > before.tasks
    assert after.failures_avoided > before.failures_avoided
    verified.pipeline.rollback("f1", "person:test")
    assert verified.fix().cost == after


def test_a_fix_that_was_never_tried_has_no_cost_and_nobody_reported_tokens_is_not_zero(home, time):
    home.fail(n=15, ok=35)
    home.pipeline.cycle()
    assert home.get("/v1/fixes/f1")["cost"] is None
    home.client()
    time.forward(2)
    home.pipeline.cycle()
    home.act(50, retried(home))
    home.pipeline.cycle()
    assert home.get("/v1/fixes/f1")["cost"]["tasks"] > 0
    assert home.get("/v1/fixes/f1")["cost"]["extra_tokens"] is None


def test_the_policy_and_an_experiment(home):
    home.client()
    home.fail(n=15, ok=35)
    home.pipeline.cycle()
    found = home.get("/v1/policy?source=app&enforces=retry&client=c1")
    assert set(found) == set(POLICY)
    check(found, POLICY)
    (experiment,) = found["experiments"]
    assert set(experiment) == set(EXPERIMENT)
    check(experiment, EXPERIMENT)
    assert (experiment["state"], experiment["fraction"], experiment["knobs"]) == ("canary", 0.5, ["retry"])


def test_a_scope_says_source_task_and_who_set_each_knob_even_where_it_is_for_all(home):
    home.config = config(policy=[{"timeout_s": 20}])
    home.restart()
    assert home.get("/v1/policy")["scopes"] == [
        {"source": "*", "task": "*", "timeout_s": 20, "origin": {"timeout_s": {"state": "person"}}}
    ]


def test_states_and_knobs_are_the_contracts_words():
    said = "proposed | approved | checking | canary | verified | kept_unverified | rolled_back | removed | rejected | superseded | failed"
    assert list(states.NEXT) == said.split(" | ")
    said = "retry timeout_s fallbacks max_concurrency breaker max_output_tokens reask lessons stop"
    assert " ".join(KNOBS) == said


@pytest.mark.parametrize(
    ("path", "field"),
    [("/v1/issues?state=bad", "state"), ("/v1/fixes?state=bad", "state"), ("/v1/fixes?state=canary,bad", "state")],
)
def test_a_filter_that_nothing_can_match_is_refused_by_its_name(home, path, field):
    answer = home.ask("GET", path)
    assert (answer.status_code, answer.json()["field"]) == (422, field)


@pytest.mark.parametrize("ident", ["i²", "i99999999999999999999999", "i", "-1", "x" * 500, "i1 OR 1=1"])
def test_an_id_that_is_none_is_404_everywhere(home, ident):
    for path, body in (
        ("/v1/issues/merge", {"a": ident, "b": "i1"}),
        ("/v1/issues/split", {"id": ident}),
    ):
        answer = home.ask("POST", path, json=body, headers=home.boss)
        assert answer.status_code == 404, (path, answer.text)
        assert set(answer.json()) <= {"error", "field"}

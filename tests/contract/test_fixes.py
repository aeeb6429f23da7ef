"""Contract §4 and §7: merged issues, one experiment per knob, holdouts, backfill, and what the policy says when."""

import shutil

import pytest
from loop_kit import config, rule

from rsi import clock

DAY_S = 86_400.0


def helps(home):
    def outcome(_scope, arms):
        return home.random.random() < (0.02 if "fixed" in arms.values() else 0.3), 1

    return outcome


def canary(home, **fields):
    home.client()
    home.fail(n=15, ok=35, **fields)
    home.pipeline.cycle()


def verify(home, time):
    canary(home)
    assert home.until(lambda fix: fix.state != "canary", helps(home), clock_=time).state == "verified"


def test_a_merged_issue_redirects_for_ever_and_the_older_id_stays(home, time):
    home.send(
        *(
            {"task": "a", "success": False, "error": f"{word} went wrong in the {word} room"}
            for word in ("kettle", "piano", "garden")
        )
    )
    home.pipeline.cycle()
    merge = lambda a, b: home.ask("POST", "/v1/issues/merge", json={"a": a, "b": b}, headers=home.boss).json()  # noqa: E731
    assert merge("i3", "i2")["id"] == "i2"
    assert merge("i2", "i1")["id"] == "i1"
    home.restart()
    for ident in ("i1", "i2", "i3"):
        found = home.get(f"/v1/issues/{ident}")
        assert (found["id"], found["frequency"]) == ("i1", 3)
    assert [one["id"] for one in home.get("/v1/issues")["issues"]] == ["i1"]


def test_a_fix_in_holdout_stands_in_the_experiment_and_nowhere_else(home, time):
    verify(home, time)
    policy = home.pipeline.policy()
    (experiment,) = policy.experiments
    assert (experiment.fix, experiment.state, experiment.fraction, experiment.knobs) == (
        "f1",
        "holdout",
        0.95,
        ["retry"],
    )
    assert policy.scopes == []


def test_the_holdout_lasts_fourteen_days_and_then_everyone_has_it_as_verified(home, time):
    verify(home, time)
    time.forward(14 * DAY_S - 3600)
    home.pipeline.cycle()
    assert [one.state for one in home.pipeline.policy().experiments] == ["holdout"]
    time.forward(3601)
    home.pipeline.cycle()
    policy = home.pipeline.policy()
    assert policy.experiments == []
    assert policy.scopes[0].origin == {"retry": {"fix": "f1", "state": "verified"}}
    assert home.fix().state == "verified"


def test_without_a_holdout_everyone_has_it_at_once(make_home, time):
    home = make_home(verify={"holdout": 0})
    verify(home, time)
    assert home.pipeline.policy().experiments == []
    assert home.pipeline.policy().scopes[0].retry["max_attempts"] == 4


def test_another_fix_on_the_knob_waits_for_the_holdout_to_end(home, time):
    verify(home, time)
    home.use([rule(), rule("more", categories=("auth",), value={"max_attempts": 2, "on": ["rate_limit"]})])
    home.fail(category="auth", n=20, ok=20)
    home.pipeline.cycle()
    second = home.fix("f2")
    assert second.state == "proposed"
    assert any("queued: f1 has its holdout" in rail for rail in second.rails)
    assert len(home.pipeline.policy().experiments) == 1, "one open experiment per scope and knob"
    time.forward(14 * DAY_S + 1)
    home.client()
    home.fail(category="auth", n=20, ok=20)
    home.pipeline.cycle()
    home.pipeline.cycle()
    assert home.fix("f2").state == "canary"


def test_backfill_makes_issues_and_proposals_and_never_a_canary_an_alarm_or_a_verdict(home, time):
    heard = []
    home.pipeline.subscribe(lambda event, data: heard.append((event, data)))
    home.client()
    for _ in range(5):
        home.fail(n=40, ok=0, ts=time.now() - 3 * DAY_S)
        home.pipeline.cycle()
        time.forward(120)
    assert home.get("/v1/issues")["issues"][0]["frequency"] == 200
    assert home.fix().state == "proposed"
    assert home.pipeline.policy().experiments == []
    assert home.get("/health")["state"] == "unknown"
    assert not [data for event, data in heard if event == "health" and data.get("on")]
    assert len(list(home.home.proposals.glob("*.md"))) == 1


def test_backfill_that_names_an_experiment_moves_no_verdict(home, time):
    canary(home)
    home.act(100, lambda _scope, arms: ("control" in arms.values(), 1), ts=time.now() - 2 * DAY_S)
    home.pipeline.cycle()
    assert home.trial().counts.entered == 0
    assert home.fix().verdict.outcome == "no_data"


def test_a_policy_is_valid_for_ten_minutes_from_every_contact(home, time):
    for _ in range(2):
        assert clock.parse_iso(home.get("/v1/policy")["valid_until"]) == pytest.approx(time.now() + 600, abs=0.01)
        time.forward(1000)


def test_what_a_person_sets_wins_over_a_fix_that_stands(make_home, time):
    home = make_home(verify={"holdout": 0})
    verify(home, time)
    home.config = config(policy=[{"source": "app", "task": "search", "retry": {"max_attempts": 2}}])
    home.restart()
    (scope,) = home.pipeline.policy().scopes
    assert (scope.retry, scope.origin) == ({"max_attempts": 2}, {"retry": {"state": "person"}})


def test_rolled_back_is_gone_from_the_next_answer_and_its_etag_is_another(home, time):
    canary(home)
    before = home.ask("GET", "/v1/policy?source=app")
    assert before.json()["experiments"]
    assert home.ask("POST", "/v1/fixes/f1/rollback", headers=home.boss).json()["state"] == "rolled_back"
    after = home.ask("GET", "/v1/policy?source=app", headers={"If-None-Match": before.headers["etag"]})
    assert (after.status_code, after.json()["experiments"]) == (200, [])
    home.fail(n=15, ok=35)
    home.pipeline.cycle()
    assert home.get("/v1/policy?source=app")["experiments"] == []


def test_the_store_has_an_identity_that_outlives_restarts_and_not_a_reset(home):
    first = home.pipeline.identity
    assert len(first) == 12
    home.restart()
    assert home.pipeline.identity == first
    home.close()
    shutil.rmtree(home.home.state)
    home.home.prepare()
    home.open()
    assert home.pipeline.identity != first


@pytest.mark.parametrize("verb", ["approve", "reject", "rollback"])
def test_deciding_needs_the_secret_of_the_home(home, verb):
    home.fail(n=15, ok=35)
    home.pipeline.cycle()
    path = f"/v1/fixes/f1/{verb}"
    assert home.ask("POST", path).status_code == 401
    assert home.ask("POST", path, headers={"Authorization": "Bearer any"}).status_code == 403
    assert home.fix().state == "proposed"


def test_one_proposal_is_one_file_that_is_updated_in_place(home, time):
    home.fail(n=15, ok=35)
    home.pipeline.cycle()
    (path,) = home.home.proposals.iterdir()
    first = path.read_text()
    for _ in range(3):
        time.forward(120)
        home.fail(n=15, ok=35)
        home.pipeline.cycle()
        home.restart()
    assert list(home.home.proposals.iterdir()) == [path]
    assert path.read_text() != first


def test_fix_auto_false_makes_everything_a_proposal(make_home, time):
    home = make_home(fix={"auto": False})
    canary(home)
    assert (home.fix().state, home.pipeline.policy().experiments) == ("proposed", [])
    answer = home.ask("POST", "/v1/fixes/f1/approve", headers=home.boss)
    assert (answer.status_code, home.fix().state) == (200, "canary")

"""The whole loop in one process: failures → issue → fix → canary → verdict → policy."""

import json

import pytest
from loop_kit import Loop, advice, config, hand_clock, rule

from rsi.errors import ConflictError, NotFoundError
from rsi.model import Batch
from rsi.pipeline import Pipeline
from rsi.rules import When
from rsi.store import Store, fingerprints, issue_rows, journal, meta, rejects, rollups, trials, watermark
from rsi.worker import Worker


@pytest.fixture
def time():
    with hand_clock() as made:
        yield made


@pytest.fixture
def loop(tmp_path, time):
    made = Loop(tmp_path)
    yield made
    made.close()


def helps(loop, p=0.3):
    """Every try fails with probability p, independently: more tries, fewer failures."""

    def outcome(scope, _arms):
        most = (scope.get("retry") or {}).get("max_attempts", 1)
        for attempt in range(1, most + 1):
            if loop.random.random() >= p:
                return False, attempt
        return True, most

    return outcome


def by_arm(loop, fixed, control):
    def outcome(_scope, arms):
        return loop.random.random() < (fixed if "fixed" in arms.values() else control), 1

    return outcome


def start_canary(loop, **fields):
    loop.client(**{key: value for key, value in fields.items() if key in ("source", "task")})
    loop.fail(n=15, ok=35, **fields)
    loop.pipeline.cycle()


def test_failures_become_a_canary_that_live_clients_can_act_on(loop):
    start_canary(loop)
    fix = loop.fix()
    assert (fix.state, fix.rule, fix.source, fix.task, fix.knob) == (
        "canary", "retry-transient", "app", "search", "retry",
    )  # fmt: skip
    policy = loop.pipeline.policy()
    (experiment,) = policy.experiments
    assert (experiment.fix, experiment.state, experiment.stage, experiment.fraction) == ("f1", "canary", 1, 0.5)
    assert len(experiment.salt) == 16
    assert experiment.patch["retry"]["max_attempts"] == 4
    assert policy.scopes == []
    assert [line["what"] for line in fix.journal] == ["fix.proposed", "fix.checking", "fix.canary"]
    assert fix.evidence["failures"] == 15
    assert fix.evidence["tasks"] == 50
    assert fix.evidence["issues"]


def test_a_helpful_fix_ends_verified_and_goes_to_everyone_but_the_holdout(loop, time):
    start_canary(loop)
    fix = loop.until(lambda fix: fix.state != "canary", helps(loop), clock_=time)
    assert fix.state == "verified", fix.verdict
    verdict = fix.verdict
    assert verdict.outcome == "verified"
    assert verdict.p_fixed < verdict.p_control
    assert verdict.n_control >= 60
    assert "label-betting" in verdict.method
    assert verdict.cannot_exclude
    (experiment,) = loop.pipeline.policy().experiments
    assert (experiment.state, experiment.fraction, experiment.stage) == ("holdout", 0.95, loop.trial().stage)

    loop.act(50, helps(loop))
    time.forward(15 * 86_400)
    loop.pipeline.cycle()
    policy = loop.pipeline.policy()
    assert policy.experiments == []
    (scope,) = policy.scopes
    assert (scope.source, scope.task, scope.retry["max_attempts"]) == ("app", "search", 4)
    assert scope.origin == {"retry": {"fix": "f1", "state": "verified"}}


def test_a_harmful_fix_is_rolled_back_and_gone_from_the_policy(loop, time):
    start_canary(loop)
    fix = loop.until(lambda fix: fix.state != "canary", by_arm(loop, 0.7, 0.2), clock_=time)
    assert (fix.state, fix.verdict.outcome) == ("rolled_back", "worse")
    assert loop.pipeline.policy().experiments == []
    assert loop.pipeline.policy().scopes == []
    loop.fail(n=20, ok=20)
    loop.pipeline.cycle()
    assert [fix.state for fix in loop.fixes()] == ["rolled_back"]


def test_a_useless_fix_is_never_called_verified_and_ends_at_its_deadline(loop, time):
    start_canary(loop)
    fix = loop.until(lambda fix: fix.state != "canary", by_arm(loop, 0.3, 0.3), most=10, clock_=time)
    if fix.state == "canary":
        assert fix.verdict.outcome == "undecided"
        time.forward(14 * 86_400)
        loop.pipeline.cycle()
        assert loop.fix().state == "kept_unverified"
        assert loop.pipeline.policy().scopes[0].origin["retry"]["state"] == "kept_unverified"
    else:
        assert fix.state == "removed"


def test_undecided_at_the_deadline_is_removed_where_the_user_says_so(tmp_path, time):
    loop = Loop(tmp_path, conf=config(fix={"undecided": "remove"}))
    start_canary(loop)
    loop.act(30, by_arm(loop, 0.3, 0.3))
    time.forward(15 * 86_400)
    loop.pipeline.cycle()
    assert loop.fix().state == "removed"
    loop.close()


def test_a_fix_that_no_outcome_ever_carried_is_removed_at_its_deadline(loop, time):
    start_canary(loop)
    time.forward(15 * 86_400)
    loop.pipeline.cycle()
    fix = loop.fix()
    assert (fix.state, fix.verdict.outcome) == ("removed", "no_data")


def test_verified_waits_for_sixty_control_units_and_says_that_arms_may_interact(loop, time):
    start_canary(loop)
    seen = []

    def done(fix):
        if fix.verdict:
            seen.append((fix.state, fix.verdict.outcome, fix.verdict.why, fix.verdict.n_control))
        return fix.state != "canary"

    loop.until(done, by_arm(loop, 0.0, 0.3), step=10, clock_=time)
    waiting = [(why, n) for state, outcome, why, n in seen if outcome == "undecided" and "arms interact" in why]
    assert waiting
    assert all(n < 60 or "nobody" in why or "without it" in why for why, n in waiting)  # then by a washout
    assert seen[-1][:2] == ("verified", "verified")


def test_a_control_arm_that_got_worse_than_before_the_canary_blocks_verified(loop, time):
    start_canary(loop)  # .30 before
    fix = loop.until(lambda fix: fix.state != "canary", by_arm(loop, 0.03, 0.9), most=15, clock_=time)
    assert (fix.state, fix.verdict.outcome) == ("canary", "undecided")
    assert "control arm fails" in fix.verdict.why


def test_extra_calls_beyond_the_budget_block_verified(loop, time):
    start_canary(loop)

    def greedy(_scope, arms):
        fixed = "fixed" in arms.values()
        return loop.random.random() < (0.02 if fixed else 0.3), 3  # alike in both: no side effect of the fix

    fix = loop.until(lambda fix: fix.state != "canary", greedy, most=12, seconds=0.0, clock_=time)
    assert (fix.state, fix.verdict.outcome) == ("canary", "undecided")
    assert "retry budget" in fix.verdict.why


def test_a_restart_in_the_middle_keeps_arms_and_counts(loop, time):
    start_canary(loop)
    loop.act(60, by_arm(loop, 0.2, 0.3))
    loop.pipeline.cycle()
    policy, trial = loop.pipeline.policy(), loop.trial()
    loop.restart()
    loop.pipeline.cycle()
    assert loop.pipeline.policy().experiments == policy.experiments
    assert loop.pipeline.policy().version == policy.version
    assert loop.trial() == trial
    assert trial.counts.fixed.units + trial.counts.control.units == 60
    fix = loop.until(lambda fix: fix.state != "canary", helps(loop), clock_=time)
    assert fix.state == "verified"


def test_cycles_and_slices_do_not_change_what_is_counted(tmp_path, time, monkeypatch):
    monkeypatch.setattr(trials, "new_salt", lambda: "x")
    ends = []
    for every in (1, 50):
        loop = Loop(tmp_path / str(every), seed=7)
        start_canary(loop)
        for n in range(50):
            loop.act(2, by_arm(loop, 0.1, 0.3))
            if n % every == 0:
                loop.pipeline.cycle()
        loop.pipeline.cycle()
        counts = loop.trial().counts
        ends.append((counts.fixed, counts.control, counts.labels))
        loop.close()
    assert ends[0] == ends[1]


def test_with_no_live_client_it_is_a_proposal_and_becomes_a_canary_when_one_comes(loop):
    loop.fail()
    loop.pipeline.cycle()
    fix = loop.fix()
    assert fix.state == "proposed"
    assert "no live client of app/search enforces retry" in " ".join(fix.rails)
    assert loop.pipeline.policy().experiments == []
    loop.client()
    loop.pipeline.cycle()
    loop.client(client="c2")
    fix = loop.fix()
    if fix.state == "proposed":  # rails without news are asked again once a second
        from rsi import clock

        clock.sleep(2)
        loop.pipeline.cycle()
    assert loop.fix().state == "canary"


def test_a_client_that_cannot_act_on_the_knob_does_not_count(loop):
    loop.client(enforces=["timeout_s"])
    loop.fail()
    loop.pipeline.cycle()
    assert loop.fix().state == "proposed"


def test_pause_applies_nothing_and_resume_goes_on(loop):
    assert loop.pipeline.pause("person:test") is True
    start_canary(loop)
    assert loop.fix().state == "proposed"
    assert "paused" in " ".join(loop.fix().rails)
    assert loop.pipeline.resume("person:test") is False
    assert loop.fix().state == "canary"
    with loop.store.read() as conn:
        assert [entry.what for entry in journal.for_ref(conn, "fixes")] == ["pause", "resume"]


def test_the_storm_guard_starts_nothing_while_many_sources_are_unhealthy(tmp_path, time):
    loop = Loop(tmp_path)
    for n in range(10):
        source = f"s{n}"
        loop.client(source=source)
        loop.send(*(loop.item(source=source, category="rate_limit" if n < 5 else None) for _ in range(40)))
    loop.pipeline.cycle()
    assert {fix.state for fix in loop.fixes()} == {"proposed"}
    assert all("storm: 5 of 10" in " ".join(fix.rails) for fix in loop.fixes())
    loop.close()


def test_a_storm_that_strikes_one_source_after_the_other_starts_nothing(tmp_path, time):
    loop = Loop(tmp_path)
    for n in range(10):
        loop.client(source=f"s{n}")
        loop.send(*(loop.item(source=f"s{n}") for _ in range(40)))
    loop.pipeline.cycle()
    for n in range(5):  # so few that health is not sure yet
        loop.send(*(loop.item(source=f"s{n}", category="rate_limit") for _ in range(3)))
        loop.pipeline.cycle()
        time.forward(1.5)
        loop.pipeline.cycle()
    time.forward(20)
    loop.pipeline.cycle()
    assert [fix.state for fix in loop.fixes()] == ["proposed"] * 5
    assert all("storm: 5 of 10" in " ".join(fix.rails) for fix in loop.fixes())
    loop.close()


def test_one_source_of_ten_is_helped_once_the_others_were_seen_to_work(tmp_path, time):
    loop = Loop(tmp_path)
    for n in range(10):
        loop.client(source=f"s{n}")
        loop.send(*(loop.item(source=f"s{n}", category="rate_limit" if n == 3 else None) for _ in range(40)))
    loop.pipeline.cycle()
    assert loop.fix().state == "proposed"
    assert "watched until" in " ".join(loop.fix().rails)
    time.forward(11)
    loop.pipeline.cycle()
    assert loop.fix().state == "canary"
    loop.close()


def test_one_source_of_one_that_is_down_is_no_storm(loop):
    loop.client()
    loop.fail(n=40, ok=3)
    loop.pipeline.cycle()
    assert loop.fix().state == "canary"


def test_per_hour_limits_what_is_applied_and_the_next_hour_goes_on(tmp_path, time):
    loop = Loop(tmp_path, conf=config(fix={"per_hour": 2}))
    for task in ("a", "b", "c"):
        loop.client(task=task)
        loop.fail(n=15, ok=35, task=task)
    loop.pipeline.cycle()
    assert sorted(fix.state for fix in loop.fixes()) == ["canary", "canary", "proposed"]
    time.forward(3700)
    for task in ("a", "b", "c"):
        loop.client(task=task)
    loop.pipeline.cycle()
    assert {fix.state for fix in loop.fixes()} == {"canary"}
    loop.close()


def test_backfill_makes_proposals_and_never_a_canary(loop, time):
    loop.client()
    loop.fail(n=15, ok=35, ts=time.now() - 30 * 86_400)
    loop.pipeline.cycle()
    fix = loop.fix()
    assert fix.state == "proposed"
    assert "backfill" in " ".join(fix.rails)


def test_advice_becomes_a_proposal_that_cannot_be_approved(tmp_path, time):
    loop = Loop(tmp_path, [advice()])
    loop.fail(category="auth")
    loop.pipeline.cycle()
    fix = loop.fix()
    assert (fix.state, fix.knob, fix.change.after) == ("proposed", "", {})
    with pytest.raises(ConflictError, match="advice"):
        loop.pipeline.approve("f1", "person:test")
    assert loop.pipeline.reject("f1", "person:test").state == "rejected"
    loop.close()


def test_a_users_rule_waits_for_approval_and_then_runs_the_same_canary(tmp_path, time):
    null = rule("null", value={"max_attempts": 1}, origin="user")
    loop = Loop(tmp_path, [null, rule()])
    start_canary(loop)
    fix = loop.fix()
    assert (fix.rule, fix.state) == ("null", "proposed")
    assert len(loop.fixes()) == 1
    assert loop.pipeline.approve("f1", "person:test").state == "canary"
    (experiment,) = loop.pipeline.policy().experiments
    assert experiment.patch == {"retry": {"max_attempts": 1}}
    loop.close()


def test_approve_now_is_everyone_at_once_and_unverified(tmp_path, time):
    loop = Loop(tmp_path, [rule(safe=False)])
    start_canary(loop)
    assert loop.fix().state == "proposed"
    assert loop.pipeline.approve("f1", "person:test", now=True).state == "kept_unverified"
    (scope,) = loop.pipeline.policy().scopes
    assert scope.origin["retry"] == {"fix": "f1", "state": "kept_unverified"}
    loop.close()


def test_an_approved_fix_without_a_client_waits_and_says_why(loop):
    loop.fail()
    loop.pipeline.cycle()
    fix = loop.pipeline.approve("f1", "person:test", now=True)
    assert fix.state == "approved"
    assert "no live client" in " ".join(fix.rails)
    assert loop.pipeline.policy().scopes == []


def test_rejected_is_not_proposed_again_unless_the_rule_changes(loop):
    loop.fail()
    loop.pipeline.cycle()
    loop.pipeline.reject("f1", "person:test")
    loop.fail()
    loop.pipeline.cycle()
    assert [fix.state for fix in loop.fixes()] == ["rejected"]
    loop.use([rule(value={"max_attempts": 3})])
    loop.fail()
    loop.pipeline.cycle()
    assert [fix.state for fix in loop.fixes()] == ["rejected", "proposed"]


def test_a_waiting_fix_whose_rule_changed_is_superseded_in_its_file(loop):
    loop.fail()
    loop.pipeline.cycle()
    loop.use([rule(value={"max_attempts": 3})])
    loop.fail()
    loop.pipeline.cycle()
    assert [fix.state for fix in loop.fixes()] == ["superseded", "proposed"]
    (path,) = loop.home.proposals.iterdir()
    assert 'id: "f2"' in path.read_text()


def test_rollback_takes_it_out_of_the_policy_at_once(loop):
    start_canary(loop)
    version = loop.pipeline.policy().version
    assert loop.pipeline.rollback("f1", "person:test").state == "rolled_back"
    assert loop.pipeline.policy().experiments == []
    assert loop.pipeline.policy().version == version + 1
    with pytest.raises(ConflictError, match="nothing to roll back"):
        loop.pipeline.rollback("f1", "person:test")
    with pytest.raises(NotFoundError):
        loop.pipeline.rollback("f9", "person:test")
    with pytest.raises(NotFoundError):
        loop.pipeline.rollback("no", "person:test")


def test_rollback_all_takes_back_everything_applied(tmp_path, time):
    loop = Loop(tmp_path)
    for task in ("a", "b"):
        loop.client(task=task)
        loop.fail(n=15, ok=35, task=task)
    loop.pipeline.cycle()
    assert {fix.state for fix in loop.pipeline.rollback_all("person:test")} == {"rolled_back"}
    assert loop.pipeline.policy().experiments == []
    loop.close()


def test_what_a_person_set_stays_and_is_published(tmp_path, time):
    loop = Loop(tmp_path, conf=config(policy=[{"source": "app", "retry": {"max_attempts": 2}}]))
    start_canary(loop)
    assert loop.fix().state == "proposed"
    assert "a person set retry" in " ".join(loop.fix().rails)
    (scope,) = loop.pipeline.policy().scopes
    assert (scope.source, scope.task, scope.origin) == ("app", "*", {"retry": {"state": "person"}})
    loop.close()


def test_a_second_fix_for_the_same_knob_and_scope_is_queued(tmp_path, time):
    loop = Loop(tmp_path, [rule()])
    start_canary(loop)
    loop.use([rule(), rule("more", categories=("auth",), value={"max_attempts": 2})])
    loop.fail(category="auth", n=10)
    loop.pipeline.cycle()
    assert [fix.rule for fix in loop.fixes()] == ["retry-transient"]
    loop.close()


def test_different_knobs_overlap_with_salts_of_their_own(tmp_path, time):
    loop = Loop(tmp_path, [rule(), rule("slower", knob="timeout_s", value=20)])
    start_canary(loop)
    one, two = loop.pipeline.policy().experiments
    assert {*one.knobs, *two.knobs} == {"retry", "timeout_s"}
    assert one.salt != two.salt
    loop.close()


def test_one_fix_covers_all_categories_of_its_rule_in_a_scope(loop):
    loop.client()
    loop.fail(n=2, ok=10)
    loop.fail(n=4, ok=10, category="provider_5xx")
    loop.pipeline.cycle()
    (fix,) = loop.fixes()
    assert fix.category == "provider_5xx"
    assert fix.evidence["categories"] == {"rate_limit": 2, "provider_5xx": 4}
    assert len(fix.evidence["issues"]) == 2


def test_two_failures_are_not_enough(loop):
    loop.client()
    loop.fail(n=2)
    loop.pipeline.cycle()
    assert loop.fixes() == []


def test_too_little_traffic_for_a_verdict_is_said_before_starting(loop, time):
    loop.client()
    for _ in range(5):
        loop.fail(n=1, ok=0)
        time.forward(4 * 3600)
    loop.client()
    loop.pipeline.cycle()
    loop.fail(n=1, ok=0, source="other", task="busy")
    fix = loop.fix()
    assert fix.evidence["days_expected"] is not None
    assert (fix.state == "proposed") == (fix.evidence["days_expected"] > 14)


def test_a_ramp_moves_on_after_units_without_harm_and_keeps_its_evidence(tmp_path, time):
    loop = Loop(tmp_path, conf=config(verify={"ramp": [0.1, 0.5]}))
    start_canary(loop)
    assert loop.pipeline.policy().experiments[0].fraction == 0.1
    for _ in range(40):
        loop.act(20, by_arm(loop, 0.28, 0.3))
        time.forward(60)
        loop.pipeline.cycle()
        if loop.trial().stage == 2 or loop.fix().state != "canary":
            break
    trial = loop.trial()
    assert (trial.stage, trial.fraction) == (2, 0.5)
    assert trial.counts.fixed.units >= 20
    assert trial.counts.stages[0].salt != trial.counts.stages[1].salt
    loop.close()


def test_a_cycle_with_nothing_new_changes_nothing(loop):
    start_canary(loop)
    with loop.store.read() as conn:
        before = len(journal.tail(conn, 1000)), meta.get(conn, "policy")
    report = loop.pipeline.cycle()
    assert (report.outcomes, report.planned, report.applied, report.published) == (0, 0, 0, False)
    with loop.store.read() as conn:
        assert (len(journal.tail(conn, 1000)), meta.get(conn, "policy")) == before


def test_a_row_that_cannot_be_analysed_is_put_aside_and_the_others_are_not(loop, monkeypatch):
    identify = loop.pipeline._taking._observer._identify

    def brittle(outcome):
        if outcome.error and "poison" in outcome.error:
            raise RuntimeError("cannot digest this")
        return identify(outcome)

    monkeypatch.setattr(loop.pipeline._taking._observer, "_identify", brittle)
    loop.fail(n=3)
    loop.send(loop.item() | {"success": False, "error": "poison"})
    loop.fail(n=3)
    report = loop.pipeline.cycle()
    assert (report.quarantined, report.outcomes) == (1, 16)
    with loop.store.read() as conn:
        (reject,) = rejects.tail(conn, 10)
        assert watermark.get(conn) == 17
        assert rollups.by_category(conn, "app", "search", 0)["rate_limit"].failed == 6
    assert "cannot digest this" in reject.reason
    assert "poison" in reject.text
    assert "could not be analysed" in " ".join(loop.pipeline.status()["troubles"])


def test_a_row_that_cannot_even_be_read_is_put_aside(loop):
    loop.fail(n=3)
    loop.store.write(lambda conn: conn.exec_driver_sql("UPDATE outcomes SET body = x'7b226572' WHERE seq = 2"))
    report = loop.pipeline.cycle()
    assert (report.quarantined, report.outcomes) == (1, 7)


def test_planning_that_breaks_is_shown_and_never_stops_a_rollback(loop, time, monkeypatch):
    start_canary(loop)

    def broken(*_args, **_kwargs):
        raise RuntimeError("a rule is broken")

    monkeypatch.setattr("rsi.fix.plan.plan", broken)
    fix = loop.until(lambda fix: fix.state != "canary", by_arm(loop, 0.7, 0.2), clock_=time)
    assert fix.state == "rolled_back"
    assert loop.pipeline.policy().experiments == []
    status = loop.pipeline.status()
    assert status["failures"]["plan"] > 0
    assert "a rule is broken" in " ".join(status["troubles"])


def test_subscribers_hear_of_everything_and_one_that_breaks_harms_nobody(loop, time):
    heard = []
    loop.pipeline.subscribe(lambda *_: 1 / 0)
    stop = loop.pipeline.subscribe(lambda event, data: heard.append((event, data)))
    start_canary(loop)
    loop.until(lambda fix: fix.state != "canary", helps(loop), clock_=time)
    kinds = {event for event, _ in heard}
    assert {"outcome", "fix", "verdict", "policy", "health"} <= kinds
    json.dumps([data for _, data in heard])
    assert loop.pipeline.status()["failures"]["subscriber"] > 0
    heard.clear()
    stop()
    loop.fail()
    loop.pipeline.cycle()
    assert heard == []


def test_the_background_thread_takes_what_arrives(tmp_path):
    loop = Loop(tmp_path)
    import threading

    done = threading.Event()
    loop.pipeline.subscribe(lambda event, data: done.set() if event == "fix" and data["state"] == "canary" else None)
    loop.pipeline.start()
    loop.client()
    loop.fail(n=15, ok=35)
    assert done.wait(20)
    assert loop.pipeline.status()["running"]
    loop.close()


def test_resolving_an_issue_by_hand_stops_new_plans_for_it(loop):
    loop.fail(n=1, ok=5)
    loop.pipeline.cycle()
    assert loop.pipeline.set_issue_state("i1", "ignored", "person:test").state == "ignored"
    loop.fail(n=10)
    loop.pipeline.cycle()
    assert loop.fixes() == []


def test_merging_issues_by_hand_goes_through_the_pipeline(loop):
    loop.send(
        loop.item(category="rate_limit"), loop.item() | {"success": False, "error": "rate limit hit, slow down please"}
    )
    loop.pipeline.cycle()
    with loop.store.read() as conn:
        two = issue_rows.load(conn, [1, 2])
    if len(two) == 2 and two[1].category == two[2].category:
        assert loop.pipeline.merge("i1", "i2", "person:test").id == "i1"


def test_malformed_batches_never_reach_the_cycle(loop):
    receipt = loop.pipeline.submit(Batch(door="test", items=[{"task": "x"}, {"nonsense": 1}])).result()
    assert len(receipt.rejected) == 2
    assert loop.pipeline.cycle().outcomes == 0


def test_the_rate_before_is_that_of_the_incident_not_of_the_healthy_day_before_it(loop, time):
    for _ in range(10):
        loop.send(*(loop.item() for _ in range(60)))
        time.forward(600)
    loop.client()
    loop.fail(n=15, ok=15)
    loop.pipeline.cycle()
    rate = loop.trial().counts.before
    assert rate.failed / rate.tasks > 0.2


def test_the_built_in_rules_retry_what_passes_and_advise_on_a_bad_key(loop):
    loop.pipeline._rules_seen = None
    loop.client()
    loop.fail(n=15, ok=35)
    loop.fail(n=5, ok=5, source="other", category="auth")
    loop.pipeline.cycle()
    found = {(fix.source, fix.knob): fix.state for fix in loop.fixes()}
    assert found["app", "retry"] == "canary"
    assert found["other", ""] == "proposed"
    assert not any(fix.knob == "retry" for fix in loop.fixes() if fix.source == "other")


def test_rules_that_a_user_adds_are_loaded_without_a_restart(loop):
    loop.pipeline._rules_seen = None
    loop.pipeline.cycle()
    folder = loop.home.rules / "fix"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(
        "id: mine\ntitle: Mine\ndate: '2026-11-21'\ncategories: [auth]\nwhy: Because.\nsuggest: Do it.\n"
        "change: {knob: timeout_s, value: 5}\n"
    )
    loop.fail(category="auth")
    loop.pipeline.cycle()
    assert [fix.rule for fix in loop.fixes()] == ["mine"]
    (folder / "broken.yaml").write_text("id: [\n")
    loop.pipeline.cycle()
    assert "broken.yaml" in " ".join(loop.pipeline.status()["troubles"])


def test_advice_gives_way_once_something_can_be_changed(tmp_path, time):
    loop = Loop(tmp_path, [advice(categories=("rate_limit",)), rule(when=When(idempotent="required"))])
    loop.fail()
    loop.pipeline.cycle()
    assert [(fix.rule, fix.state) for fix in loop.fixes()] == [("fix-key", "proposed")]
    loop.client()
    loop.fail(n=15, ok=35)
    loop.pipeline.cycle()
    assert [(fix.rule, fix.state) for fix in loop.fixes()] == [("fix-key", "superseded"), ("retry-transient", "canary")]
    loop.close()


def test_new_templates_get_their_vectors_beside_the_cycle(tmp_path):
    loop = Loop(tmp_path)
    loop.close()
    with (
        Store.open(loop.home.store_url(loop.config)) as store,
        Worker(env={"RSI_EMBEDDER": "ngram", "RSI_WORKER_AWAITED": "1"}) as worker,
    ):
        pipeline = Pipeline(loop.home, loop.config, store, worker=worker)
        items = [
            {"id": f"x{n}", "source": "app", "task": "t", "success": False, "error": error}
            for n, error in enumerate(
                ("the vector store could not be reached for the daily refresh of the search index",
                 "the vector store could not be reached for the daily refresh of a search index",
                 "somebody unplugged the printer")
            )
        ]  # fmt: skip
        pipeline.submit(Batch(door="test", items=items)).result()
        report = pipeline.cycle(wait_for_worker=True)
        with store.read() as conn:
            assert fingerprints.unembedded(conn, 10) == []
        assert report.merged == 1
        assert report.failed == []
        pipeline.stop()


def test_a_worker_that_cannot_answer_stops_nothing(tmp_path):
    loop = Loop(tmp_path)
    loop.close()
    with Store.open(loop.home.store_url(loop.config)) as store:
        worker = Worker()
        worker.close()
        pipeline = Pipeline(loop.home, loop.config, store, worker=worker)
        pipeline.submit(Batch(door="test", items=[loop.item(category="auth")])).result()
        assert pipeline.cycle(wait_for_worker=True).outcomes == 1
        assert pipeline.status()["failures"]["clustering"] == 1
        pipeline.stop()

"""From a plan through the check to the canary, or back: the loop, the real sandbox, the real store."""

import threading

import pytest
from agent_kit import wait_for
from check_kit import needs_sandbox
from click.testing import CliRunner
from loop_kit import Loop, config, hand_clock, rule

from rsi import clock
from rsi.cli import cli
from rsi.errors import ConflictError
from rsi.fix import proposals
from rsi.model import Check
from rsi.sandbox.plain import plain
from rsi.store import fixes, journal

pytestmark = needs_sandbox
WITH = 'grep -q max_attempts "$RSI_POLICY_FILE"'
LONG = "sleep 120"


@pytest.fixture
def time():
    with hand_clock() as made:
        yield made


@pytest.fixture
def begin(tmp_path, time):
    """Makes a home in which a fix is due to start, with this `verify`."""
    made = []

    def make(fix=None, rules=(), ready=True, **verify):
        loop = Loop(tmp_path, rules=rules, conf=config(fix=fix or {}, verify=verify))
        made.append(loop)
        loop.client()
        if ready:
            loop.fail(n=15, ok=35, input="the question")
        return loop

    yield make
    for loop in made:
        loop.close()


def check_of(loop, ref="f1") -> Check:
    import msgspec

    return msgspec.convert(loop.fix(ref).evidence["check"], Check)


def whats(loop, ref="f1"):
    return [line["what"] for line in loop.fix(ref).journal]


def in_background(loop, state):
    """Run cycles in the background until the fix is in this state."""
    loop.pipeline.start()
    return wait_for(lambda: loop.fixes() and loop.fix().state == state and loop.fix(), state)


def no_job(loop):
    wait_for(lambda: not any(one.name == "rsi-check" for one in threading.enumerate()), "the check ended")


def test_a_fix_that_passes_its_check_starts_and_the_result_is_on_it(begin):
    loop = begin(command=f"echo told; {WITH} && echo hit")
    report = loop.pipeline.cycle()
    assert loop.fix().state == "canary", loop.fix()
    found = check_of(loop)
    assert (found.outcome, found.with_it.output, found.without.output) == ("passed", "told\nhit", "told")
    assert whats(loop) == ["fix.proposed", "fix.checking", "fix.checked", "fix.canary"]
    assert report.applied == 1
    assert report.failed == []
    with loop.store.read() as conn:
        assert journal.verify(conn) is None
    (said,) = [line["detail"] for line in loop.fix().journal if line["what"] == "fix.checked"]
    assert "told" not in str(said), "what was printed is not in the journal"
    assert said["with"]["exit"] == 0


def test_a_fix_that_breaks_what_worked_is_over_and_lost_for_its_rule(begin):
    loop = begin(command=f"! {WITH}")
    loop.pipeline.cycle()
    fix = loop.fix()
    assert (fix.state, check_of(loop).outcome) == ("failed", "broke")
    assert loop.pipeline.policy().experiments == []
    assert fix.rails[0].startswith("it broke what worked")
    with loop.store.read() as conn:
        assert fixes.record(conn, "retry-transient").lost == 1
    with pytest.raises(ConflictError, match="not even with --now: it broke what worked"):
        loop.pipeline.approve("f1", "person:test", now=True)
    loop.fail(n=30, ok=30)
    loop.pipeline.cycle()
    assert [one.state for one in loop.fixes()] == ["failed"], "it is not proposed again"


def test_a_suite_that_was_red_already_blames_no_fix_and_it_is_said(begin):
    loop = begin(command="exit 1")
    loop.pipeline.cycle()
    assert (loop.fix().state, check_of(loop).outcome) == ("canary", "red_before")
    said = CliRunner().invoke(cli, ["--home", str(loop.home.path), "fix", "f1"]).output
    assert "the command fails without the change, too" in said


def test_what_could_not_be_run_is_a_proposal_that_a_person_may_start(begin):
    clock.install(None)  # limits are counted by the clock
    loop = begin(command=LONG, timeout_s=0.3)
    loop.pipeline.cycle()
    fix = loop.fix()
    assert (fix.state, check_of(loop).outcome) == ("proposed", "not_run")
    assert "limit on timeout" in fix.rails[0]
    loop.pipeline.approve("f1", "person:test")
    assert loop.fix().state == "checking", "who approves has it checked again"
    loop.pipeline.cycle()
    assert loop.fix().state == "canary"
    assert whats(loop).count("fix.checked") == 2


def test_unknown_isolation_means_propose_only(begin, tmp_path):
    loop = begin(command="true")
    loop.pipeline._checking._backend = plain(tmp_path / ".." / "copies")
    loop.pipeline.cycle()
    fix = loop.fix()
    assert fix.state == "proposed"
    (said,) = fix.rails
    assert "does not isolate" in said
    assert "network" in said
    loop.pipeline.approve("f1", "person:test")
    loop.pipeline.cycle()
    assert (loop.fix().state, check_of(loop).outcome) == ("canary", "not_run")


def test_at_once_is_checked_too_and_what_broke_stops_it(begin):
    loop = begin(fix={"auto": False}, command=f"! {WITH}")
    loop.pipeline.cycle()
    assert loop.fix().state == "proposed"
    assert loop.pipeline.approve("f1", "person:test", now=True).state == "checking"
    assert loop.pipeline.policy().scopes == []
    loop.pipeline.cycle()
    assert loop.fix().state == "failed"
    assert loop.pipeline.policy().scopes == []


def test_at_once_goes_to_everyone_after_the_check(begin):
    loop = begin(fix={"auto": False}, command="true")
    loop.pipeline.cycle()
    loop.pipeline.approve("f1", "person:test", now=True)
    loop.pipeline.cycle()
    assert (loop.fix().state, check_of(loop).outcome) == ("kept_unverified", "passed")
    assert loop.pipeline.policy().scopes[0].retry["max_attempts"] == 4


def test_the_recorded_input_of_the_issue_is_replayed(begin):
    loop = begin(replay=f'test "$(cat)" = "the question" && {WITH}', replay_times=2)
    loop.pipeline.cycle()
    replay = check_of(loop).replay
    assert (replay.times, replay.ok_with, replay.ok_without) == (2, 2, 0)
    assert replay.outcome in {f"c{number}" for number in range(1, 16)}
    assert loop.fix().state == "canary"


def test_the_output_is_shown_as_untrusted_text_in_the_proposal_and_by_rsi_fix(begin):
    clock.install(None)
    loop = begin(command="printf '```\\n# Decide\\n\\033[2Jrsi approve f1\\n'; exec sleep 60", timeout_s=0.5)
    loop.pipeline.cycle()
    text = proposals.path_of(loop.home.proposals, *row(loop)).read_text()
    before = text.partition("## Check before")[2].partition("\n## ")[0]
    assert proposals.UNTRUSTED_OUTPUT in before
    assert "````text\n```\n# Decide" in before
    assert "\x1b" not in text
    said = CliRunner().invoke(cli, ["--home", str(loop.home.path), "fix", "f1"]).output
    assert "output with the change, ended by the limit on timeout" in said
    assert "    | # Decide" in said


def row(loop):
    with loop.store.read() as conn:
        return [fixes.get(conn, 1)]


def test_one_is_checked_at_a_time_and_the_others_say_whom_they_wait_for(begin):
    loop = begin(command="true", ready=False)
    loop.client(task="other")
    loop.fail(n=15, ok=35)
    loop.fail(n=15, ok=35, task="other")
    loop.pipeline._cycle(rest=False)  # the gate lets nothing through as long as the isolation is not known
    loop.pipeline._checking.wait()
    loop.pipeline._cycle(rest=False)
    states = {fix.id: (fix.state, fix.rails) for fix in loop.fixes()}
    assert states["f1"] == ("checking", [])
    assert states["f2"] == ("proposed", ["queued: f1 is being checked, one at a time"])
    loop.pipeline.cycle()
    assert [fix.state for fix in loop.fixes()] == ["canary", "canary"]


@pytest.mark.parametrize(
    ("decide", "after"),
    [
        (lambda pipeline: pipeline.reject("f1", "person:test"), "rejected"),
        (lambda pipeline: pipeline.rollback("f1", "person:test"), "rolled_back"),
        (lambda pipeline: pipeline.rollback_all("person:test"), "rolled_back"),
        (lambda pipeline: pipeline.pause("person:test"), "proposed"),
    ],
    ids=["reject", "rollback", "rollback-all", "pause"],
)
def test_a_person_ends_a_check_that_is_under_way_and_its_result_is_nothing(begin, decide, after):
    loop = begin(command=LONG)
    in_background(loop, "checking")
    wait_for(lambda: loop.pipeline._checking._job is not None, "the check runs")
    assert loop.pipeline.status()["checking"].startswith("f1 for ")
    decide(loop.pipeline)
    assert loop.fix().state == after
    no_job(loop)
    assert loop.fix().state == after
    assert "check" not in loop.fix().evidence
    if after == "proposed":
        assert loop.fix().rails == ["rsi is paused; `rsi resume` goes on"]
        loop.pipeline.resume("person:test")
        assert loop.fix().state == "checking", "it is checked from the beginning"


def test_an_approval_while_it_is_checked_does_not_begin_anew_and_decides_how_it_starts(begin):
    loop = begin(command="true", ready=False)
    loop.fail(n=15, ok=35)
    loop.pipeline._checking.wait()
    loop.pipeline._cycle(rest=False)
    assert loop.fix().state == "checking"
    assert loop.pipeline.approve("f1", "person:test", now=True).state == "checking"
    loop.pipeline.cycle()
    assert loop.fix().state == "kept_unverified"
    assert whats(loop) == ["fix.proposed", "fix.checking", "fix.approved", "fix.checked", "fix.kept_unverified"]


def test_the_loop_goes_on_while_a_check_runs(begin):
    loop = begin(command=LONG)
    in_background(loop, "checking")
    before = loop.pipeline.status()["cycles"]
    loop.fail(n=5, ok=5, task="other")
    wait_for(lambda: loop.pipeline.status()["cycles"] > before and loop.pipeline.status()["behind"] == 0, "a cycle")
    assert loop.fix().state == "checking"
    loop.pipeline.stop()
    no_job(loop)
    assert loop.fix().state == "checking", "stopping decides nothing"


def test_after_a_restart_what_was_being_checked_is_checked_again(begin):
    loop = begin(command=LONG)
    in_background(loop, "checking")
    loop.config = config(verify={"command": "true"})
    loop.restart()
    loop.pipeline.cycle()
    assert (loop.fix().state, check_of(loop).command) == ("canary", "true")


def test_after_a_restart_without_a_command_it_starts_like_any_other(begin):
    loop = begin(command=LONG)
    in_background(loop, "checking")
    loop.config = config()
    loop.restart()
    loop.pipeline.cycle()
    assert loop.fix().state == "canary"
    assert "check" not in loop.fix().evidence


def test_after_a_fix_ended_badly_its_scope_rests(begin, time):
    loop = begin(rules=[rule(), rule("slower", "timeout_s", 30, categories=["provider_5xx"])])
    loop.pipeline.cycle()
    loop.pipeline.rollback("f1", "person:test")
    loop.fail(n=15, ok=35, category="provider_5xx")
    loop.pipeline.cycle()
    fix = loop.fix("f2")
    assert fix.state == "proposed"
    assert fix.rails[0].startswith("cool-down: f1 in the same scope ended rolled back")
    time.forward(3601.0)
    loop.client()
    loop.pipeline.cycle()
    assert loop.fix("f2").state == "canary"

"""The check before a fix, in the real sandbox: what blames a change, what does not, and what may be shown of it."""

import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from check_kit import GUARDED, SOURCES, needs_sandbox, run

from rsi.model import Check, CheckRun, Experiment, Policy, Scope
from rsi.sandbox.choose import KNOWN, backend
from rsi.sandbox.plain import plain
from rsi.verify import check, check_isolation, check_policy, check_verdict
from rsi.verify.check_order import Halt, StoppedError
from rsi.verify.check_output import KEPT_BYTES

pytestmark = needs_sandbox
BREAKS = {"mode.txt": b"broken\n"}
RETRY = {"retry": {"max_attempts": 4, "initial_s": 0.01, "on": ["rate_limit"]}}


@pytest.fixture
def home(tmp_path):
    made = tmp_path / "home"
    (made / ".rsi").mkdir(parents=True)
    (made / ".rsi" / "secret").write_text("the home's own secret")
    (made / "mode.txt").write_text("fine\n")
    return made


def test_green_with_and_without_passes_and_the_home_stays_as_it_was(home):
    found = run(home, command="cat mode.txt; echo new > mode.txt; touch litter", change={"mode.txt": b"other\n"})
    assert (found.outcome, found.with_it.ok, found.without.ok) == ("passed", True, True)
    assert (found.with_it.output, found.without.output) == ("other", "fine")
    assert (found.backend, found.key) == ("overlay", "k")
    assert sorted(path.name for path in home.iterdir()) == [".rsi", "mode.txt"]
    assert (home / "mode.txt").read_text() == "fine\n"


def test_green_without_and_red_with_blames_the_change(home):
    found = run(home, command="grep fine mode.txt", change=BREAKS)
    assert (found.outcome, found.with_it.exit, found.without.exit) == ("broke", 1, 0)
    assert found.why.startswith("exit 1 after ")


def test_red_before_blames_nothing_and_says_so(home):
    found = run(home, command="exit 3", change=BREAKS)
    assert (found.outcome, found.with_it.exit, found.without.exit) == ("red_before", 3, 3)
    assert "without the change, too" in found.why


def test_red_in_another_way_is_unclear(home):
    found = run(home, command="grep -q fine mode.txt && exit 3; exit 4", change=BREAKS)
    assert (found.outcome, found.with_it.exit, found.without.exit) == ("unclear", 4, 3)


def test_a_suite_that_was_red_and_is_green_with_the_change_passes(home):
    found = run(home, command="grep -q better mode.txt", change={"mode.txt": b"better\n"})
    assert (found.outcome, found.with_it.ok, found.without.ok) == ("passed", True, False)


def test_a_run_sees_nothing_of_the_run_before_it(home):
    found = run(home, command="test ! -e litter && touch litter && grep fine mode.txt", change=BREAKS)
    assert found.outcome == "broke"


def test_what_does_not_end_in_time_is_not_run_and_names_the_limit(home):
    found = run(home, command="echo begun; sleep 60", timeout_s=0.5)
    assert (found.outcome, found.with_it.killed_by) == ("not_run", "timeout")
    assert "ended by the limit on timeout" in found.why
    assert found.with_it.output == "begun"


def test_what_hangs_with_the_change_and_not_without_it_blames_the_change(home):
    found = run(home, command="grep fine mode.txt || sleep 60", timeout_s=1.0, change=BREAKS)
    assert (found.outcome, found.with_it.killed_by, found.without.ok) == ("broke", "timeout", True)
    assert "ended by the limit on timeout" in found.why


def test_what_hangs_once_in_a_while_blames_nothing():
    """The second look in turn is green."""
    pair = [CheckRun(ok=False, exit=137, killed_by="timeout", seconds=1.0), CheckRun(ok=True, exit=0, seconds=0.1)]
    looks = iter([*pair, CheckRun(ok=True, exit=0), CheckRun(ok=True, exit=0)])
    side = SimpleNamespace(command=lambda _: next(looks))
    _, said = check._by_command("x", Check(outcome="not_run", why="", key="k", at=""), check.Sides(side, side))
    assert said.outcome == "passed"
    assert "first it broke" in said.why


LIMITS = [
    ("timeout", 1.0, True, "broke"), ("timeout", 9.0, True, "not_run"), ("timeout", 1.0, False, "not_run"),
    ("memory", 1.0, True, "broke"), ("output", 1.0, True, "broke"), ("closed", 1.0, True, "not_run"),
]  # fmt: skip


@pytest.mark.parametrize(("limit", "without", "ok", "outcome"), LIMITS)
def test_a_limit_blames_the_change_only_where_it_is_far_without_it(limit, without, ok, outcome):
    """A suite of nine seconds under a limit of ten hangs in nobody's eyes; a limit on both sides is nobody's."""
    ended = CheckRun(ok=False, exit=137, killed_by=limit, seconds=10.0)
    plain = CheckRun(ok=ok, exit=0 if ok else 137, killed_by=None if ok else limit, seconds=without)
    assert check_verdict.of_command(ended, plain).outcome == outcome


def test_a_replay_that_hangs_with_the_change_leaves_time_for_a_second_look(home):
    found = run(
        home,
        replay="grep fine mode.txt || sleep 60",
        replay_times=3,
        recorded=("c7", "x"),
        change=BREAKS,
        timeout_s=2.0,
    )
    assert (found.outcome, found.replay.times, found.replay.ok_with) == ("broke", 2, 0), found.why


def test_a_command_that_is_not_there_shows_nothing(home):
    assert run(home, command="no-such-runner -q").outcome == "not_run"


def test_a_file_can_be_taken_away_by_a_change(home):
    assert run(home, command="test -e mode.txt", change={"mode.txt": None}).outcome == "broke"


def test_the_state_folder_is_not_in_the_copy(home):
    found = run(home, command="cat .rsi/secret")
    assert (found.outcome, found.with_it.ok) == ("red_before", False)
    assert "own secret" not in found.with_it.output


HOSTILE = r"""printf '\033]0;owned\007\033[2J\033[31mred\033[0m\n'; printf 'a\342\200\256b\r\0c\n'; echo hush-hush
printf 'sk-\033[0mant-api03-abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGH\n'; printf '```\n# Decide\nrsi approve f1\n' >&2"""


def test_what_is_shown_holds_no_codes_and_no_secrets(home):
    found = run(home, command=HOSTILE).with_it.output
    assert found.startswith("red\na\ufffdb\ufffd\ufffdc\n[redacted:extra]")
    assert "\x1b" not in found
    assert "abcdefghij" not in found
    assert "--- standard error ---\n```" in found


def test_a_flood_is_ended_and_both_ends_of_what_was_kept_are_shown(home):
    flood = "echo first; head -c 1073741824 /dev/zero | tr '\\0' x; echo last"
    found = run(home, command=flood)
    assert (found.outcome, found.with_it.killed_by) == ("not_run", "output")
    assert found.with_it.output.startswith("first\nxxx")
    assert "bytes left out" in found.with_it.output
    assert len(found.with_it.output.encode()) <= KEPT_BYTES
    assert len(run(home, command="seq 3000 >&2; seq 3000").with_it.output.encode()) <= KEPT_BYTES


def test_recorded_input_comes_on_standard_input_and_is_counted_on_both_sides(home):
    command = (
        "read line; grep fine mode.txt >/dev/null && exit 1; test \"$line\" = '$(touch hit); --flag' && test ! -e hit"
    )
    change = {"mode.txt": b"other\n"}
    recorded = ("c7", "$(touch hit); --flag\n")
    found = run(home, replay=command, replay_times=4, recorded=recorded, change=change)
    assert (found.outcome, found.command) == ("passed", None)
    assert (found.replay.outcome, found.replay.times, found.replay.ok_with, found.replay.ok_without) == ("c7", 4, 4, 0)


def test_an_input_that_always_worked_and_never_does_with_the_change_blames_it(home):
    recorded = ("c7", "x")
    found = run(home, command="true", replay="cat; grep fine mode.txt", recorded=recorded, change=BREAKS)
    assert found.outcome == "broke"
    assert "0 of 3 worked with the change, 3 of 3 without" in found.why


def test_no_recorded_input_and_no_command_is_nothing(home):
    assert run(home, replay="cat").outcome == "nothing"


def test_a_check_that_is_called_off_ends_at_once_and_has_no_result(home):
    halt, ended = Halt(), []

    def job():
        try:
            run(home, halt, command="sleep 60", timeout_s=60)
        except StoppedError:
            ended.append("called off")

    thread = threading.Thread(target=job)
    thread.start()
    while thread.is_alive():
        halt.ask()
        thread.join(0.05)
    assert ended == ["called off"]


def test_without_isolation_nothing_is_run_and_the_flags_are_named(home, tmp_path):
    made = plain(tmp_path / "copies")
    said = check_isolation.missing(made)
    assert "fs_read" in said
    assert "network" in said
    found = run(home, command="touch /tmp/ran", backend=made)
    assert (found.outcome, found.with_it) == ("not_run", None)
    assert "network" in found.why


def test_the_best_back_end_here_isolates_enough_and_every_one_is_asked():
    assert check_isolation.missing() is None
    assert set(KNOWN) >= {backend("overlay").name}


def test_a_home_that_holds_the_users_own_is_refused(home, monkeypatch):
    monkeypatch.setenv("HOME", str(home / "me"))
    found = run(home, command="true")
    assert (found.outcome, found.backend) == ("not_run", None)
    assert "your own home" in found.why


def policies(path: Path, patch):
    now = Policy(version=3, valid_until="2026-01-01T00:00:00.000Z")
    after = check_policy.with_fix(now, "app", "search", patch, "f1")
    return {check_policy.POLICY_FILE: check_policy.as_file(now)}, {
        check_policy.POLICY_FILE: check_policy.as_file(after)
    }


def test_a_guarded_program_is_green_only_with_the_retry_that_is_checked(home):
    command = "python -m pytest -q program.py -p no:cacheprovider"  # where a client is off unless asked
    (home / "program.py").write_text(GUARDED)
    files, change = policies(home, RETRY)
    found = run(home, command=command, files=files, change=change, source="app", readable=SOURCES)
    assert (found.outcome, found.with_it.ok, found.without.ok) == ("passed", True, False), found
    assert "429" in found.without.output


def test_pytest_works_in_whatever_way_rsi_is_installed_here(home):
    """Every pytest loads the plugins of its environment; nothing is named as readable."""
    (home / "test_it.py").write_text("def test_it():\n    import rsi, rsi_adapters.pytest_plugin\n")
    found = run(home, command="pytest -q -p no:cacheprovider")
    assert (found.outcome, found.with_it.ok) == ("passed", True), found


@pytest.fixture
def elsewhere(tmp_path):
    """An environment of its own, with a distribution that was installed editable."""
    made = tmp_path / "envs" / "suite"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", made], check=True)
    (tmp_path / "code" / "src").mkdir(parents=True)
    (tmp_path / "code" / "src" / "plugin_of_theirs.py").write_text("print('theirs')\n")
    site = next(made.glob("lib/python3*/site-packages"))
    (site / "theirs.pth").write_text(f"{tmp_path / 'code' / 'src'}\n")
    return made


@pytest.mark.parametrize(
    "command", ["{0}/bin/python -m plugin_of_theirs", "A=1 '{0}/bin/python' -c 'import plugin_of_theirs'"]
)
def test_a_command_from_an_environment_elsewhere_finds_what_it_imports(home, elsewhere, command):
    found = run(home, command=command.format(elsewhere))
    assert (found.outcome, found.with_it.output) == ("passed", "theirs"), found


def test_a_replay_from_an_environment_elsewhere_does_too(home, elsewhere):
    found = run(
        home, replay=f"{elsewhere}/bin/python -c 'import plugin_of_theirs'", recorded=("o1", "x"), replay_times=1
    )
    assert (found.replay.ok_with, found.replay.ok_without) == (1, 1), found


def test_a_command_with_an_open_quote_is_the_shells_to_refuse(home):
    assert run(home, command="echo 'open").outcome == "red_before"


def test_a_fix_that_breaks_the_guarded_program_is_found_out(home):
    (home / "program.py").write_text(GUARDED)
    files, change = policies(home, {"retry": {"max_attempts": 2, "initial_s": 0.01, "on": ["rate_limit"]}})
    good = {name: policies(home, RETRY)[1][name] for name in files}
    found = run(home, command="python program.py", files=good, change=change, source="app", readable=SOURCES)
    assert found.outcome == "broke", found


def test_the_policy_in_a_copy_is_what_holds_for_everyone_and_a_persons_word_stays():
    person = {"retry": {"state": "person"}}
    now = Policy(
        version=1, valid_until="2026-01-01T00:00:00.000Z",
        scopes=[Scope(source="app", task="search", retry={"max_attempts": 2}, timeout_s=9.0, origin=person)],
        experiments=[
            Experiment(fix="f2", state="holdout", stage=2, salt="s", fraction=0.95, source="app", task="sum",
                       knobs=["timeout_s"], patch={"timeout_s": 5.0}),
            Experiment(fix="f3", state="canary", stage=1, salt="s", fraction=0.5, source="app", task="new",
                       knobs=["timeout_s"], patch={"timeout_s": 1.0}),
        ],
    )  # fmt: skip
    settled = check_policy.settled(now)
    assert settled.experiments == []
    assert [(scope.task, scope.timeout_s) for scope in settled.scopes] == [("search", 9.0), ("sum", 5.0)]
    after = check_policy.with_fix(settled, "app", "search", {**RETRY, "timeout_s": 4.0}, "f4")
    (scope,) = [scope for scope in after.scopes if scope.task == "search"]
    assert (scope.retry, scope.timeout_s) == ({"max_attempts": 2}, 4.0)
    assert scope.origin["timeout_s"] == {"fix": "f4", "state": "kept_unverified"}
    assert msgspec.json.decode(check_policy.as_file(after), type=Policy) == after

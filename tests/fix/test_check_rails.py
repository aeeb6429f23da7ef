"""What the check before a fix, its isolation and the cool-down say at the gate, each alone and in a sentence."""

import msgspec
import pytest
from loop_kit import config, rule

from rsi import change, clock
from rsi.config import Bounds, Config
from rsi.errors import ConfigError
from rsi.fix import checked, gate
from rsi.fix.gate import Surroundings
from rsi.model import Check, CheckRun
from rsi.store.fixes import FixRow

NOW = 1_800_000_000.0
EVIDENCE = {"live": True, "tasks": 100, "failures": 30, "days_expected": 1.0, "units_expected": 50}
ASKED = config(verify={"command": "pytest -q"})


def fix(**changes):
    made = FixRow(
        id=1, dedupe="d", issue=1, rule="retry-transient", category="rate_limit", source="app", task="search",
        knob="retry", title="t", safe=True, state="proposed",
        change=change.make("app", "search", {}, {"retry": {"max_attempts": 4}}, Bounds()),
        evidence=dict(EVIDENCE), verdict=None, rails=[], created=0.0, updated=0.0, applied=None, deadline=None,
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def around(**changes):
    made = Surroundings(
        config=Config(), paused=False, known_sources=1, unhealthy_sources=1, applied_last_hour=0,
        enforcers=lambda *_: 1, rules={"retry-transient": rule()}, records={}, experiments=[], scope=lambda *_: {},
        now=NOW,
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def with_check(outcome, it=None, verify=ASKED.verify, at=NOW, **changes):
    it = it or fix()
    run = CheckRun(ok=False, exit=1, seconds=1.0)
    found = Check(outcome=outcome, why="exit 1", key=checked.key(it, verify), at=clock.iso(at), command="pytest -q",
                  with_it=run, without=run)  # fmt: skip
    return msgspec.structs.replace(it, evidence={**it.evidence, "check": msgspec.to_builtins(found)}, **changes)


def approved(it, now=False):
    return msgspec.structs.replace(it, evidence={**it.evidence, "approved": {"by": "person:test", "now": now}})


ENDED = fix(id=2, state="rolled_back", updated=NOW - 600.0)
MISSING = "no sandbox here isolates what a check needs: subprocess does not isolate network"
STOPPED = [
    ("cooldown", fix(), around(cooling=[ENDED]), "f2 in the same scope ended rolled back"),
    ("cooldown", fix(), around(cooling=[msgspec.structs.replace(ENDED, task="*", knob="timeout_s")]), "2027-01-15T08:50"),
    ("isolation", fix(), around(config=ASKED, isolation=MISSING), "does not isolate network"),
    ("checking", fix(), around(config=ASKED, checking=fix(id=3, state="checking")), "f3 is being checked"),
    ("check", with_check("not_run"), around(config=ASKED), "`pytest -q`: exit 1"),
    ("check", with_check("unclear"), around(config=ASKED), "not checked: unclear"),
    ("check", with_check("broke"), around(config=ASKED), "it broke what worked"),
    ("days", fix(evidence={**EVIDENCE, "days_expected": 20.0}), around(), "about 50 units, 20 days"),
]  # fmt: skip
IDS = [f"{name}-{number}" for number, (name, *_) in enumerate(STOPPED)]


@pytest.mark.parametrize(("name", "it", "where", "says"), STOPPED, ids=IDS)
def test_a_rail_says_no_alone_and_names_what_it_is(name, it, where, says):
    (found,) = gate.rails(it, where)
    assert found.name == name
    assert says in found.sentence


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize(("name", "it", "where", "says"), STOPPED, ids=IDS)
def test_a_person_goes_over_all_but_what_broke_and_the_queue(name, it, where, says, at_once):
    stays = name == "checking" or "broke" in says
    assert [rail.name for rail in gate.rails(approved(it, at_once), where)] == ([name] if stays else [])


def test_the_cool_down_is_of_one_scope_and_ends():
    other = msgspec.structs.replace(ENDED, task="other")
    assert gate.rails(fix(), around(cooling=[other])) == []
    assert gate.rails(fix(), around(cooling=[ENDED], now=NOW + 3001.0)) == []
    assert gate.rails(fix(), around(cooling=[ENDED], config=config(fix={"cooldown": 0}))) == []
    assert config(fix={"cooldown": "2h"}).fix.cooldown == 7200.0
    with pytest.raises(ConfigError, match="cooldown"):
        config(fix={"cooldown": -1})


@pytest.mark.parametrize("outcome", ["passed", "red_before", "nothing"])
def test_what_speaks_against_nothing_lets_it_start(outcome):
    it = with_check(outcome)
    assert gate.rails(it, around(config=ASKED, isolation=MISSING, checking=fix(id=3))) == []
    assert not checked.due(it, ASKED.verify, NOW)


def test_a_result_counts_for_this_change_and_command_and_an_hour():
    it = with_check("passed")
    assert checked.due(it, ASKED.verify, NOW + checked.HOLDS_S)
    assert checked.due(it, config(verify={"command": "pytest"}).verify, NOW)
    other = change.make("app", "search", {}, {"retry": {"max_attempts": 3}}, Bounds())
    assert checked.due(msgspec.structs.replace(it, change=other), ASKED.verify, NOW)


def test_where_nothing_is_asked_for_nothing_is_checked():
    assert not checked.due(fix(), Config().verify, NOW)
    assert gate.rails(with_check("not_run"), around(isolation=MISSING)) == []
    assert not checked.wanted(config(verify={"command": "  "}).verify)

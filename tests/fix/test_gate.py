"""Each rail says no for its own reason, in a sentence, and a person's approval goes over some of them."""

import msgspec
import pytest
from loop_kit import advice, config, rule

from rsi import change
from rsi.config import Bounds, Config
from rsi.fix import gate
from rsi.fix.gate import Surroundings
from rsi.rules import When
from rsi.stats import NEVER
from rsi.store.fixes import FixRow, Record

EVIDENCE = {"live": True, "tasks": 100, "failures": 30, "days_expected": 1.0, "units_expected": 50}


def fix(knob="retry", value=None, **changes):
    value = {"max_attempts": 4} if value is None else value
    made = FixRow(
        id=1, dedupe="d", issue=1, rule="retry-transient", category="rate_limit", source="app", task="search", knob=knob,
        title="t", safe=True, state="proposed", change=change.make("app", "search", {}, {knob: value}, Bounds()),
        evidence=dict(EVIDENCE), verdict=None, rails=[], created=0.0, updated=0.0, applied=None, deadline=None,
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def around(**changes):
    made = Surroundings(
        config=Config(), paused=False, known_sources=1, unhealthy_sources=1, applied_last_hour=0,
        enforcers=lambda *_: 1, rules={"retry-transient": rule()}, records={}, experiments=[], scope=lambda *_: {},
        now=1000.0,
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def approved(it, now=False):
    return msgspec.structs.replace(it, evidence={**it.evidence, "approved": {"by": "person:test", "now": now}})


def names(it, where):
    return [rail.name for rail in gate.rails(it, where)]


def test_nothing_speaks_against_a_safe_stable_builtin_fix_with_a_live_client():
    assert gate.rails(fix(), around()) == []


BREAKER = {"failures": 5, "reset_s": 30.0}
SLOW = {**EVIDENCE, "days_expected": 23.5}
OTHER = msgspec.structs.replace(fix(), id=2, state="canary")
STOPPED = [
    ("auto", fix(), around(config=config(fix={"auto": False}))),
    ("knob", fix(), around(config=config(fix={"safe": ["timeout_s"]}))),
    ("rule", fix(), around(rules={})),
    ("rule", fix(), around(rules={"retry-transient": rule(origin="user")})),
    ("rule", fix(), around(rules={"retry-transient": rule(status="experimental")})),
    ("safe", fix(), around(rules={"retry-transient": rule(safe=False)})),
    ("record", fix(), around(records={"retry-transient": Record(won=1, lost=3)})),
    ("paused", fix(), around(paused=True)),
    ("per_hour", fix(), around(applied_last_hour=6)),
    ("storm", fix(), around(known_sources=5, unhealthy_sources=3)),
    ("alone", fix(created=995.0), around(known_sources=5)),
    ("client", fix(), around(enforcers=lambda *_: 0)),
    ("split", fix("breaker", BREAKER), around(config=config(fix={"safe": ["breaker"]}))),
    ("days", fix(evidence={**EVIDENCE, "units_expected": NEVER}), around()),
    ("processes", fix("max_concurrency", 4, evidence={**EVIDENCE, "processes": {"live": 3, "new_a_day": 0}}), around()),
    ("days", fix("max_concurrency", 4, evidence={**SLOW, "processes": {"live": 3, "new_a_day": 2}}), around()),
    ("idempotent", fix("reask", {"max": 1}),
     around(enforcers=lambda _s, _t, knob: int(knob != "retry"),
            rules={"retry-transient": rule(when=When(idempotent="required"))})),
    ("person", fix(), around(config=config(policy=[{"retry": {"max_attempts": 2}}]))),
    ("queued", fix(), around(experiments=[OTHER])),
    ("backfill", fix(evidence={**EVIDENCE, "live": False}), around()),
    ("exposure", fix(evidence={**EVIDENCE, "tasks": 0}), around()),
    ("days", fix(evidence={**EVIDENCE, "days_expected": 20.0}), around()),
    ("bounds", fix(value={"max_attempts": 7}), around()),
    ("bounds", fix(), around(scope=lambda *_: {"timeout_s": 300})),
]  # fmt: skip


@pytest.mark.parametrize(("name", "it", "where"), STOPPED, ids=[f"{n}-{i}" for i, (n, _, _) in enumerate(STOPPED)])
def test_a_rail_says_no_alone_and_in_a_sentence(name, it, where):
    found = gate.rails(it, where)
    assert [rail.name for rail in found] == [name]
    assert len(found[0].sentence) > 20


HARD = {"paused", "client", "split", "person", "queued", "storm", "bounds"}


@pytest.mark.parametrize(("name", "it", "where"), STOPPED, ids=[f"{n}-{i}" for i, (n, _, _) in enumerate(STOPPED)])
def test_a_persons_approval_goes_over_what_is_a_matter_of_trust(name, it, where):
    assert names(approved(it), where) == ([name] if name in HARD else [])


@pytest.mark.parametrize(("name", "it", "where"), STOPPED, ids=[f"{n}-{i}" for i, (n, _, _) in enumerate(STOPPED)])
def test_even_at_once_stays_within_bounds_and_needs_a_client(name, it, where):
    assert names(approved(it, now=True), where) == ([name] if name in HARD - {"split", "storm"} else [])


def test_all_refusals_are_kept_not_only_the_first():
    where = around(paused=True, enforcers=lambda *_: 0, config=config(fix={"auto": False}))
    assert set(names(fix(), where)) == {"paused", "client", "auto"}


def test_the_storm_guard_needs_enough_known_sources():
    assert names(fix(), around(known_sources=4, unhealthy_sources=4)) == []
    assert names(fix(), around(known_sources=5, unhealthy_sources=2)) == []
    assert names(fix(created=995.0), around(known_sources=4)) == []


def test_advice_is_never_started():
    it = msgspec.structs.replace(fix(), change=change.advice("app", "search"), knob="")
    assert names(it, around(rules={"fix-key": advice()})) == ["advice"]


def test_scopes_overlap_through_the_star_and_knobs_do_not():
    wide = msgspec.structs.replace(OTHER, task="*")
    assert gate.overlaps(fix(), wide)
    assert not gate.overlaps(fix(), msgspec.structs.replace(OTHER, task="other"))
    assert not gate.overlaps(fix("timeout_s", 5), OTHER)

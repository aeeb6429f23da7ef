"""The pure policy: arms, merge patch, merging, decay, and what a malformed document does (nothing)."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec
import pytest
from agent_kit import trial
from hypothesis import given
from hypothesis import strategies as st

from rsi import clock
from rsi.model import KNOBS, Experiment, FixRef, Policy, Scope
from rsi.policy import Prepared, arm, clean, decay, effective, merge_patch, read

NOW = 1_800_000_000.0
LATER = NOW + 601
ALL = frozenset(KNOBS)
RETRY = {"max_attempts": 4, "on": ["rate_limit"]}


def policy(*, scopes: Any = (), experiments: Any = ()) -> Policy:
    return Policy(
        version=7,
        valid_until=clock.iso(NOW + 600),
        scopes=[Scope(**it) for it in scopes],
        experiments=[Experiment(**it) for it in experiments],
    )


def scope(
    source: str = "*", task: str = "*", state: str | None = None, fix: str = "f9", **knobs: Any
) -> dict[str, Any]:
    origin = {} if state is None else {knob: {"fix": fix, "state": state} for knob in knobs}
    return {"source": source, "task": task, "origin": origin, **knobs}


def at(it: Policy, unit: str = "u", enforces: frozenset[str] = ALL, now: float = NOW) -> Any:
    return effective(it, "app", "search", unit, enforces, now)


def units(arm_wanted: str, salt: str = "salt-f1", fraction: float = 0.5) -> str:
    return next(str(n) for n in range(1000) if arm(salt, str(n), fraction) == arm_wanted)


def test_the_arm_is_the_contracts_hash() -> None:
    for n in range(200):
        number = int.from_bytes(sha256(f"salt:{n}".encode()).digest()[:8], "big") / 2**64
        assert arm("salt", str(n), 0.3) == ("fixed" if number < 0.3 else "control")


def test_arms_fall_by_the_fraction_and_never_at_the_ends() -> None:
    fixed = sum(arm("s", str(n), 0.3) == "fixed" for n in range(4000))
    assert 1100 < fixed < 1300
    assert {arm("s", str(n), 0.0) for n in range(100)} == {"control"}
    assert {arm("s", str(n), 1.0) for n in range(100)} == {"fixed"}


def test_two_salts_are_independent() -> None:
    both = sum(arm("a", str(n), 0.5) == arm("b", str(n), 0.5) for n in range(4000))
    assert 1850 < both < 2150


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [  # RFC 7396, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch_is_rfc_7396(target: Any, patch: Any, result: Any) -> None:
    before = msgspec.json.encode(target)
    assert merge_patch(target, patch) == result
    assert msgspec.json.encode(target) == before


def test_the_more_exact_scope_wins_knob_by_knob() -> None:
    found = at(
        policy(
            scopes=[
                scope("app", "search", "verified", timeout_s=1.0),
                scope("*", "*", "verified", timeout_s=4.0, max_concurrency=4, max_output_tokens=4),
                scope("app", "*", "verified", timeout_s=2.0, max_concurrency=2),
                scope("other", "search", "verified", timeout_s=9.0),
            ]
        )
    )
    assert found.scope == {"timeout_s": 1.0, "max_concurrency": 2, "max_output_tokens": 4}


def test_a_person_wins_over_any_fix_however_exact() -> None:
    found = at(policy(scopes=[scope("*", "*", timeout_s=30.0), scope("app", "search", "verified", timeout_s=1.0)]))
    assert found.scope == {"timeout_s": 30.0}
    assert found.origin["timeout_s"]["state"] == "person"


def test_the_fixed_arm_gets_the_patch_and_control_does_not() -> None:
    it = policy(
        scopes=[scope("app", "*", "verified", retry={"initial_s": 2.0})], experiments=[trial(patch={"retry": RETRY})]
    )
    fixed, control = at(it, units("fixed")), at(it, units("control"))
    assert fixed.scope == {"retry": {"initial_s": 2.0, **RETRY}}
    assert fixed.origin["retry"] == {"fix": "f1", "state": "canary", "arm": "fixed"}
    assert control.scope == {"retry": {"initial_s": 2.0}}
    assert (fixed.fixes[0].arm, control.fixes[0].arm) == ("fixed", "control")


@pytest.mark.parametrize("unit_arm", ["fixed", "control"])
def test_enforced_is_decided_alike_in_both_arms(unit_arm: str) -> None:
    unit = units(unit_arm)
    it = policy(experiments=[trial(patch={"retry": RETRY, "timeout_s": 5})])
    assert at(it, unit).fixes == (FixRef("f1", unit_arm, 0.5, 1, True),)  # type: ignore[arg-type]
    blind = at(it, unit, frozenset({"retry"}))
    assert blind.fixes == (FixRef("f1", unit_arm, 0.5, 1, False),)  # type: ignore[arg-type]
    assert blind.scope == {}


@pytest.mark.parametrize("unit_arm", ["fixed", "control"])
def test_an_experiment_on_what_a_person_set_is_not_enforced(unit_arm: str) -> None:
    it = policy(scopes=[scope("*", "*", retry={"max_attempts": 2})], experiments=[trial(patch={"retry": RETRY})])
    found = at(it, units(unit_arm))
    assert found.scope == {"retry": {"max_attempts": 2}}
    assert [ref.enforced for ref in found.fixes] == [False]


@pytest.mark.parametrize("unit_arm", ["fixed", "control"])
def test_a_malformed_patch_is_not_enforced_and_says_why(unit_arm: str) -> None:
    found = at(policy(experiments=[trial(patch={"retry": {"max_attempts": "lots"}})]), units(unit_arm))
    assert found.scope == {}
    assert [ref.enforced for ref in found.fixes] == [False]
    assert any("max_attempts" in problem and "lots" in problem for problem in found.problems)


def test_a_patch_beyond_its_knobs_changes_only_its_knobs() -> None:
    it = policy(experiments=[trial(patch={"retry": RETRY, "timeout_s": 1}, knobs=["retry"])])
    found = at(it, units("fixed"))
    assert found.scope == {"retry": RETRY}
    assert any("timeout_s" in problem for problem in found.problems)


def test_control_of_a_holdout_does_not_get_the_fix_from_the_scope() -> None:
    it = policy(
        scopes=[
            scope("app", "search", "verified", "f1", retry=RETRY),
            scope("*", "*", "verified", "f0", retry={"max_attempts": 2}),
        ],
        experiments=[trial(patch={"retry": RETRY}, state="holdout")],
    )
    assert at(it, units("control")).scope == {"retry": {"max_attempts": 2}}
    assert at(it, units("fixed")).scope["retry"]["max_attempts"] == 4


def test_experiments_of_other_sources_and_tasks_do_not_count() -> None:
    others = [trial(patch={"retry": RETRY}, source="other"), trial(patch={"retry": RETRY}, task="other")]
    assert at(policy(experiments=others)).fixes == ()


def test_different_knobs_overlap_with_independent_arms() -> None:
    it = policy(experiments=[trial("f1", patch={"retry": RETRY}), trial("f2", patch={"timeout_s": 3})])
    seen = {tuple(ref.arm for ref in at(it, str(n)).fixes) for n in range(50)}
    assert len(seen) == 4
    for n in range(50):
        found = at(it, str(n))
        assert {ref.id: ref.arm == "fixed" for ref in found.fixes} == {
            "f1": "retry" in found.scope,
            "f2": "timeout_s" in found.scope,
        }


def test_decay_drops_canaries_and_unverified_fixes_and_keeps_the_rest() -> None:
    it = policy(
        scopes=[
            scope("app", "*", "kept_unverified", timeout_s=1.0),
            scope("app", "search", "verified", max_concurrency=3),
            scope("*", "*", max_output_tokens=9),
        ],
        experiments=[
            trial("f1", patch={"retry": RETRY}, fraction=1.0),
            trial("f2", patch={"reask": {"max": 1}}, fraction=1.0, state="holdout"),
        ],
    )
    before, after = at(it), at(it, now=LATER)
    assert set(before.scope) == {"timeout_s", "max_concurrency", "max_output_tokens", "retry", "reask"}
    assert set(after.scope) == {"max_concurrency", "max_output_tokens", "reask"}
    assert [ref.id for ref in after.fixes] == ["f2"]
    assert decay(it, NOW) is it


def test_a_policy_without_a_readable_end_has_ended() -> None:
    it = msgspec.structs.replace(policy(experiments=[trial(patch={"retry": RETRY})]), valid_until="soon")
    assert at(it).fixes == ()


@pytest.mark.parametrize(
    ("knob", "value", "kept", "noted"),
    [
        ("retry", {"max_attempts": 99}, {"max_attempts": 20}, True),
        ("retry", {"max_attempts": 2, "wat": 1}, {"max_attempts": 2}, True),
        ("retry", {"jitter": True, "on": ["rate_limit", "wat"]}, {"jitter": 1.0, "on": ["rate_limit"]}, True),
        ("retry", {"budget": 0.1}, {"budget": {"ratio": 0.1}}, False),
        ("retry", {"max_attempts": 0}, None, True),
        ("retry", {"max_attempts": True}, None, True),
        ("retry", {"initial_s": float("nan")}, None, True),
        ("retry", [], None, True),
        ("timeout_s", 1e9, 86_400.0, True),
        ("timeout_s", 0, None, True),
        ("timeout_s", "5", None, True),
        ("fallbacks", "gpt", None, True),
        ("fallbacks", ["a", 1], None, True),
        ("max_concurrency", 1.5, None, True),
        ("breaker", {"failures": 3, "reset_s": 5}, {"failures": 3, "reset_s": 5.0}, False),
        ("lessons", ["short", "x" * 9000], ["short"], True),
        ("wat", 1, None, True),
    ],
)
def test_knobs_are_held_within_bounds(knob: str, value: Any, kept: Any, noted: bool) -> None:
    found, notes = clean(knob, value)
    assert found == kept
    assert bool(notes) is noted


def test_reading_a_document_names_what_it_leaves_out() -> None:
    document = read(
        {
            "version": 3,
            "valid_until": clock.iso(NOW),
            "mystery": 1,
            "scopes": [{"source": "a", "retry": "no", "timeout_s": 5, "new_knob": 1}, "what", {"source": 5}],
            "experiments": [trial(patch={"timeout_s": 1}) | {"extra": 1}, trial(patch={}, fraction=3.0), {"fix": "f"}],
        }
    )
    assert document.policy is not None
    assert [(it.source, it.timeout_s, it.retry) for it in document.policy.scopes] == [("a", 5.0, None)]
    assert [it.fix for it in document.policy.experiments] == ["f1"]
    text = "\n".join(document.problems)
    for word in (
        "mystery",
        "scopes[0].retry",
        "new_knob",
        "scopes[1]",
        "scopes[2]",
        "extra",
        "experiments[1].fraction",
        "experiments[2]",
    ):
        assert word in text


@pytest.mark.parametrize("raw", [None, [], "x", {}, {"version": "1", "valid_until": "x"}, {"version": 1}])
def test_what_is_no_policy_is_none(raw: Any) -> None:
    document = read(raw)
    assert document.policy is None
    assert document.problems


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*KNOBS, "source", "task", "origin", "max_attempts", "on", "state"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(scopes=JSON, experiments=JSON, patch=JSON)
def test_no_document_makes_it_raise(scopes: Any, experiments: Any, patch: Any) -> None:
    hostile = trial(patch=patch if isinstance(patch, dict) else {"retry": patch}, fraction=1.0)
    raw = {"version": 1, "valid_until": clock.iso(NOW + 600), "scopes": scopes, "experiments": [hostile, experiments]}
    document = read(raw)
    if document.policy is not None:
        for enforces in (ALL, frozenset[str]()):
            for knob, value in at(document.policy, enforces=enforces).scope.items():
                assert clean(knob, value)[0] == value


def test_a_session_keeps_the_arm_of_the_stage_it_began_in() -> None:
    held: dict[tuple[str, str], FixRef] = {}
    one = Prepared(policy(experiments=[trial(patch={"retry": RETRY})]), "app", ("search",), ALL)
    unit = units("control")
    assert one.for_unit(unit, held).fixes[0].arm == "control"
    ramped = trial(patch={"retry": RETRY}, stage=2, salt="new", fraction=1.0)
    two = Prepared(policy(experiments=[ramped]), "app", ("search",), ALL)
    assert two.for_unit(unit, held).fixes == (FixRef("f1", "control", 0.5, 1, True),)
    assert two.for_unit(unit).fixes == (FixRef("f1", "fixed", 1.0, 2, True),)


def test_inner_tasks_hear_the_outer_one_and_win_over_it() -> None:
    it = policy(scopes=[scope("app", "plan", timeout_s=1.0, max_concurrency=2), scope("app", "search", timeout_s=3.0)])
    assert Prepared(it, "app", ("plan", "search"), ALL).for_unit("u").scope == {"timeout_s": 3.0, "max_concurrency": 2}

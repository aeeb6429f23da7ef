"""A change is a reversible edit: within its limits, and undone exactly."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsi import change
from rsi.config import Bounds
from rsi.errors import InvalidInputError
from rsi.model import CATEGORIES, Change

BOUNDS = Bounds()

_leaf = st.one_of(st.integers(-5, 5), st.booleans(), st.text(max_size=4), st.lists(st.integers(0, 3), max_size=3))
_value = st.recursive(_leaf, lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, max_size=3), max_leaves=8)
_scope = st.dictionaries(st.sampled_from("abcd"), _value, max_size=4)
_patch = st.dictionaries(
    st.sampled_from("abcd"),
    st.recursive(
        st.one_of(st.none(), _leaf), lambda i: st.dictionaries(st.sampled_from("abcd"), i, max_size=3), max_leaves=8
    ),
    max_size=4,
)


@given(_scope, _patch)
@settings(max_examples=300, deadline=None)
def test_revert_after_apply_is_the_identity(scope, patch):
    made = change.make("app", "search", scope, patch, BOUNDS)
    assert change.revert(change.apply(scope, made), made) == scope


@given(_scope, _patch)
def test_apply_leaves_its_argument_alone_and_leaves_no_null(scope, patch):
    kept = repr(scope)
    applied = change.apply(scope, change.make("app", "search", scope, patch, BOUNDS))
    assert repr(scope) == kept
    assert not has_null(applied)


def has_null(value):
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return value is None or any(has_null(one) for one in inside)


def _of(**after):
    return change.make("app", "search", {}, after, BOUNDS)


@pytest.mark.parametrize(
    ("after", "field"),
    [
        ({"retry": {"max_attempts": 0}}, "after.retry.max_attempts"),
        ({"retry": {"max_attempts": 7}}, "after.retry.max_attempts"),
        ({"retry": {"max_attempts": True}}, "after.retry.max_attempts"),
        ({"retry": {"max_attempts": 2.5}}, "after.retry.max_attempts"),
        ({"retry": {"initial_s": -1}}, "after.retry.initial_s"),
        ({"retry": {"initial_s": float("nan")}}, "after.retry.initial_s"),
        ({"retry": {"initial_s": 10, "max_s": 5}}, "after.retry.max_s"),
        ({"retry": {"multiplier": 0.5}}, "after.retry.multiplier"),
        ({"retry": {"on": ["nonsense"]}}, "after.retry.on"),
        ({"retry": {"on": "rate_limit"}}, "after.retry.on"),
        ({"retry": {"budget": {"ratio": 0.5}}}, "after.retry.budget.ratio"),
        ({"retry": {"budget": 0.5}}, "after.retry.budget"),
        ({"retry": {"forever": True}}, "after.retry.forever"),
        ({"retry": 3}, "after.retry"),
        ({"timeout_s": 0}, "after.timeout_s"),
        ({"timeout_s": 601}, "after.timeout_s"),
        ({"timeout_s": "30"}, "after.timeout_s"),
        ({"reask": {"max": 2}}, "after.reask.max"),
        ({"fallbacks": []}, "after.fallbacks"),
        ({"fallbacks": ["a"] * 6}, "after.fallbacks"),
        ({"fallbacks": [""]}, "after.fallbacks"),
        ({"max_concurrency": 0}, "after.max_concurrency"),
        ({"max_output_tokens": 10**9}, "after.max_output_tokens"),
        ({"breaker": {"failures": 0}}, "after.breaker.failures"),
        ({"lessons": ["x" * 3000]}, "after.lessons"),
        ({"stop": {"on": ["nothing"]}}, "after.stop.on"),
        ({"colour": "red"}, "after.colour"),
        ({}, "after"),
    ],
)
def test_what_is_out_of_shape_or_bounds_is_refused_by_the_name_of_its_field(after, field):
    with pytest.raises(InvalidInputError) as caught:
        change.validate(_of(**after), BOUNDS)
    assert caught.value.field == field
    assert field in str(caught.value)


@pytest.mark.parametrize(
    "after",
    [
        {
            "retry": {
                "max_attempts": 6,
                "initial_s": 0.5,
                "multiplier": 2,
                "max_s": 30,
                "jitter": 1.0,
                "on": ["overloaded"],
            }
        },
        {"retry": {"max_attempts": 1}},
        {"retry": None},
        {"timeout_s": 600},
        {"reask": {"max": 1, "on": ["output_parse"]}},
        {"fallbacks": ["small-model"], "max_output_tokens": 4096},
        {"lessons": ["Read the file before editing it."]},
    ],
)
def test_what_is_within_bounds_passes(after):
    assert change.validate(_of(**after), BOUNDS).after == after


@pytest.mark.parametrize("category", sorted(change.NEVER_RETRIED))
def test_no_change_may_add_a_retry_for_what_is_never_retried(category):
    assert category in CATEGORIES
    with pytest.raises(InvalidInputError, match=category):
        change.validate(_of(retry={"max_attempts": 2, "on": [category]}), BOUNDS)


def test_all_tries_together_stay_within_the_longest_time_that_a_call_may_take():
    change.validate_total({"retry": {"max_attempts": 4}, "timeout_s": 150}, BOUNDS)
    with pytest.raises(InvalidInputError, match="4 x 151"):
        change.validate_total({"retry": {"max_attempts": 4}, "timeout_s": 151}, BOUNDS)


def test_tries_of_a_layer_below_are_counted():
    change.validate_total({"retry": {"max_attempts": 3}}, BOUNDS, inner_attempts=2)
    with pytest.raises(InvalidInputError, match="inner"):
        change.validate_total({"retry": {"max_attempts": 4}}, BOUNDS, inner_attempts=2)


def test_a_change_names_its_target_the_way_back_and_its_bounds():
    made = change.make("app", "search", {"timeout_s": 10}, {"timeout_s": 20, "retry": {"max_attempts": 3}}, BOUNDS)
    assert made == Change(
        target="policy:app/search",
        before={"timeout_s": 10, "retry": None},
        after={"timeout_s": 20, "retry": {"max_attempts": 3}},
        bounds={"timeout_s": 600.0, "max_attempts": 6},
    )


def test_a_diff_says_what_changes_value_by_value():
    scope = {"retry": {"max_attempts": 2, "jitter": 1}}
    made = change.make("app", "search", scope, {"retry": {"max_attempts": 4, "jitter": 1}, "timeout_s": 5}, BOUNDS)
    assert change.diff(made) == "retry.max_attempts: 2 → 4\ntimeout_s: (unset) → 5"


def test_advice_edits_nothing_and_is_always_valid():
    made = change.advice("app", "search")
    assert change.is_advice(change.validate(made, BOUNDS))
    assert change.apply({"timeout_s": 1}, made) == {"timeout_s": 1}


def test_a_persons_scope_is_checked_with_its_place():
    change.validate_scope({"source": "app", "retry": {"max_attempts": 2}}, BOUNDS, where="policy[0]")
    with pytest.raises(InvalidInputError, match=r"policy\[1\]\.task"):
        change.validate_scope({"task": 3}, BOUNDS, where="policy[1]")
    with pytest.raises(InvalidInputError, match=r"policy\[1\]\.retries"):
        change.validate_scope({"retries": 3}, BOUNDS, where="policy[1]")

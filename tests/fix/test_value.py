"""What a rule's value comes to in one scope."""

import pytest

from rsi.config import Bounds
from rsi.fix.value import Known, narrowed, resolve

BOUNDS = Bounds()


def known(scope=None, **more):
    return Known(scope=scope or {}, **more)


@pytest.mark.parametrize(
    ("spec", "scope", "p95", "expected"),
    [
        ({"scale": 1.5, "of": "current", "default": 60}, {}, None, 60),
        ({"scale": 1.5, "of": "current", "default": 60}, {"timeout_s": 100}, None, 150),
        ({"scale": 1.5, "of": "current", "default": 60}, {"timeout_s": 500}, None, 600),
        ({"scale": 2.0, "of": "p95", "default": 60}, {}, 4.0, 8),
        ({"scale": 2.0, "of": "p95", "default": 60, "min": 20}, {}, 4.0, 20),
        ({"scale": 2.0, "of": "p95", "default": 60, "max": 5}, {}, 4.0, 5),
        ({"scale": 1.5, "of": "current", "default": 60}, {"timeout_s": 100, "retry": {"max_attempts": 5}}, None, 120),
        ({"scale": 1.0, "of": "current", "default": 60}, {"timeout_s": 100}, None, None),
    ],
)
def test_a_scaled_timeout(spec, scope, p95, expected):
    assert resolve("timeout_s", spec, known(scope, p95=p95), BOUNDS) == expected


def test_whole_numbers_stay_whole():
    spec = {"scale": 0.7, "of": "current", "default": 8, "min": 1}
    assert resolve("max_concurrency", spec, known({"max_concurrency": 5}), BOUNDS) == 3


def test_fallbacks_are_those_that_the_user_declared_and_nothing_else():
    assert resolve("fallbacks", {"from": "declared"}, known(fallbacks=["small"]), BOUNDS) == ["small"]
    assert resolve("fallbacks", {"from": "declared"}, known(), BOUNDS) is None


def test_tries_are_cut_to_the_bounds_and_to_the_time_they_may_take_together():
    value = {"max_attempts": 5}
    assert resolve("retry", value, known(), Bounds(max_attempts=3))["max_attempts"] == 3
    assert resolve("retry", value, known({"timeout_s": 200}), BOUNDS)["max_attempts"] == 3
    assert resolve("retry", {"max_attempts": 1}, known({"timeout_s": 200}), BOUNDS)["max_attempts"] == 1


def test_a_fix_beside_a_standing_one_takes_nothing_back():
    scope = {"retry": {"max_attempts": 4, "on": ["rate_limit"], "max_s": 30}}
    made = resolve("retry", {"max_attempts": 2, "on": ["mcp_transport"]}, known(scope), BOUNDS)
    assert made == {"max_attempts": 4, "on": ["rate_limit", "mcp_transport"]}


def test_a_rules_own_bounds_only_tighten():
    assert narrowed(BOUNDS, {"max_attempts": 3, "timeout_s": 9999, "unknown": 1}) == Bounds(max_attempts=3)

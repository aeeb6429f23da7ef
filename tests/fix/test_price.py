"""What a fix costs against what it saves is said with intervals that cover, or not at all."""

import random

import pytest

from rsi.stats import price
from rsi.stats.price import MIN_UNITS, Sample, saved, spent, together
from rsi.store.arms import ArmCounts, compare, plus


def sample(values, per_unit=1):
    n = len(values)
    return Sample(n / per_unit, n, n, sum(values), sum(value * value for value in values))


def flips(drawn, p, n):
    return sample([drawn.random() < p for _ in range(n)])


@pytest.mark.parametrize(("p", "q", "n"), [(0.03, 0.3, 40), (0.2, 0.2, 30), (0.0, 0.1, 60), (0.5, 0.1, 25)])
def test_the_interval_of_the_failures_avoided_covers(p, q, n):
    drawn, held = random.Random(7), 0
    for _ in range(1000):
        low, high = saved(flips(drawn, p, n), flips(drawn, q, n))
        held += low <= (q - p) * n <= high
    assert held >= 930


def test_the_interval_of_what_was_spent_covers():
    drawn, held = random.Random(8), 0
    for _ in range(1000):
        fixed = sample([1 + (drawn.random() < 0.3) + (drawn.random() < 0.1) for _ in range(40)])
        control = sample([1 + (drawn.random() < 0.1) for _ in range(60)])
        middle = fixed.total - control.total / control.n * fixed.n
        low, high = spent(fixed, control, middle)
        held += low <= 40 * 0.3 <= high
    assert held >= 920


def test_sessions_are_not_counted_as_if_they_were_many():
    """30 sessions of 10 equal outcomes say no more than 30 outcomes."""
    drawn = random.Random(9)
    once = [drawn.random() < 0.3 for _ in range(30)]
    many = [value for value in once for _ in range(10)]
    short, long = saved(sample(once), sample(once)), saved(sample(many, 10), sample(many, 10))
    assert long == pytest.approx([10 * end for end in short], abs=0.05)


def test_too_few_is_said_instead_of_an_interval():
    drawn = random.Random(1)
    few, enough = flips(drawn, 0.3, MIN_UNITS - 1), flips(drawn, 0.3, MIN_UNITS)
    assert saved(few, enough) is None
    assert saved(enough, few) is None
    assert spent(few, enough, 0.0) is None
    assert saved(enough, enough) is not None
    assert saved(Sample(0, 0, 0, 0, 0), enough) is None
    one_giant = sample([True, False] * 100, per_unit=200)
    assert saved(one_giant, enough) is None


def test_what_never_varied_is_not_exact():
    same = sample([1] * 50)
    assert spent(same, same, 0.0) is None


def test_two_experiments_add_in_squares():
    assert together(3.0, (0.0, 6.0), 4.0, (0.0, 8.0)) == (2.0, 12.0)
    assert together(3.0, None, 4.0, (0.0, 8.0)) is None


def arm(n, failed, calls, **more):
    return ArmCounts(units=n, outcomes=n, failed=failed, calls=calls, tries=calls, tries2=calls * 2, tried=n, **more)


def test_a_fix_says_each_of_its_prices_with_its_interval():
    cost = compare(arm(50, 2, 70, ms=50_000, ms2=1e8, timed=50), arm(50, 15, 55, ms=40_000, ms2=5e7, timed=50))
    assert (cost.tasks, cost.failures_avoided, cost.extra_calls, cost.extra_s) == (50, 13, 15, 10)
    for middle, (low, high) in [
        (cost.failures_avoided, cost.failures_avoided_95), (cost.extra_calls, cost.extra_calls_95),
        (cost.extra_s, cost.extra_s_95),
    ]:  # fmt: skip
        assert low < middle < high
    assert cost.failures_avoided_95[0] > 0
    assert cost.extra_tokens is cost.extra_tokens_95 is None
    assert cost.method == price.METHOD


def test_an_earlier_experiment_is_added_and_an_empty_one_is_not():
    cost = compare(arm(50, 2, 70), arm(50, 15, 55))
    assert plus(cost, compare(ArmCounts(), ArmCounts())) == cost
    both = plus(cost, cost)
    assert both.failures_avoided == 26
    assert 26 - both.failures_avoided_95[0] < 2 * (13 - cost.failures_avoided_95[0])
    assert plus(cost, compare(arm(50, 2, 70), arm(5, 1, 6))).failures_avoided_95 is None

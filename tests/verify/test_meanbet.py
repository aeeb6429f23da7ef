"""The bet behind every guard: mean one whatever the values, no unit ruins it, and it survives a restart."""

import json
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsi.stats import MeanBet, StatsInputError

VALUES = [1, 1, 2, 1, 9, 1, 1, 4, 0, 7, 1, 30, 2, 1]


def settled(values, labels, fraction, allowed=0.0):
    bet = MeanBet()
    for value, fixed in zip(values, labels, strict=True):
        bet.bet(value * (1 + allowed) if fixed else value, fixed=bool(fixed), fraction=fraction, allowed=allowed)
    return bet


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("allowed", [0.0, 0.4])
def test_over_all_labelings_the_mean_wealth_is_one(fraction, allowed):
    """The theorem, exactly: values at the edge of what is allowed, over every labeling of a stream with outliers."""
    total = 0.0
    for mask in range(2 ** len(VALUES)):
        labels = [mask >> i & 1 for i in range(len(VALUES))]
        weight = math.prod(fraction if label else 1 - fraction for label in labels)
        total += weight * settled(VALUES, labels, fraction, allowed).wealth
    assert total == pytest.approx(1)


def test_over_all_labelings_less_than_is_allowed_loses():
    total = 0.0
    for mask in range(2 ** len(VALUES)):
        labels = [mask >> i & 1 for i in range(len(VALUES))]
        bet = MeanBet()
        for value, fixed in zip(VALUES, labels, strict=True):
            bet.bet(value, fixed=bool(fixed), fraction=0.5, allowed=0.5)
        total += bet.wealth / 2 ** len(VALUES)
    assert total < 0.95


@given(
    st.lists(st.tuples(st.floats(0, 1e12), st.booleans(), st.sampled_from([0.05, 0.5, 0.95])), max_size=40),
    st.floats(0, 5),
)
def test_no_value_ruins_a_bet(rows, allowed):
    bet = MeanBet()
    for value, fixed, fraction in rows:
        bet.bet(value, fixed=fixed, fraction=fraction, allowed=allowed)
        assert 0 < bet.wealth < math.inf


@settings(max_examples=40)
@given(st.lists(st.tuples(st.floats(0, 1e6), st.booleans()), max_size=40), st.integers(0, 40))
def test_a_restored_bet_goes_on_identically(rows, cut):
    first, twin = MeanBet(), MeanBet()
    for i, (value, fixed) in enumerate(rows):
        if i == cut:
            twin = MeanBet.from_list(json.loads(json.dumps(twin.to_list(), allow_nan=False)))
        for one in (first, twin):
            one.bet(value, fixed=fixed, fraction=0.5, allowed=0.1)
    assert first.to_list() == twin.to_list()


def test_a_doubled_mean_is_seen_and_an_equal_one_is_not():
    def run(times, seed):
        rng, bet = random.Random(seed), MeanBet()
        for _ in range(250):
            fixed = rng.random() < 0.5
            bet.bet(rng.lognormvariate(0, 0.5) * (times if fixed else 1), fixed=fixed, fraction=0.5, allowed=0.1)
        return bet.wealth

    assert sum(run(2.0, seed) >= 500 for seed in range(20)) >= 19
    assert sum(run(1.0, seed) >= 5 for seed in range(20)) <= 2


def test_means_are_those_of_the_units_as_told():
    bet = MeanBet()
    assert bet.means == (None, None)
    bet.bet(6.0, fixed=True, fraction=0.5, allowed=1.0)
    bet.bet(2.0, fixed=False, fraction=0.5, allowed=1.0)
    assert (bet.means, bet.units) == ((6.0, 2.0), (1, 1))


def test_what_is_no_value_is_refused():
    for wrong in ({"value": -1.0}, {"value": math.nan}, {"allowed": -0.1}, {"allowed": math.inf}, {"fraction": 1.0}):
        asked = {"value": 1.0, "fixed": True, "fraction": 0.5, "allowed": 0.0} | wrong
        with pytest.raises(StatsInputError, match=next(iter(wrong))):
            MeanBet().bet(asked.pop("value"), **asked)
    for state in ([], [1, 2, 3, [1.0], [0.0] * 4], "nonsense"):
        with pytest.raises(StatsInputError, match="guard state"):
            MeanBet.from_list(state)

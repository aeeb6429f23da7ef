"""Verdicts hold what the theorem says, survive a restart, and intervals agree with scipy."""

import json
import math
import random
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from rsi.errors import InvalidInputError
from rsi.stats import (
    MIN_CONTROL_UNITS,
    SAMPLED_KEPT,
    TERMINAL,
    BeforeAfterTrial,
    ConcurrentTrial,
    StatsInputError,
    beta_cdf,
    beta_interval,
    beta_quantile,
    design_effect,
    dispersion,
    in_phases,
    not_significantly_above,
    sampled,
    trend,
    units_needed,
    wilson,
)
from rsi.stats.clustering import Autocorrelation, UnitClustering
from rsi.stats.compare import DOUBT
from rsi.stats.labelbet import BETTER, MAX_FACTOR, SAME, VERIFY_AT, WORSE, WORSE_AT, Settled, Wager, odds

ARMS = ("control", "fixed")
events = st.lists(
    st.tuples(st.sampled_from(ARMS), st.integers(0, 12), st.booleans(), st.sampled_from([None, 0.1, 0.5, 0.9])),
    max_size=150,
)


def play(trial, seed, p_control, p_fixed, *, fraction=0.5, horizon=400, **options):
    """Feed single-outcome units until the trial decides; return (verdict, units)."""
    rng = random.Random(seed)
    for n in range(1, horizon + 1):
        fixed = rng.random() < fraction
        failed = rng.random() < (p_fixed if fixed else p_control)
        if trial.add(ARMS[fixed], f"u{n}", failed, **options) in TERMINAL:
            return trial.verdict, n
    return trial.verdict, horizon


# ---------------------------------------------------------------- the bet


@given(
    st.integers(1, 60),
    st.floats(0, 1),
    st.floats(0.02, 0.98),
    st.floats(0.004, 0.9),
    st.sampled_from([r for r, _ in (*BETTER, *WORSE)] + list(SAME)),
)
def test_a_bet_has_mean_one_and_no_unit_is_worth_more_than_the_cap(m, share, f, rate, ratio):
    """Whatever is bet, the mean over the label is 1, and neither label pays more than MAX_FACTOR or 1 / its share."""
    q = odds(Settled(m, round(share * m), f, rate), ratio)
    assert 0 < q < 1
    paid = q / f, (1 - q) / (1 - f)
    assert f * paid[0] + (1 - f) * paid[1] == pytest.approx(1)
    assert max(paid) <= MAX_FACTOR * (1 + 1e-12)


@given(st.floats(0.02, 0.98), st.floats(0.01, 24.9), st.booleans(), st.floats(0.004, 0.9))
def test_aiming_at_the_target_keeps_the_mean_and_never_overshoots(f, start, failed, rate):
    """The mixture moved so that it ends exactly at its target is still a martingale."""
    weights = [start * weight for _, weight in BETTER]
    totals = []
    for fixed in (True, False):
        wager = Wager(BETTER, 25.0, weights)
        wager.bet(Settled(1, int(failed), f, rate), fixed)
        totals.append(wager.total)
        assert wager.total <= 25.0 * (1 + 1e-9)
    assert f * totals[0] + (1 - f) * totals[1] == pytest.approx(start)


def test_over_all_labelings_of_a_fixed_stream_the_mean_wealth_is_one():
    """The theorem, exactly: average the whole trial over every labeling of a bursty stream with recurring units."""
    stream = [
        ("a", 1),
        ("b", 1),
        ("a", 1),
        ("c", 0),
        ("d", 1),
        ("a", 0),
        ("e", 0),
        ("f", 1),
        ("g", 0),
        ("h", 0),
        ("b", 1),
    ]
    units = sorted({unit for unit, _ in stream})
    f, better, worse = 0.3, 0.0, 0.0
    for mask in range(2 ** len(units)):
        labels = {unit: mask >> i & 1 for i, unit in enumerate(units)}
        probability = math.prod(f if labels[unit] else 1 - f for unit in units)
        trial = ConcurrentTrial(fraction=f)
        for unit, failed in stream:
            trial.add(ARMS[labels[unit]], unit, bool(failed))
        for unit in units:
            trial.settle(unit)
        better += probability * trial.wealth.better
        worse += probability * trial.wealth.worse
    assert better == pytest.approx(1)
    assert worse == pytest.approx(1)


# ---------------------------------------------------------------- the concurrent trial


@settings(max_examples=60, deadline=None)
@given(events, events, st.sampled_from([0.1, 0.5, 0.9]), st.booleans())
def test_a_restored_trial_continues_identically(first, second, fraction, final):
    """State goes through JSON exactly, at any point, with open and settled units."""
    trial = ConcurrentTrial(fraction=fraction)
    for arm, unit, failed, f in first:
        trial.add(arm, unit, failed, f, final=final)
    state = json.loads(json.dumps(trial.to_dict(), allow_nan=False))
    twin = ConcurrentTrial.from_dict(state)
    assert twin.to_dict() == trial.to_dict()
    for arm, unit, failed, f in second:
        assert twin.add(arm, unit, failed, f) == trial.add(arm, unit, failed, f)
        assert twin.to_dict() == trial.to_dict()


def test_state_holds_no_unit_text_and_little_of_each_unit():
    """A unit with a very long name costs 8 bytes once settled."""
    trial = ConcurrentTrial()
    for n in range(200):
        trial.add(ARMS[n % 2], "secret" * 1000 + str(n), n % 3 == 0)
    text = json.dumps(trial.to_dict())
    assert "secret" not in text
    assert len(text) < 200 * 12 + 1000


@pytest.mark.parametrize("state", [{}, {"kind": "concurrent", "version": 99}, {"kind": "concurrent", "version": 1}])
def test_a_state_that_cannot_be_read_says_so(state):
    """A wrong version or a missing key names the way out."""
    with pytest.raises(StatsInputError, match="start a new trial"):
        ConcurrentTrial.from_dict(state)


def test_wrong_arguments_are_named():
    """An unknown arm and a fraction without randomisation are refused, as input errors and as ValueErrors."""
    trial = ConcurrentTrial()
    with pytest.raises(ValueError, match=r"expected .fixed. or .control., got .treated."):
        trial.add("treated", "u", True)
    for fraction in (0, 1, -0.1, 1.5, math.nan):
        with pytest.raises(InvalidInputError, match="fraction"):
            ConcurrentTrial(fraction=fraction)
        with pytest.raises(InvalidInputError, match="fraction"):
            trial.set_fraction(fraction)
        with pytest.raises(InvalidInputError, match="fraction"):
            trial.add("fixed", "u", True, fraction)
    assert trial.verdict == "no_data"


def test_no_data_until_both_arms_were_seen():
    """One arm alone is no comparison, however long."""
    trial = ConcurrentTrial()
    assert {trial.add("fixed", n, n % 2 == 0) for n in range(100)} == {"no_data"}
    assert trial.add("control", "c", True) != "no_data"


@pytest.mark.parametrize(
    ("p0", "p1", "word"), [(0.5, 0.01, "verified"), (0.05, 0.7, "worse"), (0.5, 0.5, "no_difference")]
)
def test_verdicts_are_reached_and_stay(p0, p1, word):
    """A decided trial ignores what comes later, keeps its figures, and lets go of its units."""
    trial = ConcurrentTrial()
    assert play(trial, 1, p0, p1, horizon=2000)[0] == word
    figures = trial.to_dict()
    for n in range(200):
        assert trial.add(ARMS[n % 2], f"later{n}", word == "verified") == word
    assert trial.to_dict() == figures
    assert figures["open"] == []
    assert figures["done"] == ""


def test_figures_are_those_of_the_settled_units():
    """Units and rates per arm count each unit once; several outcomes of one unit are a share."""
    trial = ConcurrentTrial()
    assert trial.p_fixed is None
    trial.add("fixed", "a", True)
    trial.add("fixed", "a", False)
    trial.add("control", "b", True)
    assert (trial.n_fixed, trial.n_control) == (0, 0)
    trial.settle("a")
    trial.settle("b")
    assert (trial.n_fixed, trial.n_control, trial.p_fixed, trial.p_control) == (1, 1, 0.5, 1.0)
    trial.settle("b")
    assert trial.n_control == 1


def test_a_final_outcome_settles_its_unit_and_only_that():
    """`final` does not wait for ten outcomes or thirty events, and leaves open what is open."""
    trial = ConcurrentTrial()
    trial.add("control", "open", True)
    trial.add("fixed", "closed", False, final=True)
    assert (trial.n_fixed, trial.n_control) == (1, 0)
    trial.add("fixed", "closed", True, final=True)
    assert trial.n_fixed == 1


def test_repeated_outcomes_of_one_unit_never_decide():
    """A thousand clean outcomes of one fixed unit against failing control outcomes of one other are two bets."""
    trial = ConcurrentTrial()
    for _ in range(1000):
        trial.add("fixed", "good", False)
        assert trial.add("control", "bad", True) == "undecided"
    assert (trial.n_fixed, trial.n_control) == (1, 1)
    assert max(trial.wealth) <= MAX_FACTOR**2


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("failing", [True, False])
def test_three_giant_sessions_never_decide(fraction, failing):
    """At any fraction, three units can say neither verified nor worse."""
    trial = ConcurrentTrial(fraction=fraction)
    for n in range(300):
        trial.add(ARMS[n % 3 != 0], f"s{n % 3}", failing == (n % 3 != 0))
    for n in range(3):
        trial.settle(f"s{n}")
    assert trial.n_fixed + trial.n_control == 3
    assert trial.verdict == "undecided"
    assert min(VERIFY_AT, WORSE_AT) > MAX_FACTOR**3


def test_a_unit_is_bet_at_the_fraction_in_force_when_it_started():
    """A ramp moves later units only; a fraction told with the outcome wins over the current one."""

    def bet(told, change):
        trial = ConcurrentTrial(fraction=0.1)
        trial.add("fixed", "u", False, told)
        if change:
            trial.set_fraction(0.9)
        trial.add("fixed", "u", False, 0.9)
        trial.settle("u")
        return trial.wealth

    assert bet(None, change=True) == bet(None, change=False) == bet(0.1, change=True)
    assert bet(0.9, change=False) != bet(0.1, change=False)


def test_a_stale_fraction_would_show_in_the_wealth_of_a_useless_fix():
    """Over a ramp .1 → .9 the told fraction keeps mean wealth near 1; a stale one does not."""
    told, stale = [], []
    for seed in range(150):
        rng = random.Random(seed)
        right, wrong = ConcurrentTrial(fraction=0.1), ConcurrentTrial(fraction=0.1)
        for n in range(80):
            f = 0.1 if n < 20 else 0.9
            arm, failed = ARMS[rng.random() < f], rng.random() < (0.5 if n < 20 else 0.05)
            right.add(arm, n, failed, f)
            wrong.add(arm, n, failed, 0.1)
        told.append(right.verdict)
        stale.append(wrong.verdict)
    assert told.count("verified") <= 12
    assert stale.count("verified") > 60


def test_swapping_names_of_units_changes_nothing():
    """Only which outcomes share a unit matters, not what the units are called."""
    for seed in range(20):
        rng = random.Random(seed)
        one, other = ConcurrentTrial(), ConcurrentTrial()
        arms = [ARMS[rng.random() < 0.5] for _ in range(40)]
        for _ in range(200):
            unit, failed = rng.randrange(40), rng.random() < 0.3
            assert one.add(arms[unit], unit, failed) == other.add(arms[unit], f"x{unit * 7}", failed)
        assert one.wealth == other.wealth


def test_what_is_settled_and_when_does_not_depend_on_labels():
    """Relabelled at random, the same stream settles the same units at the same times, at the same price."""
    rng = random.Random(3)
    stream = [(rng.randrange(60), rng.random() < 0.3) for _ in range(120)]
    seen = []
    for labels in range(4):
        arms, trial, log = random.Random(labels), ConcurrentTrial(), []
        arm_of = [ARMS[arms.random() < 0.5] for _ in range(60)]
        for unit, failed in stream:
            trial.add(arm_of[unit], unit, failed)
            state = trial.to_dict()
            log.append(
                (trial.n_fixed + trial.n_control, state["rate"], [row[0] for row in state["open"]], state["done"])
            )
            assert trial.verdict not in TERMINAL
        seen.append(log)
    assert seen[1:] == seen[:-1]


@pytest.mark.parametrize("burst", [1.2, 12])
def test_a_useless_fix_is_seldom_verified_under_shared_bursts(burst):
    """150 relabelings of bursty streams, looked at after every outcome: far below what would be alarming."""
    wrong = {"verified": 0, "worse": 0}
    for seed in range(150):
        rng, trial, bad = random.Random(seed), ConcurrentTrial(), False
        for n in range(200):
            bad = rng.random() >= 1 / burst if bad else rng.random() < 0.25 / burst
            verdict = trial.add(ARMS[rng.random() < 0.5], n, rng.random() < (0.9 if bad else 0.02))
        if verdict in wrong:
            wrong[verdict] += 1
    assert wrong["verified"] <= 13
    assert wrong["worse"] <= 13


@pytest.mark.parametrize(
    ("p0", "p1", "word", "per_arm"),
    [(0.3, 0.03, "verified", 26), (0.2, 0.02, "verified", 40), (0.1, 0.5, "worse", 19), (0.1, 0.3, "worse", 52)],
)
def test_real_effects_are_found_in_time(p0, p1, word, per_arm):
    """Median units per arm over 60 fixed seeds."""
    runs = [play(ConcurrentTrial(), seed, p0, p1, horizon=700) for seed in range(60)]
    assert sum(verdict == word for verdict, _ in runs) >= 57
    assert sorted(units for _, units in runs)[30] / 2 <= per_arm


def test_a_third_less_or_more_is_not_called_no_difference_from_little():
    """`no_difference` takes evidence against both; a harmful fix is not waved through as harmless."""
    said = [play(ConcurrentTrial(), seed, 0.3, 0.6, horizon=600)[0] for seed in range(60)]
    assert said.count("no_difference") <= 2
    assert said.count("worse") >= 50


# ---------------------------------------------------------------- before and after


def unsplit(seed, before, after, *, traffic=1.0, horizon=300, rows=200):
    """A treated and an untouched source; `before`, `after` are (treated rate, untouched rate)."""
    rng, trial = random.Random(seed), BeforeAfterTrial()
    for n in range(rows):
        trial.add("treated", "before", f"t{n}", rng.random() < before[0])
        trial.add("untouched", "before", f"u{n}", rng.random() < before[1])
    for n in range(rows, rows + horizon):
        if rng.random() < traffic:
            trial.add("untouched", "after", f"u{n}", rng.random() < after[1])
        if trial.add("treated", "after", f"t{n}", rng.random() < after[0]) in TERMINAL:
            return trial.verdict, n - rows
    return trial.verdict, horizon


def test_before_after_finds_what_only_the_treated_source_shows():
    """A fix and a harm are found; a world that got better for all is neither."""
    assert [unsplit(s, (0.3, 0.3), (0.03, 0.3))[0] for s in range(20)].count("verified") >= 18
    assert [unsplit(s, (0.1, 0.1), (0.5, 0.1), rows=400)[0] for s in range(20)].count("worse") >= 18
    ended = [unsplit(s, (0.4, 0.4), (0.1, 0.1))[0] for s in range(80)]
    assert ended.count("verified") <= 8


def test_before_after_corrects_for_traffic_that_fell():
    """The others' traffic falling to 30 % is not a worse treated source."""
    said = [unsplit(s, (0.2, 0.2), (0.2, 0.2), traffic=0.3)[0] for s in range(40)]
    assert said.count("worse") <= 3


def test_before_after_needs_all_four_cells_and_never_decides_on_silence():
    """No untouched sources: no data. No failures at all: undecided, not verified."""
    trial = BeforeAfterTrial()
    for n in range(100):
        trial.add("treated", "before", n, n % 2 == 0)
        assert trial.add("treated", "after", -n, False) == "no_data"
    quiet = BeforeAfterTrial()
    for n in range(100):
        for group in ("treated", "untouched"):
            quiet.add(group, "before", n, False)
            assert quiet.add(group, "after", n, False) in {"no_data", "undecided"}


def test_before_after_refuses_unknown_words():
    """Group and phase are named in the message."""
    with pytest.raises(StatsInputError, match="group"):
        BeforeAfterTrial().add("fixed", "before", "u", True)
    with pytest.raises(StatsInputError, match="phase"):
        BeforeAfterTrial().add("treated", "during", "u", True)
    with pytest.raises(StatsInputError, match="start a new trial"):
        BeforeAfterTrial.from_dict({"kind": "concurrent", "version": 1})


rows = st.lists(
    st.tuples(
        st.sampled_from(["treated", "untouched"]),
        st.sampled_from(["before", "after"]),
        st.integers(0, 9),
        st.booleans(),
    ),
    max_size=120,
)


@settings(max_examples=40, deadline=None)
@given(rows, rows)
def test_a_restored_before_after_trial_continues_identically(first, second):
    """The same through JSON, with clustering state."""
    trial = BeforeAfterTrial()
    for row in first:
        trial.add(*row)
    twin = BeforeAfterTrial.from_dict(json.loads(json.dumps(trial.to_dict(), allow_nan=False)))
    for row in second:
        assert twin.add(*row) == trial.add(*row)
    assert twin.to_dict() == trial.to_dict()
    assert twin.deflation() == trial.deflation()


@given(st.lists(st.booleans(), min_size=12, max_size=80))
def test_streaming_autocorrelation_equals_the_two_pass_one(values):
    """Sums and ends give what the whole series gives."""
    stream = Autocorrelation(10)
    for value in values:
        stream.see(value)
    mean = sum(values) / len(values)
    away = [v - mean for v in values]
    variance = sum(d * d for d in away) / len(values)
    got = stream.values()
    if variance == 0:
        assert got is None
        return
    want = [sum(a * b for a, b in zip(away, away[lag:], strict=False)) / len(values) / variance for lag in range(1, 11)]
    assert got == pytest.approx(want, abs=1e-9)


def test_unit_clustering_forgets_units_but_not_that_they_were_clustered(monkeypatch):
    """Memory stays bounded; units that fail together still count as clustered."""
    monkeypatch.setattr(UnitClustering, "MAX_UNITS", 50)
    clustering = UnitClustering()
    for n in range(4000):
        clustering.see(n // 4, n // 4 % 3 == 0)
    assert len(clustering.to_dict()["units"]) == 50
    assert clustering.effect() == pytest.approx(4, rel=0.15)


# ---------------------------------------------------------------- intervals, comparisons, plans


@pytest.mark.parametrize("a", [0.05, 0.5, 1, 3.7, 40, 2500, 1e5])
@pytest.mark.parametrize("b", [0.05, 0.5, 2, 18.25, 700, 1e5])
def test_beta_agrees_with_scipy(a, b):
    """Distribution and quantile to 1e-6, from decayed to huge counts."""
    reference = scipy_stats.beta(a, b)
    for q in (0.001, 0.025, 0.3, 0.5, 0.9, 0.975, 0.999):
        assert beta_quantile(q, a, b) == pytest.approx(float(reference.ppf(q)), abs=1e-6)
    for x in (1e-6, 0.01, 0.2, a / (a + b), 0.5, 0.9, 0.999):
        assert beta_cdf(x, a, b) == pytest.approx(float(reference.cdf(x)), abs=1e-6)


@given(st.floats(0, 1e4), st.floats(0, 1e4), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
@settings(max_examples=60, deadline=None)
def test_beta_interval_is_of_the_success_rate(failures, successes, level):
    """Ordered, inside 0..1, around the median, and equal to scipy's."""
    low, high = beta_interval(failures, successes, level)
    want = scipy_stats.beta(successes + 0.5, failures + 0.5).interval(level)
    assert (low, high) == pytest.approx(tuple(float(x) for x in want), abs=1e-6)
    assert 0 <= low < high <= 1


def test_beta_refuses_nonsense():
    """Ends are exact; bad counts, levels and shapes are named."""
    assert (beta_cdf(-1, 2, 3), beta_cdf(2, 2, 3), beta_quantile(0, 2, 3), beta_quantile(1, 2, 3)) == (0, 1, 0, 1)
    for call in (
        lambda: beta_cdf(0.5, 0, 1),
        lambda: beta_quantile(1.5, 1, 1),
        lambda: beta_interval(-1, 2),
        lambda: beta_interval(1, 2, level=1),
        lambda: beta_interval(0, 0, prior=0),
        lambda: wilson(3, 2),
    ):
        with pytest.raises(StatsInputError):
            call()


def test_wilson_matches_scipy():
    """The score interval, and everything possible when nothing was seen."""
    for k, n in ((0, 10), (3, 10), (10, 10), (40, 1000)):
        want = scipy_stats.binomtest(k, n).proportion_ci(0.95, "wilson")
        assert wilson(k, n, 1.959964) == pytest.approx((want.low, want.high), abs=1e-6)
    assert wilson(0, 0) == (0, 1)


def test_design_effect_is_one_for_noise_and_large_for_runs():
    """Constant or short series say nothing; runs deflate; 15 is the end."""
    rng = random.Random(2)
    assert design_effect([]) == design_effect([True] * 50) == design_effect([0, 1] * 5) == 1
    assert design_effect([rng.random() < 0.3 for _ in range(4000)]) < 1.3
    assert 4 < design_effect([n // 6 % 5 == 0 for n in range(600)]) <= 15
    assert design_effect(([1] * 100 + [0] * 100) * 3) == 15


def test_the_interference_test_blocks_what_rose_and_lets_the_rest_through():
    """Shared capacity (.221 → .404) is seen; chance at 60 units is let through at least 98 % of the time."""
    n = 200
    assert not not_significantly_above(0.404 * n, n, 0.221 * n, n)
    assert not_significantly_above(0.404 * n, n, 0.221 * n, n, d1=10, d0=10)
    assert not_significantly_above(0, 60, 0, 500)
    assert not not_significantly_above(0, 0, 5, 100)
    assert not not_significantly_above(5, 100, 0, 0)
    rng, blocked = random.Random(4), 0
    for _ in range(2000):
        k1 = sum(rng.random() < 0.2 for _ in range(MIN_CONTROL_UNITS))
        k0 = sum(rng.random() < 0.2 for _ in range(200))
        blocked += not not_significantly_above(k1, MIN_CONTROL_UNITS, k0, 200)
    assert blocked <= 40
    with pytest.raises(StatsInputError):
        not_significantly_above(5, 4, 1, 10)
    with pytest.raises(StatsInputError):
        not_significantly_above(1, 4, 1, 10, d1=0.5)


def test_dispersion_is_the_size_of_bursts_and_no_change_of_level():
    draw = random.Random(3)
    even = [sum(draw.random() < 0.05 for _ in range(20)) for _ in range(168)]
    lumpy = [12 * (draw.random() < 0.05) for _ in range(168)]
    traffic = [20] * 168
    assert dispersion(even, traffic, 24) < 1.8
    assert 8 < dispersion(lumpy, traffic, 24) < 1 + DOUBT * 11
    risen = [k + (hour >= 144) * 2 for hour, k in enumerate([1] * 168)]
    assert dispersion(risen, traffic, 24) == 1.0  # each side by its own rate
    busy = [10 if hour % 2 else 90 for hour in range(168)]
    assert dispersion([seen // 10 for seen in busy], busy, 24) == 1.0  # as the traffic, so the failures
    assert dispersion([0] * 48, traffic[:48], 24) == dispersion([], [], 24) == 1.0


def test_a_burst_that_goes_on_now_counts_in_full():
    """It is at the edge of the window, where a sliding sum would see little of it."""
    inside, edge = [0] * 168, [0] * 168
    inside[155], edge[167] = 12, 12
    assert dispersion(edge, [20] * 168, 24) >= dispersion(inside, [20] * 168, 24) > 12


def test_bursts_are_no_trend():
    assert trend(24, 100, 24, 600, 0.001) == "increasing"
    assert trend(24, 100, 24, 600, 0.001, dispersed=12.0) == "stable"
    with pytest.raises(StatsInputError, match="dispersed"):
        trend(1, 1, 1, 1, dispersed=0.5)
    with pytest.raises(StatsInputError, match="exposure"):
        dispersion([1, 2], [1], 1)
    with pytest.raises(StatsInputError, match="counts"):
        dispersion([-1], [1], 1)


def test_trend_compares_rates_not_counts():
    """Twice the failures on twice the traffic is stable; 1 % is what it takes."""
    assert trend(40, 400, 20, 200) == "stable"
    assert trend(40, 200, 15, 200) == "increasing"
    assert trend(2, 200, 20, 200) == "decreasing"
    assert trend(3, 100, 1, 100) == "stable"
    assert trend(0, 100, 0, 100) == trend(5, 0, 5, 10) == "stable"
    with pytest.raises(StatsInputError):
        trend(-1, 10, 1, 10)


@pytest.mark.parametrize("recent", range(21))
def test_trend_is_the_exact_binomial_test(recent):
    """The word changes where scipy's one-sided tail crosses half a per cent."""
    up = scipy_stats.binomtest(recent, 20, 0.25, alternative="greater").pvalue <= 0.005
    down = scipy_stats.binomtest(recent, 20, 0.25, alternative="less").pvalue <= 0.005
    want = "increasing" if up else "decreasing" if down else "stable"
    assert trend(recent, 25, 20 - recent, 75) == want


def test_the_plan_covers_most_trials_and_is_not_lavish():
    """Between 8 and 10 of 10 trials are decided within the plan, at half and at a tenth."""
    for p0, p1, f, horizon in ((0.3, 0.03, 0.5, 900), (0.3, 0.03, 0.1, 1200), (0.1, 0.5, 0.5, 900)):
        planned = units_needed(p0, p1, f)
        took = [play(ConcurrentTrial(fraction=f), s, p0, p1, fraction=f, horizon=horizon)[1] for s in range(60)]
        assert 48 <= sum(units <= planned for units in took) <= 59
    assert units_needed(0.083, 0.01, 0.1) > units_needed(0.083, 0.01) > units_needed(0.3, 0.03)
    for call in (lambda: units_needed(0.2, 0.2), lambda: units_needed(1.2, 0.1), lambda: units_needed(0.2, 0.1, 1)):
        with pytest.raises(StatsInputError):
            call()


def test_the_module_needs_the_standard_library_only():
    """`import rsi.stats` loads nothing of rsi but its errors, and no package beyond Python's own."""
    code = (
        "import sys; before = set(sys.modules); import rsi.stats; new = set(sys.modules) - before;"
        "tops = {m.split('.')[0] for m in new} - set(sys.stdlib_module_names);"
        "mine = {m for m in new if m.startswith('rsi.') and not m.startswith('rsi.stats')};"
        "print(sorted(tops), sorted(mine))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['rsi'] ['rsi.errors']"


def test_phases_are_many_failures_together_and_not_just_many():
    rng = random.Random(4)
    assert in_phases(("0" * 45 + "1" * 15) * 5)
    assert not in_phases("0" * 30 + "1" * 29)  # too few to tell
    assert not in_phases("0" * 400)
    assert not any(in_phases("".join("01"[rng.random() < p] for _ in range(n))) for n in (60, 400) for p in (0.02, 0.3))


def test_a_sample_takes_one_task_of_its_time_whatever_the_traffic():
    def minutes(per_second):
        return [(n / per_second, n / per_second % 60 >= 45) for n in range(180 * per_second)]

    assert sampled(minutes(1)) == "".join("1" if failed else "0" for _, failed in minutes(1))
    for per_second in (5, 50):
        newest = "".join("1" if failed else "0" for _, failed in minutes(per_second)[-400:-100])
        assert in_phases(sampled(minutes(per_second)))
        assert len(sampled(minutes(per_second))) == SAMPLED_KEPT
    assert not in_phases(newest)  # six seconds of it
    assert sampled([(9.0, True), (1.0, False), (1.1, True), (1.4, True)]) == "101"  # the clock was set back

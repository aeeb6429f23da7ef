"""What moves together is found, and what only follows the same day or schedule is not."""

import math
import random

import pytest

from rsi.analyze import correlate
from rsi.analyze.correlate import NAMED, OTHERS, WIDTH, compare, discoveries, moving

DAY = 1440
OFFICE = [2.0 if 480 <= t % DAY < 1080 else 0.05 for t in range(WIDTH)]
FLAT = [0.8] * WIDTH
SCHEDULE = [4.0 if t % 15 == 0 else 0.0 for t in range(WIDTH)]


def poisson(dice, mean):
    n, p, least = 0, dice.random(), math.exp(-mean)
    while p > least:
        n, p = n + 1, p * dice.random()
    return n


def stream(dice, rates, fail=0.04, outages=()):
    """A series whose attempts come at `rates` per minute and fail at random, nearly always in an outage."""
    strikes, attempts = {}, {}
    for minute, rate in enumerate(rates):
        n = poisson(dice, rate)
        down = any(begin <= minute < begin + length for begin, length in outages)
        failed = sum(dice.random() < (0.9 if down else fail) for _ in range(n))
        attempts |= {minute: n} if n else {}
        strikes |= {minute: failed} if failed else {}
    return correlate.series({"s": strikes}, {"s": attempts})


def from_marks(*minutes):
    return correlate.series({"s": dict.fromkeys(minutes, 1)}, {})


def others(_a, _b):
    return False


def bursts(dice, n=4, length=20):
    return [(dice.randrange(WIDTH - length), length) for _ in range(n)]


@pytest.mark.parametrize("rates", [FLAT, OFFICE, SCHEDULE], ids=["flat", "office", "schedule"])
@pytest.mark.parametrize("bursty", [False, True])
def test_issues_that_share_only_the_rhythm_of_work_do_not_correlate(rates, bursty):
    """Short form of benchmarks/correlate.py: at 5 % a run, 3 of 8 would come about once in 170 times."""
    wrong = 0
    for seed in range(8):
        dice = random.Random(seed)
        made = {i: stream(dice, rates, 0.005 if bursty else 0.04, bursts(dice) if bursty else ()) for i in range(6)}
        wrong += bool(moving(made, others, 0, {}))
    assert wrong <= 2


@pytest.mark.parametrize("rates", [FLAT, OFFICE], ids=["flat", "office"])
def test_an_outage_that_four_of_eight_share_is_found(rates):
    found = true = 0
    for seed in range(6):
        dice = random.Random(seed)
        made = {i: stream(dice, rates, outages=[(700, 30)] if i < 4 else ()) for i in range(8)}
        pairs = {tuple(sorted(pair[:2])) for pair in moving(made, others, 0, {})}
        true += len([pair for pair in pairs if max(pair) < 4])
        found += len(pairs)
    assert true >= 27  # of 36
    assert found - true <= 4  # they come in lumps: one bystander that happened to fail then moves with all four


def test_a_single_time_together_is_enough_for_two_that_the_taxonomy_names_among_many():
    hits = {True: 0, False: 0}
    for seed in range(4):
        dice = random.Random(seed)
        made = {i: stream(dice, FLAT, outages=[(700, 30)] if i < 2 else ()) for i in range(10)}
        for named in hits:
            pairs = moving(made, lambda a, b, named=named: named and {a, b} == {0, 1}, 0, {})
            hits[named] += {0, 1} in [set(pair[:2]) for pair in pairs]
    assert hits[True] == 4
    assert hits[False] < 4


def test_what_comes_again_and_again_is_surer_than_once():
    dice = random.Random(5)
    once, again = [(1000, 15)], [(300, 15), (1000, 15), (1800, 15), (2500, 15)]
    p = {len(out): compare(stream(dice, FLAT, outages=out), stream(dice, FLAT, outages=out)).p for out in (once, again)}
    assert p[4] < p[1] / 10


def test_the_second_follows_the_first_by_the_lag():
    first = [100, 105, 800, 803, 1500, 1504, 2200]
    made = {1: from_marks(*(minute + 4 for minute in first)), 2: from_marks(*first)}
    (pair,) = moving(made, others, 0, {})
    assert (pair.first, pair.second, pair.together.lag) == (2, 1, 4)
    assert pair.together.times == 7
    assert pair.together.expected < 1


def test_beyond_the_longest_lag_nothing_is_together():
    first = [100, 800, 1500, 2200]
    together = compare(from_marks(*first), from_marks(*(minute + correlate.FAR + 1 for minute in first)))
    assert (together.p, together.times) == (1.0, 0)


def test_too_few_times_together_say_nothing_unless_the_taxonomy_names_them():
    one, other = from_marks(500, 2000), from_marks(500, 2000)
    assert compare(one, other).p == 1.0
    assert compare(one, other, NAMED.support).p < 0.01


def test_one_strike_of_one_is_not_many_times_together():
    """Many marks of the one near two of the other are still two times."""
    assert compare(from_marks(1000, 1001), from_marks(*range(995, 1006))).p == 1.0


def test_what_strikes_nearly_always_moves_with_nobody():
    dice = random.Random(1)
    made = {1: stream(dice, [3.0] * WIDTH, 0.5), 2: stream(dice, [3.0] * WIDTH, 0.5)}
    assert moving(made, others, 0, {}) == []


def test_the_last_stretch_ends_where_it_has_been_quiet_for_an_hour():
    marks = [100, 101, 102, 1000, 1050, 1100]
    together = compare(from_marks(*marks), from_marks(*marks))
    assert (together.since, together.until) == (1000, 1100)


def test_old_news_is_counted_as_asked_but_not_told():
    old = [100, 101, 900, 901, 1700]
    made = {1: from_marks(*old), 2: from_marks(*old)}
    assert moving(made, others, 0, {})
    assert moving(made, others, WIDTH - 60, {}) == []


def test_issues_that_were_not_looked_at_count_as_asked():
    made = {i: from_marks(900, 901, 902, 903) for i in (1, 2)}
    assert moving(made, others, 0, {})
    assert moving(made, others, 0, {}, unseen=100) == []


def test_a_pair_that_is_known_stays_known_while_it_moves():
    made = {i: from_marks(2000, 2001) for i in (1, 2)}
    assert moving(made, others, 0, {}) == []
    (pair,) = moving(made, others, 0, {(1, 2): 0.01})
    assert (pair.q, pair.together.until) == (0.01, 2001)


def test_a_source_that_reports_failures_only_is_measured_by_the_others_day():
    """By the wall the office hours of both look like a cause; by the day of those who tell their traffic they do not."""
    wrong = 0
    for seed in range(6):
        dice = random.Random(seed)
        strikes = [{t: 1 for t in range(WIDTH) if dice.random() < OFFICE[t] * 0.03} for _ in range(2)]
        office = {t: 20 for t in range(WIDTH) if OFFICE[t] > 1}
        made = dict(enumerate(correlate.series({"s": one}, {"": office}) for one in strikes))
        wrong += bool(moving(made, others, 0, {}))
    assert wrong <= 1


def test_two_clocks_agree_that_a_first_half_hour_proves_nothing():
    """A home whose whole traffic is half an hour old: all of it lies together, whatever fails."""
    dice = random.Random(2)
    rates = [0.0] * (WIDTH - 30) + [5.0] * 30
    made = {i: stream(dice, rates, 0.3) for i in range(4)}
    assert moving(made, others, 0, {}) == []


def test_discoveries_are_benjamini_and_hochbergs():
    """The example of their paper (1995, §3.2): four of fifteen at .05."""
    chances = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528,
               0.7590, 1.0]  # fmt: skip
    found = discoveries(chances, 0.05)
    assert [q is not None for q in found] == [True] * 4 + [False] * 11
    assert found[0] == pytest.approx(0.0015)
    assert found[3] == pytest.approx(0.0095 * 15 / 4)
    assert discoveries(chances[::-1], 0.05) == found[::-1]
    assert [q is not None for q in discoveries(chances[:4], 0.05, asked=15)] == [True] * 4
    assert discoveries([], 0.05) == []


def test_shift_sums_are_what_counting_gives():
    dice = random.Random(0)
    width = 40
    weights = [dice.randrange(5) for _ in range(width)]
    places = [dice.randrange(width) for _ in range(9)]
    counted = [sum(weights[(place + shift) % width] for place in places) for shift in range(width)]
    assert correlate._sums(places, weights) == counted


def test_bars_are_what_the_reference_says():
    assert (NAMED, OTHERS) == ((2, 0.1), (3, 0.05))


@pytest.mark.parametrize(
    ("chances", "p"), [((0.04, 0.9), 0.05), ((0.9, 0.01), 0.05), ((0.04, 0.01), 0.05), ((0.9, 0.9), 1.0)]
)
def test_looking_at_once_and_at_again_and_again_is_paid_for(monkeypatch, chances, p):
    """Two looks at one pair share the risk, four to one: the better of both is no better than that."""
    monkeypatch.setattr(correlate, "_chance", lambda *_: chances)
    marks = [100, 800, 1500, 2200]
    assert compare(from_marks(*marks), from_marks(*marks)).p == pytest.approx(p)

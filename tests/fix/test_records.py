"""A rule's record says how sure it may be and whether it may act alone."""

import json

import pytest
from click.testing import CliRunner
from loop_kit import Loop, hand_clock, rule

from rsi.cli import cli
from rsi.fix import records
from rsi.fix.records import Scored, confidence, count, standing
from rsi.model import Verdict
from rsi.stats import wilson
from rsi.store import fixes
from rsi.store.endings import Ending
from rsi.store.fixes import Record


def ending(outcome, sure=0.5, name="r", *, is_open=False):
    return Ending(name, outcome, sure, is_open)


def test_what_ended_how_and_how_wrong_the_confidence_was():
    found = count(
        [
            ending("verified", 0.8), ending("worse", 0.8), ending("no_difference", 0.2), ending("verified", None),
            ending("undecided", 0.9), ending("undecided", 0.9, is_open=True), ending("no_data"), ending("worse", 1.0, "s"),
        ]
    )  # fmt: skip
    assert (found["r"].won, found["r"].lost, found["r"].undecided, found["r"].scored) == (2, 2, 1, 3)
    assert found["r"].brier == pytest.approx((0.2**2 + 0.8**2 + 0.2**2) / 3)
    assert found["s"] == Scored(0, 1, 0, 1.0, 1)


def test_what_nothing_is_known_of_is_even():
    assert confidence("r", {}) == 0.5
    assert count([]) == {}


def test_confidence_goes_from_what_all_rules_did_to_what_the_rule_did():
    others = {"a": Record(8, 0), "b": Record(8, 0)}
    assert confidence("new", others) == pytest.approx(17 / 18)
    lost = [confidence("r", {**others, "r": Record(0, n)}) for n in (0, 1, 4, 30)]
    assert lost == sorted(lost, reverse=True)
    assert lost[-1] < 0.1
    assert all(0 < confidence("r", {"r": Record(w, n)}) < 1 for w in (0, 1000) for n in (0, 1000))


def test_confidence_is_calibrated_where_rules_differ():
    """Rules of many qualities, each scored before its next verdict: of those said to win at p, a share of p wins."""
    import random

    drawn, told = random.Random(5), {}
    past = {f"r{n}": Record() for n in range(60)}
    quality = {name: drawn.betavariate(3, 1.5) for name in past}
    for _ in range(40):
        for name, own in past.items():
            sure, won = confidence(name, past), drawn.random() < quality[name]
            told.setdefault(int(sure * 5), []).append((sure, won))
            past[name] = Record(own.won + won, own.lost + (not won))
    for said in told.values():
        if len(said) >= 100:
            mean, won = sum(p for p, _ in said) / len(said), sum(won for _, won in said)
            low, high = wilson(won, len(said), 4.0)
            assert low - 0.04 < mean < high + 0.04
    brier = sum((p - won) ** 2 for said in told.values() for p, won in said) / 2400
    share = sum(won for said in told.values() for _, won in said) / 2400
    assert brier < share * (1 - share)  # what the share of all would score, known beforehand


@pytest.mark.parametrize(
    ("won", "lost", "acts"),
    [(0, 0, True), (0, 2, True), (0, 3, False), (2, 3, False), (3, 3, True), (9, 10, False), (10, 3, True)],
)
def test_a_built_in_rule_acts_until_it_loses(won, lost, acts):
    said = standing(rule(origin="builtin", status="stable"), Record(won, lost))
    assert said.acts is acts
    assert said.rail == (None if acts else "record")


@pytest.mark.parametrize(("won", "lost", "acts"), [
    (0, 0, False), (4, 0, False), (5, 0, True), (5, 1, False), (6, 1, False), (7, 1, True), (8, 2, False), (9, 2, True),
    (3, 4, False), (100, 99, False),
])  # fmt: skip
@pytest.mark.parametrize(
    ("origin", "status"), [("user", "stable"), ("user", "experimental"), ("builtin", "experimental")]
)
def test_any_other_rule_earns_it_and_can_lose_it(origin, status, won, lost, acts):
    said = standing(rule(origin=origin, status=status), Record(won, lost))
    assert (said.acts, said.earned) == (acts, acts)
    assert bool(said.sentence) is not acts


def test_an_undecided_end_neither_promotes_nor_demotes():
    assert not standing(rule(origin="user"), Record(4, 0, 50)).acts
    assert standing(rule(), Record(0, 2, 50)).acts


@pytest.fixture
def loop(tmp_path):
    with hand_clock():
        made = Loop(tmp_path)
        yield made
        made.close()


def test_a_fix_says_how_sure_its_rule_is_and_advice_does_not(loop):
    loop.fail()
    loop.pipeline.cycle()
    assert loop.fix().evidence["confidence"] == 0.5


def test_the_list_of_rules_shows_record_score_and_standing(loop):
    loop.fail()
    loop.pipeline.cycle()
    said = Verdict(outcome="worse", method="m", cannot_exclude="c")
    loop.store.write(lambda conn: fixes.change_to(conn, 1, 1.0, state="rolled_back", verdict=said))
    loop.close()
    told = CliRunner().invoke(cli, ["--home", str(loop.home.path), "rules", "list", "--kind", "fix", "--json"])
    found = {one["id"]: one for one in json.loads(told.stdout)["rules"]}["retry-transient"]
    assert (found["won"], found["lost"], found["brier"], found["scored"]) == (0, 1, 0.25, 1)
    assert found["confidence"] == pytest.approx(4 / 3 / 5, abs=1e-4)
    assert found["record"] == "0 won, 1 lost, 0 undecided"
    assert found["acts"] is True
    text = CliRunner().invoke(cli, ["--home", str(loop.home.path), "rules", "list", "--kind", "fix"]).stdout
    assert "0.25" in text
    loop.open()


def test_the_numbers_of_the_rule_are_those_that_the_page_names():
    assert (records.PRIOR_WEIGHT, records.LOSING_AT, records.EARNED_AT, records.EARNED_ABOVE) == (4, 3, 5, 0.5)

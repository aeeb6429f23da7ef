"""Rules that change while a fix is tried, rules that become unsure, and what prototypes remember beside a weak rule."""

from __future__ import annotations

import os

import pytest
from loop_kit import hand_clock, rule
from test_one_mind import WEAK, Weak
from test_recategorize import BADGE, BADGE_RULE, Home, categories

from rsi.analyze.prototype import wordings
from rsi.store import fingerprints, recategorize, rulings
from rsi.worker import Worker

OTHER = BADGE_RULE.replace("rate_limit", "quality").replace("id: badge", "id: other").replace("990", "995")


@pytest.fixture(scope="module")
def worker():
    with Worker(env={"RSI_EMBEDDER": "ngram", "RSI_WORKER_AWAITED": "1"}) as found:
        yield found


@pytest.fixture
def make(tmp_path, worker):
    made = []

    def home(kind=Weak):
        made.append(kind(tmp_path, worker, rules=[rule(categories=("provider_5xx",))]))
        return made[0]

    with hand_clock():
        yield home
        made[0].close()
    worker.forget([str(n) for n in range(1, 25)])


def ruled(home, name: str, text: str) -> None:
    """A classify rule comes or is replaced while the loop runs."""
    folder = home.home.rules / "classify"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text, encoding="utf-8")
    os.utime(path, ns=(before + 10**9, before + 10**9))


def test_a_rule_that_comes_in_the_middle_of_a_trial_waits_for_its_end(make):
    home = make()
    home.in_trial()
    ruled(home, "other", OTHER)
    home.pipeline.cycle()
    home.say(BADGE)
    home.pipeline.cycle()
    assert categories(home) == {"i1": "provider_5xx"}
    assert home.failed("provider_5xx") == 9, "later texts stay with their trial, too"
    home.restart()
    home.pipeline.cycle()
    assert categories(home) == {"i1": "provider_5xx"}
    home.pipeline.rollback("f1", "person:test")
    home.pipeline.cycle()
    assert categories(home) == {"i1": "quality"}
    assert (home.failed("provider_5xx"), home.failed("quality")) == (0, 9)
    assert home.ask(rulings.ruled).waiting == ()
    home.say(BADGE)
    home.pipeline.cycle()
    assert categories(home) == {"i1": "quality"}


def test_others_do_not_wait_with_it(make):
    home = make()
    home.in_trial()
    home.say("a hamster badge of another kind was found in the soup")
    home.pipeline.cycle()
    assert len(categories(home)) == 2
    ruled(home, "other", OTHER)
    home.pipeline.cycle()
    assert sorted(categories(home).values()) == ["provider_5xx", "quality"]


def test_a_rule_that_becomes_unsure_is_asked_about_without_a_restart(make):
    home = make(Home)
    ruled(home, "mine", WEAK.replace("0.7", "0.99"))
    home.say(BADGE)
    home.settle()
    assert categories(home) == {"i1": "provider_5xx"}
    ruled(home, "mine", WEAK)
    home.settle()
    assert categories(home) == {"i1": "rate_limit"}


def test_what_was_said_where_no_rule_speaks_overrules_no_weak_rule_unasked(make):
    """The same template with a status, of which a weak rule says something: that takes a greater lead."""
    home = make(Home)
    ruled(home, "mine", WEAK.replace("message: [hamster badge]", "message: [hamster badge], status: [503]"))
    home.say(BADGE)
    home.settle()
    assert categories(home) == {"i1": "rate_limit"}
    home.say(BADGE)
    home.send(home.item(error={"message": BADGE, "status": 503}, success=False))
    home.pipeline.cycle()
    assert categories(home) == {"i1": "rate_limit", "i2": "provider_5xx"}
    home.settle()
    assert set(categories(home).values()) == {"rate_limit"}
    home.send(home.item(error={"message": BADGE, "status": 503}, success=False))
    home.pipeline.cycle()
    assert set(categories(home).values()) == {"rate_limit"}, "once asked it is remembered"


@pytest.mark.parametrize("over", [("unknown", "prototype"), ("auth", "prototype over auth")])
def test_who_decided_is_remembered_when_a_rule_decides_the_same_later(make, over):
    ruled_by, said = over
    assert recategorize.over(ruled_by) == said
    home = make(Home)
    home.say(BADGE)
    home.settle()
    (held,) = home.ask(fingerprints.of_cluster, 1)
    home.store.write(
        lambda conn: recategorize.recategorize(conn, {held.id: recategorize.Answer("unknown", "no", "none")})
    )
    home.store.write(
        lambda conn: recategorize.recategorize(conn, {held.id: recategorize.Answer("quality", "yes", said)})
    )
    home.store.write(lambda conn: recategorize.confirm(conn, {held.id: "rule:x"}))
    (now,) = home.ask(fingerprints.of_cluster, 1)
    assert now.classified_by == f"rule:x, {said}"
    assert home.ask(recategorize.remembered, {(ruled_by, held.hash), ("timeout_tool", held.hash)}) == {
        (ruled_by, held.hash): "quality"
    }


def test_the_reason_of_a_category_says_who_decided_it():
    reasons = ["prototype: like 'x', ahead by 1.20", "rule:mine-x decides", "no rule decides it any more"]
    assert [recategorize.decided_by(why) for why in reasons] == ["prototype", "rule:mine-x", "none"]


def test_what_templates_of_one_issue_have_in_common_is_what_is_compared():
    told = [f"failed to notify user {name} of the result" for name in ("alice", "bobby", "carol")]
    assert wordings(told) == ["failed to notify user of the result"] * 3
    assert wordings(told[:1]) == told[:1]
    assert wordings([]) == []
    assert wordings(["one two three", "four five three"]) == ["one two three", "four five three"]


def test_the_wordings_of_one_issue_get_one_answer_though_a_name_is_like_something(make):
    """A name that is a word of another category's prototypes decides alone, and nothing beside two other names."""
    home = make(Home)
    home.say("blinked and went away: user tastes whatsoever nothing")
    home.say("blinked and went away: user bobby whatsoever nothing")
    home.say("blinked and went away: user carol whatsoever nothing")
    home.settle()
    assert len(categories(home)) == 1

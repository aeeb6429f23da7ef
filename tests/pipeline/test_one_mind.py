"""Prototypes and what is stronger: a trial under way, and the evidence that wordings are one fault."""

from __future__ import annotations

import pytest
from loop_kit import hand_clock, rule
from test_recategorize import BADGE, BADGE_RULE, PROTOTYPES, SOUP, Home, categories

from rsi.pipeline.unknowns import ONE_FAULT
from rsi.store import fingerprints, issues, postponed, rollups
from rsi.worker import Worker

WEAK = BADGE_RULE.replace("rate_limit", "provider_5xx").replace("0.99", "0.7")


class Weak(Home):
    """A weak rule says `provider_5xx` of what prototypes say is `rate_limit`; nobody is asked but by `settle`."""

    def open(self) -> None:
        folder = self.home.rules / "classify"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "mine.yaml").write_text(WEAK, encoding="utf-8")
        super().open()

    def sure(self) -> None:
        folder = self.home.rules / "classify"
        rest = WEAK.replace("id: badge", "id: sure").replace("0.7", "0.99").replace("hamster badge", "hamster of carl")
        (folder / "sure.yaml").write_text(rest, encoding="utf-8")
        self.restart()

    def in_trial(self) -> None:
        """A fix of the issue that the weak rule named is being tried."""
        self.client()
        self.say(BADGE, 8)
        self.fail(n=0, ok=8)
        self.pipeline.cycle()
        assert self.fix().state == "canary"
        assert self.fix().issue == "i1"

    def failed(self, category: str) -> int:
        found = self.ask(rollups.by_category, "app", "search", 0)
        return found[category].failed if category in found else 0


@pytest.fixture(scope="module")
def worker():
    with Worker(env={"RSI_EMBEDDER": "ngram", "RSI_WORKER_AWAITED": "1"}) as found:
        yield found


@pytest.fixture
def home(tmp_path, worker):
    with hand_clock():
        made = Weak(tmp_path, worker, rules=[rule(categories=("provider_5xx",))])
        yield made
        made.close()
    worker.forget([str(n) for n in range(1, 19)])


def test_an_issue_keeps_its_category_while_a_fix_of_it_is_tried_and_gets_the_other_when_that_is_over(home):
    home.in_trial()
    home.settle()
    assert categories(home) == {"i1": "provider_5xx"}
    assert (home.failed("provider_5xx"), home.failed("rate_limit")) == (8, 0)
    assert not home.pipeline._clusters._unknowns.waited()
    home.pipeline.rollback("f1", "person:test")
    assert home.pipeline._clusters._unknowns.waited(), "nothing new has to come for it"
    home.settle()
    assert categories(home) == {"i1": "rate_limit"}
    assert (home.failed("provider_5xx"), home.failed("rate_limit")) == (0, 8)
    assert not home.pipeline._clusters._unknowns.waited()


def test_what_waits_survives_a_restart_and_others_do_not_wait_with_it(home):
    home.in_trial()
    home.settle()
    home.restart()
    home.say(SOUP)
    home.settle()
    assert categories(home) == {"i1": "provider_5xx", "i2": "quality"}
    home.pipeline.rollback("f1", "person:test")
    home.settle()
    assert categories(home) == {"i1": "rate_limit", "i2": "quality"}


def test_the_daemons_hourly_question_finds_what_waited(home):
    home.in_trial()
    home.settle()
    clusters = home.pipeline._clusters
    begun = []
    clusters._relating.due = lambda: False
    clusters.begin = lambda: begun.append(1)
    home.pipeline.relate()
    assert begun == []
    home.pipeline.rollback("f1", "person:test")
    home.pipeline.relate()
    assert begun == [1]


def test_a_trial_of_an_issue_that_was_merged_holds_the_issue_it_went_to(home):
    home.in_trial()
    home.say("an older hamster badge squeaked", 1)
    home.pipeline.cycle()
    home.store.write(lambda conn: issues.auto_merge(conn, 1, 2, "similar"))
    assert home.ask(postponed.tried) == {1}
    home.settle()
    assert categories(home) == {"i1": "provider_5xx"}


def test_answers_of_another_set_of_prototypes_are_forgotten_for_all_are_asked_again(home):
    home.in_trial()
    home.settle()
    home.pipeline.rollback("f1", "person:test")
    assert home.ask(postponed.ready, "another") == {}
    unknowns = home.pipeline._clusters._unknowns
    assert [
        answer.category for answer in home.ask(lambda conn: postponed.ready(conn, unknowns._rules(conn)[1])).values()
    ] == ["rate_limit"]


def one_issue(home, *texts: str) -> None:
    """Wordings that evidence has put together, before prototypes were asked."""
    for text in texts:
        home.say(text)
        home.pipeline.cycle()
    for cluster in range(2, len(texts) + 1):
        home.store.write(lambda conn, cluster=cluster: issues.auto_merge(conn, cluster, 1, "one fault"))
    assert [one.id for one in home.issues()] == ["i1"]


def test_what_prototypes_say_of_one_wording_is_said_of_those_that_resemble_nothing(home):
    one_issue(home, BADGE, "hamster badge soup tastes")
    home.settle()
    assert categories(home) == {"i1": "rate_limit"}
    held = home.ask(fingerprints.of_cluster, 1)
    assert [one.category for one in held] == ["rate_limit"] * 2
    assert held[1].why == ONE_FAULT


def test_a_wording_that_a_sure_rule_decided_decides_for_all(home):
    home.sure()
    one_issue(home, BADGE, "the purple hamster of carl went away")
    home.settle()
    assert categories(home) == {"i1": "provider_5xx"}
    assert len(home.ask(fingerprints.of_cluster, 1)) == 2


def test_wordings_of_which_prototypes_say_different_things_part_and_the_oldest_keeps_the_issue(home):
    assert {"rate_limit", "quality"} == {*PROTOTYPES}
    one_issue(home, BADGE, f"hamster badge: {SOUP}, {SOUP}, {SOUP}")
    home.settle()
    assert categories(home) == {"i1": "rate_limit", "i3": "quality"}

"""`unknown` gets its category from prototypes: issues keep their ids, counters and plans follow, nothing is lost."""

from __future__ import annotations

import time

import pytest
from loop_kit import Loop, hand_clock, rule

from rsi.errors import WorkerError
from rsi.pipeline import Pipeline
from rsi.rules import PrototypeSet, load_prototypes
from rsi.store import Store, fingerprints, issues, journal, merges, meta, recategorize, rollups
from rsi.store.recategorize import Answer
from rsi.worker import Worker

BADGE = "the purple hamster badge blinked and went away"
SOUP = "soup of the day tastes like nothing whatsoever"
BADGE_RULE = """
{id: badge, category: rate_limit, precedence: 990, confidence: 0.99, date: 2026-11-21,
 match: {any: [{message: [hamster badge]}]}}
"""
PROTOTYPES = {"rate_limit": [BADGE, "purple hamster badge"], "quality": [SOUP, "soup tastes like nothing"]}


class Home(Loop):
    """A `Loop` whose pipeline has a worker and prototypes of its own."""

    prototypes = PROTOTYPES

    def __init__(self, path, worker: Worker, **more) -> None:
        self.worker = worker
        super().__init__(path, **more)

    def open(self) -> None:
        folder = self.home.rules / "prototypes"
        folder.mkdir(parents=True, exist_ok=True)
        for category, texts in self.prototypes.items():
            lines = "".join(f"  - {text}\n" for text in texts)
            (folder / f"{category}.yaml").write_text(f"category: {category}\nprototypes:\n{lines}", encoding="utf-8")
        self.store = Store.open(self.home.store_url(self.config))
        self.pipeline = Pipeline(self.home, self.config, self.store, self.worker)
        if self.prototypes:  # only these: thousands of built-in ones would be learned again in every test
            known = load_prototypes([self.home.rules])
            mine = tuple(one for one in known.prototypes if one.origin == "user")
            unknowns = self.pipeline._clusters._unknowns
            unknowns._prototypes = PrototypeSet(mine, (), "-".join(one.text for one in mine))
        self.pipeline._clusters.begin = lambda: None  # nothing is asked but by `settle`
        self.use(self.rules)

    def say(self, text: str, n: int = 1, **fields) -> None:
        self.send(*(self.item(error={"message": text}, success=False, **fields) for _ in range(n)))

    def settle(self) -> None:
        self.pipeline.cycle(wait_for_worker=True)

    def issues(self):
        with self.store.read() as conn:
            return sorted(issues.list_issues(conn)[0], key=lambda one: one.id)

    def ask(self, read, *given):
        with self.store.read() as conn:
            return read(conn, *given)


@pytest.fixture(scope="module")
def worker():
    """N-grams: words are meaning enough here."""
    with Worker(env={"RSI_EMBEDDER": "ngram", "RSI_WORKER_AWAITED": "1"}) as found:
        yield found


@pytest.fixture
def home(tmp_path, worker):
    with hand_clock():
        made = Home(tmp_path, worker, rules=[rule()])
        yield made
        made.close()
    worker.forget([str(n) for n in range(1, 9)])


def write(home, *answers: tuple[int, str], why: str = "prototype: 0.80 to 'it'"):
    return home.store.write(
        lambda conn: recategorize.recategorize(conn, {key: Answer(name, why) for key, name in answers})
    )


def categories(home) -> dict[str, str]:
    return {one.id: one.category for one in home.issues()}


def test_an_unknown_issue_keeps_its_id_and_takes_category_title_severity_and_action(home):
    home.say(BADGE, 3)
    home.pipeline.cycle()
    (before,) = home.issues()
    assert (before.id, before.category) == ("i1", "unknown")
    home.settle()
    (after,) = home.issues()
    assert (after.id, after.category, after.severity, after.frequency) == ("i1", "rate_limit", "medium", 3)
    assert after.title == f"rate_limit: {before.title}"
    assert after.suggested_action != before.suggested_action
    assert after.why.startswith("prototype: ")
    assert BADGE in after.why
    totals = home.ask(rollups.by_category, "app", "search", 0)
    assert (totals["rate_limit"].failed, totals["unknown"].failed) == (3, 0)
    (entry,) = [one for one in home.ask(journal.for_ref, "i1") if one.what == "issue.recategorised"]
    assert entry.detail == {"before": "unknown", "after": "rate_limit", "by": "prototype", "templates": [1]}
    assert home.ask(journal.verify) is None


def test_later_texts_of_the_template_land_in_it_also_after_a_restart(home):
    home.say(BADGE)
    home.settle()
    home.say(BADGE)
    home.pipeline.cycle()
    home.restart()
    home.say(BADGE, status="failed")
    home.pipeline.cycle()
    (one,) = home.issues()
    assert (one.id, one.category, one.frequency) == ("i1", "rate_limit", 3)
    assert home.ask(rollups.by_category, "app", "search", 0)["rate_limit"].failed == 3


def test_what_is_like_nothing_stays_unknown_and_is_asked_once(home, monkeypatch):
    home.say("zzz yyy xxx qqq")
    home.settle()
    assert categories(home) == {"i1": "unknown"}
    asked = []
    monkeypatch.setattr(home.worker, "resemble", lambda *given: asked.append(given))
    home.say("zzz yyy xxx qqq")
    home.settle()
    assert asked == []


def test_new_prototypes_ask_again_what_was_left(home):
    home.say("zzz yyy xxx qqq")
    home.settle()
    home.prototypes = {"auth": ["zzz yyy xxx qqq", "zzz yyy xxx"]}
    home.restart()
    home.settle()
    assert categories(home) == {"i1": "auth"}


def test_without_a_word_there_is_nothing_to_compare(home, monkeypatch):
    home.send(home.item(success=False))
    asked = []
    monkeypatch.setattr(home.worker, "resemble", lambda *given: asked.append(given))
    home.settle()
    assert asked == []


def test_a_worker_that_fails_changes_nothing_and_is_asked_again(home, monkeypatch):
    home.say(BADGE)
    with monkeypatch.context() as patched:
        patched.setattr(home.worker, "resemble", _fail)
        home.settle()
        assert categories(home) == {"i1": "unknown"}
        assert any("no answer" in line for line in home.pipeline.status()["troubles"])
    home.settle()
    assert categories(home) == {"i1": "rate_limit"}


def _fail(*_):
    raise WorkerError("no answer")


def test_after_a_crash_before_the_answer_the_next_process_asks_of_itself(home):
    home.say(BADGE)
    home.pipeline.cycle()
    home.restart()
    del home.pipeline._clusters.begin
    home.pipeline.start()
    end = time.monotonic() + 30
    while categories(home) != {"i1": "rate_limit"}:
        assert time.monotonic() < end, "it was never asked"
        time.sleep(0.02)


def test_answers_may_be_written_twice(home):
    home.say(BADGE, 2)
    home.pipeline.cycle()
    assert [one.issue for one in write(home, (1, "auth"))] == ["i1"]
    assert write(home, (1, "auth")) == []
    assert write(home, (1, "quality")) == []
    assert categories(home) == {"i1": "auth"}
    assert home.ask(rollups.by_category, "app", "search", 0)["auth"].failed == 2


def test_templates_of_one_issue_that_differ_leave_for_issues_of_their_own(home):
    home.say(BADGE, 3)
    home.say(SOUP, 2)
    home.pipeline.cycle()
    home.store.write(lambda conn: issues.auto_merge(conn, 2, 1, "similar"))
    assert [one.issue for one in write(home, (1, "auth"), (2, "quality"))] == ["i1", "i3"]
    found = {one.id: (one.category, one.frequency) for one in home.issues()}
    assert found == {"i1": ("auth", 3), "i3": ("quality", 2)}
    totals = home.ask(rollups.by_category, "app", "search", 0)
    assert (totals["auth"].failed, totals["quality"].failed, totals["unknown"].failed) == (3, 2, 0)
    assert home.ask(issues.get_issue, "i2").id == "i1"


def test_what_a_person_merged_stays_together_and_takes_the_one_category_that_is_named(home):
    home.say(BADGE)
    home.say(SOUP)
    home.pipeline.cycle()
    home.pipeline.merge("i1", "i2", "person:test")
    write(home, (2, "quality"))
    assert categories(home) == {"i1": "quality"}
    assert len(home.ask(fingerprints.of_cluster, 1)) == 2


def test_what_a_person_merged_stays_unknown_where_two_categories_are_named(home):
    home.say(BADGE)
    home.say(SOUP)
    home.pipeline.cycle()
    home.pipeline.merge("i1", "i2", "person:test")
    assert write(home, (1, "auth"), (2, "quality")) == []
    assert categories(home) == {"i1": "unknown"}


def test_where_rules_gave_the_template_this_category_already_the_older_issue_stays(home):
    home.say(BADGE, 2)
    home.pipeline.cycle()
    (home.home.rules / "classify").mkdir()
    (home.home.rules / "classify" / "mine.yaml").write_text(BADGE_RULE, encoding="utf-8")
    home.restart()
    home.pipeline._ruling._done = True  # as in a release that did not judge stored templates again
    home.say(BADGE)
    home.pipeline.cycle()
    assert categories(home) == {"i1": "unknown", "i2": "rate_limit"}
    home.settle()
    assert {one.id: (one.category, one.frequency) for one in home.issues()} == {"i1": ("rate_limit", 3)}
    assert home.ask(issues.get_issue, "i2").id == "i1"
    home.say(BADGE)
    home.restart()
    home.settle()
    assert {one.id: (one.category, one.frequency) for one in home.issues()} == {"i1": ("rate_limit", 4)}


def test_a_persons_split_is_not_undone_by_the_same_category(home):
    home.say(BADGE)
    home.say(SOUP)
    home.pipeline.cycle()
    home.store.write(lambda conn: issues.auto_merge(conn, 2, 1, "similar"))
    home.pipeline.split("i1", "person:test")
    write(home, (1, "auth"), (2, "auth"))
    assert categories(home) == {"i1": "auth", "i3": "auth"}
    assert home.ask(merges.declared_apart, 1, 3)


def test_a_pass_that_began_before_the_answer_counts_into_the_same_issue(home):
    home.say(BADGE)
    home.pipeline.cycle()
    home.say(BADGE)
    observe = home.pipeline._taking._observer.observe

    def then_answered(*given):
        delta = observe(*given)
        write(home, (1, "rate_limit"))
        return delta

    home.pipeline._taking._observer.observe = then_answered
    home.pipeline.cycle()
    assert {one.id: (one.category, one.frequency) for one in home.issues()} == {"i1": ("rate_limit", 2)}
    assert home.ask(rollups.by_category, "app", "search", 0)["rate_limit"].failed == 2


def test_an_issue_that_only_prototypes_name_is_planned_and_never_starts_by_itself(home):
    home.client()
    home.say(BADGE, 8)
    home.fail(n=0, ok=8)
    home.settle()
    (fix,) = home.fixes()
    assert (fix.issue, fix.category, fix.state) == ("i1", "rate_limit", "proposed")
    (sentence,) = [line for line in fix.rails if "by prototype" in line]
    assert "8 of 8 failures are rate_limit by prototype, not by a rule" in sentence
    assert fix.evidence["by_prototype"] == 8


def test_what_rules_decide_starts_as_ever_beside_a_few_that_prototypes_name(home):
    home.client()
    home.fail(n=10, ok=10)
    home.say(BADGE)
    home.settle()
    (fix,) = home.fixes()
    assert fix.state == "canary"
    assert fix.evidence["by_prototype"] == 1


def test_a_person_may_approve_what_only_prototypes_name(home):
    home.client()
    home.say(BADGE, 8)
    home.fail(n=0, ok=8)
    home.settle()
    home.pipeline.approve("f1", "person:test")
    assert home.fix().state == "canary"


def test_once_rules_decide_the_template_it_is_theirs_and_may_start(home):
    home.client()
    home.say(BADGE, 8)
    home.fail(n=0, ok=8)
    home.settle()
    (home.home.rules / "classify").mkdir()
    (home.home.rules / "classify" / "mine.yaml").write_text(BADGE_RULE, encoding="utf-8")
    home.restart()
    home.say(BADGE)
    home.pipeline.cycle()
    (held,) = home.ask(fingerprints.of_cluster, 1)
    assert held.classified_by.startswith("rule:")
    assert recategorize.by_prototype(held.classified_by)
    assert home.ask(recategorize.resting_on, "app", "search", ["rate_limit"], 0) == 0


def test_a_plan_that_a_crash_kept_from_being_made_is_made_after_the_restart(home):
    home.client()
    home.say(BADGE, 8)
    home.fail(n=0, ok=8)
    home.pipeline.cycle()
    write(home, (1, "rate_limit"))
    assert home.ask(meta.get, recategorize.UNPLANNED) == ["i1"]
    home.restart()
    home.pipeline.cycle()
    assert [fix.issue for fix in home.fixes()] == ["i1"]
    assert home.ask(meta.get, recategorize.UNPLANNED) == []


def test_listeners_hear_of_the_new_category(home):
    heard = []
    home.pipeline.subscribe(lambda event, data: heard.append((event, data)), only=["issue"])
    home.say(BADGE)
    home.settle()
    assert ("i1", "rate_limit", "prototype") in [(data["issue"], data["category"], data["rule"]) for _, data in heard]


class Plain(Home):
    prototypes = {}  # noqa: RUF012


@pytest.mark.slow
def test_with_the_built_in_prototypes_prose_that_no_rule_decides_gets_its_category(tmp_path):
    with hand_clock(), Worker(env={"RSI_WORKER_AWAITED": "1", "RSI_EMBEDDER": "minilm"}) as real:
        made = Plain(tmp_path, real, rules=[rule()])
        try:
            made.say("nobody has paid the bill, so the vendor stopped serving us")
            made.say("bananas are rich in potassium")
            made.settle()
            assert categories(made) == {"i1": "quota_exhausted", "i2": "unknown"}
        finally:
            made.close()


def test_a_weak_rule_is_overruled_and_a_sure_one_never_asked(home):
    folder = home.home.rules / "classify"
    folder.mkdir()
    weak = BADGE_RULE.replace("rate_limit", "invalid_request").replace("0.99", "0.7")
    sure = BADGE_RULE.replace("id: badge", "id: soup").replace("hamster badge", "soup of the day")
    for name, text in (("weak", weak), ("sure", sure)):
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    home.restart()
    home.say(BADGE, 2)
    home.say(SOUP)
    home.pipeline.cycle()
    assert categories(home) == {"i1": "invalid_request", "i2": "rate_limit"}
    home.settle()
    assert categories(home) == {"i1": "rate_limit", "i2": "rate_limit"}
    home.say(BADGE)
    home.pipeline.cycle()
    one, _ = home.issues()
    assert (one.id, one.frequency) == ("i1", 3)
    totals = home.ask(rollups.by_category, "app", "search", 0)
    assert (totals["rate_limit"].failed, totals["invalid_request"].failed) == (4, 0)


def test_what_resembles_an_excuse_is_still_counted(tmp_path, worker):
    class Excused(Home):
        prototypes = {"not_a_failure": [BADGE, "purple hamster badge"], "quality": [SOUP]}  # noqa: RUF012

    with hand_clock():
        made = Excused(tmp_path, worker, rules=[rule()])
        try:
            made.say(BADGE, 2)
            made.settle()
            made.say(BADGE)
            made.pipeline.cycle()
            (one,) = made.issues()
            assert (one.category, one.frequency) == ("not_a_failure", 3)
            assert made.ask(rollups.by_category, "app", "search", 0)["not_a_failure"].failed == 3
        finally:
            made.close()

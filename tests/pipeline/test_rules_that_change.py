"""A user's rule comes or goes between two starts: issues keep their ids, and what a person said of them holds."""

from __future__ import annotations

import pytest
from loop_kit import Loop, hand_clock

from rsi.errors import StoreError
from rsi.pipeline import Pipeline
from rsi.store import Store, fingerprints, issues, journal, merges, meta, recategorize, rollups
from rsi.store.schema import meta as metas
from rsi.store.schema import outcomes
from rsi.worker import Worker

HAMSTER = "the purple hamster badge blinked and went away"
PARROT = "the purple parrot badge fell off its perch"
MOTORS = [f"motor eth{n} of the crane wobbled" for n in range(3)]


class Home(Loop):
    """A `Loop` whose pipeline has a worker that is never started by itself, and rules that a test writes."""

    def open(self) -> None:
        self.store = Store.open(self.home.store_url(self.config))
        self.pipeline = Pipeline(self.home, self.config, self.store, Worker(env={"RSI_EMBEDDER": "ngram"}))
        self.pipeline._clusters.begin = lambda: None
        self.use(self.rules)

    def say(self, *texts: str) -> None:
        self.send(*(self.item(error={"message": text}, success=False) for text in texts))
        self.turn()

    def turn(self) -> None:
        self.pipeline.cycle()
        self.pipeline._clusters._grouped()

    def ruled(self, **categories: str) -> None:
        """Restart with a rule for each of these words: `hamster="rate_limit"`."""
        folder = self.home.rules / "classify"
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.yaml"):
            old.unlink()
        for word, category in categories.items():
            (folder / f"{word}.yaml").write_text(
                f"{{id: mine-{word}, category: {category}, precedence: 990, confidence: 0.99, date: 2026-11-21,"
                f" match: {{any: [{{message: [{word}]}}]}}}}\n",
                encoding="utf-8",
            )
        self.restart()
        self.turn()

    def found(self) -> dict[str, tuple[str, int]]:
        with self.store.read() as conn:
            return {one.id: (one.category, one.frequency) for one in issues.list_issues(conn)[0]}

    def ask(self, read, *given):
        with self.store.read() as conn:
            return read(conn, *given)

    def forget(self, *templates: int) -> None:
        """The texts of these, as retention does."""
        gone = outcomes.delete().where(outcomes.c.fingerprint.in_(templates))
        self.store.write(lambda conn: conn.execute(gone))

    def merge(self, a: str, b: str) -> None:
        self.store.write(lambda conn: merges.merge(conn, a, b, "person:test"))

    def split(self, ref: str, template: int | None = None) -> str:
        return self.store.write(lambda conn: merges.split(conn, ref, "person:test", template)).made


@pytest.fixture
def home(tmp_path):
    with hand_clock():
        made = Home(tmp_path)
        yield made
        made.close()


def test_an_issue_keeps_its_id_when_a_rule_comes_and_when_it_goes(home):
    home.say(HAMSTER, HAMSTER)
    assert home.found() == {"i1": ("unknown", 2)}
    home.ruled(hamster="rate_limit")
    assert home.found() == {"i1": ("rate_limit", 2)}
    home.say(HAMSTER)
    assert home.found() == {"i1": ("rate_limit", 3)}
    assert home.ask(rollups.by_category, "app", "search", 0)["rate_limit"].failed == 3
    with home.store.read() as conn:
        told = issues.get_issue(conn, "i1")
    assert (told.severity, told.why) == ("medium", "rule:mine-hamster decides")
    assert told.title.startswith("rate_limit: the purple hamster")
    home.ruled()
    home.say(HAMSTER)
    assert home.found() == {"i1": ("unknown", 4)}
    assert home.ask(issues.get_issue, "i1").title.startswith("the purple hamster")
    home.ruled(hamster="quality")
    home.ruled(hamster="auth")
    home.say(HAMSTER)
    assert home.found() == {"i1": ("auth", 5)}
    assert home.ask(journal.verify) is None


def test_what_a_person_split_stays_split_when_both_get_another_category_and_back(home):
    home.say(*MOTORS)
    assert home.found() == {"i1": ("unknown", 3)}
    made = home.split("i1", 2)
    home.ruled(crane="overloaded")
    home.say(*MOTORS)
    assert home.found() == {"i1": ("overloaded", 4), made: ("overloaded", 2)}
    home.ruled()
    home.say(*MOTORS)
    assert home.found() == {"i1": ("unknown", 6), made: ("unknown", 3)}


def test_what_a_person_split_stays_split_though_no_text_of_it_is_left(home):
    """Nothing to judge it by: the new rule makes new templates of the same texts, and the decision knows the texts."""
    home.say(*MOTORS[:2])
    made = home.split("i1")
    home.forget(1, 2)
    home.ruled(crane="overloaded")
    home.say(*MOTORS[:2])
    new = [ref for ref, (category, _) in home.found().items() if category == "overloaded"]
    assert len(new) == 2
    assert made not in new


def test_what_a_person_merged_stays_one_when_both_get_another_category_and_back(home):
    home.say(HAMSTER, PARROT)
    home.merge("i1", "i2")
    home.ruled(badge="rate_limit")
    home.say(HAMSTER, PARROT)
    assert home.found() == {"i1": ("rate_limit", 4)}
    home.ruled()
    home.say(HAMSTER, PARROT)
    assert home.found() == {"i1": ("unknown", 6)}


@pytest.mark.parametrize("word", ["hamster", "parrot"])
def test_what_a_person_merged_stays_one_when_rules_put_only_one_of_them_elsewhere(home, word):
    """Two categories in one issue: it keeps the one that it had, and later texts of both still land in it."""
    home.say(HAMSTER, PARROT)
    home.merge("i1", "i2")
    home.ruled(**{word: "rate_limit"})
    home.say(HAMSTER, PARROT)
    assert home.found() == {"i1": ("unknown", 4)}
    home.restart()
    home.say(HAMSTER, PARROT)
    assert home.found() == {"i1": ("unknown", 6)}
    home.ruled()
    home.say(HAMSTER, PARROT)
    assert home.found() == {"i1": ("unknown", 8)}


def test_what_was_put_together_by_itself_goes_along_as_one(home):
    home.say(*MOTORS)
    home.ruled(crane="overloaded")
    assert home.found() == {"i1": ("overloaded", 3)}
    home.say("motor eth7 of the crane wobbled")
    assert home.found() == {"i1": ("overloaded", 4)}


def test_a_template_of_which_no_text_is_left_goes_along_with_the_others(home):
    home.say(*MOTORS[:2])
    home.forget(1)
    home.ruled(crane="overloaded")
    assert home.found() == {"i1": ("overloaded", 2)}


def test_what_no_rule_decides_any_more_is_compared_with_prototypes_again(home):
    home.ruled(hamster="rate_limit")
    home.say(PARROT, HAMSTER)
    home.store.write(lambda conn: recategorize.asked(conn, "prototypes", 2))
    home.ruled()
    assert [one.id for one in home.ask(recategorize.unasked, "prototypes", frozenset(), 9)] == [2]


def test_an_issue_that_an_older_release_made_of_the_same_text_is_united_with_it(home):
    home.say(HAMSTER)
    _unruled(home)
    home.ruled(hamster="rate_limit", parrot="auth")
    home.say(HAMSTER)
    assert home.found() == {"i1": ("rate_limit", 2)}


def _unruled(home: Home) -> None:
    home.store.write(lambda conn: conn.execute(metas.delete().where(metas.c.key == "ruled")))


def test_rules_that_did_not_change_are_not_gone_through_again(home, monkeypatch):
    home.say(HAMSTER)
    home.ruled(hamster="rate_limit")
    asked = []
    home.restart()
    monkeypatch.setattr(home.pipeline._ruling, "_answers", lambda *given: asked.append(given))
    home.turn()
    assert asked == []


def test_going_through_goes_on_where_the_disk_stopped_it(home, monkeypatch):
    from rsi.pipeline import ruling

    monkeypatch.setattr(ruling, "AT_ONCE", 1)
    home.say(HAMSTER, PARROT)
    (home.home.rules / "classify").mkdir(parents=True)
    home.ruled(badge="rate_limit")
    home.ruled(badge="auth", hamster="auth")
    assert {category for category, _ in home.found().values()} == {"auth"}
    seen = []
    home.ruled(badge="quality")
    real = home.store.write

    def one_slice(job):
        seen.append(job)
        if len(seen) == 3:
            raise StoreError("disk full")
        return real(job)

    home.pipeline._ruling.use(home.pipeline._ruling._classifier, "another key")
    with monkeypatch.context() as patched:
        patched.setattr(home.store, "write", one_slice)
        with pytest.raises(StoreError, match="disk full"):
            home.pipeline._ruling.run()
    assert home.ask(meta.get, "ruled")["up_to"] == 1
    home.pipeline._ruling.run()
    assert home.ask(meta.get, "ruled")["up_to"] is None


def test_what_is_not_a_failure_any_more_is_only_counted_no_further(home):
    home.say(HAMSTER)
    home.ruled(hamster="not_a_failure")
    home.say(HAMSTER)
    assert home.found() == {"i1": ("unknown", 1)}
    (held,) = home.ask(fingerprints.of_cluster, 1)
    assert held.category == "unknown"

"""One fault in several wordings is one issue, before any model is asked; what a person said wins and survives."""

from __future__ import annotations

import threading
import time

import pytest
from loop_kit import Loop, hand_clock

from rsi.errors import StoreBusyError, StoreError, WorkerError
from rsi.pipeline import Pipeline
from rsi.store import Store, issues, merges
from rsi.worker import Worker

HOSTS = [f"interface eth{n} of the pump is down" for n in range(4)]
NAMES = [
    f"session of {name} was rolled back by the pump"
    for name in ("anna", "bert", "carl", "dora", "emil", "olga", "gina")
]


class Home(Loop):
    """A `Loop` whose pipeline has a worker that is never started by itself."""

    def open(self) -> None:
        self.store = Store.open(self.home.store_url(self.config))
        self.pipeline = Pipeline(self.home, self.config, self.store, Worker(env={"RSI_EMBEDDER": "ngram"}))
        self.pipeline._clusters.begin = lambda: None
        self.use(self.rules)

    def say(self, *texts: str) -> None:
        self.send(*(self.item(error={"message": text}, success=False) for text in texts))
        self.pipeline.cycle()

    def group(self) -> int:
        return self.pipeline._clusters._grouped()

    def ids(self) -> list[str]:
        with self.store.read() as conn:
            return sorted(one.id for one in issues.list_issues(conn)[0])


@pytest.fixture
def home(tmp_path):
    with hand_clock():
        made = Home(tmp_path)
        yield made
        made.close()


def test_wordings_of_one_fault_become_the_oldest_issue_which_says_why(home):
    home.say(*NAMES)
    assert len(home.ids()) == len(NAMES)
    assert home.group() == len(NAMES) - 1
    assert home.ids() == ["i1"]
    with home.store.read() as conn:
        one = issues.get_issue(conn, "i1")
        assert issues.get_issue(conn, "i7").id == "i1"
    assert one.frequency == len(NAMES)
    assert "the same but for 1 value" in one.why
    assert home.group() == 0


def test_a_later_one_joins_and_a_restart_remembers(home):
    home.say(*NAMES)
    home.group()
    home.restart()
    home.say("session of hugo was rolled back by the pump", "the pump exploded")
    assert len(home.ids()) == 3
    home.group()
    assert home.ids() == ["i1", "i9"]


def test_what_a_crash_left_apart_is_joined_after_the_start(home):
    home.say(*NAMES)
    home.restart()
    assert home.group() == len(NAMES) - 1


def test_what_a_person_split_stays_split_after_restarts_and_newcomers(home):
    home.say(*NAMES)
    home.group()
    with home.store.read() as conn:
        held = [one.id for one in merges.templates.of_cluster(conn, 1)]
    made = home.store.write(lambda conn: merges.split(conn, "i1", "person:test", fingerprint=held[2])).made
    for _ in range(2):
        home.restart()
        home.say(f"session of nina{_} was rolled back by the pump")
        home.group()
        assert made in home.ids()
        with home.store.read() as conn:
            assert next(one.id for one in merges.templates.of_cluster(conn, int(made[1:]))) == held[2]


def test_silent_failures_of_many_tasks_stay_apart(home):
    home.send(*(home.item(task=f"task-{name}", success=False) for name in "abcdefgh"))
    home.pipeline.cycle()
    before = len(home.ids())
    home.group()
    assert len(home.ids()) == before > 1


def test_two_that_cluster_at_once_take_turns(home, monkeypatch):
    inside: list[int] = []
    most: list[int] = []
    clusters = home.pipeline._clusters
    monkeypatch.setattr(clusters, "_new", lambda: _enter(inside, most))
    threads = [threading.Thread(target=clusters.run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 4


def _enter(inside: list[int], most: list[int]) -> tuple[int, int]:
    inside.append(1)
    time.sleep(0.02)
    most.append(len(inside))
    inside.pop()
    return 0, 0


def test_joins_that_could_not_be_written_are_written_later(home, monkeypatch):
    home.say(*NAMES)

    def full(_job):
        raise StoreError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(home.store, "write", full)
        with pytest.raises(StoreError, match="disk full"):
            home.group()
    assert len(home.ids()) == len(NAMES)
    assert home.group() == len(NAMES) - 1
    assert home.ids() == ["i1"]


def ignore(home, ref: str, state: str = "ignored") -> None:
    home.store.write(lambda conn: issues.set_state(conn, ref, state, "person:test"))


def test_what_is_like_an_ignored_issue_is_not_swallowed_and_goes_together_beside_it(home):
    home.say(HOSTS[0])
    ignore(home, "i1")
    home.say(*HOSTS[1:])
    home.group()
    assert home.ids() == ["i1", "i2"]
    with home.store.read() as conn:
        assert (issues.get_issue(conn, "i1").frequency, issues.get_issue(conn, "i2").frequency) == (1, 3)
        assert issues.get_issue(conn, "i2").state == "new"
    home.restart()
    home.say("interface eth9 of the pump is down")
    home.group()
    assert home.ids() == ["i1", "i2"]


def test_once_it_is_not_ignored_any_more_all_are_one(home):
    home.say(HOSTS[0])
    ignore(home, "i1")
    home.say(*HOSTS[1:])
    home.group()
    ignore(home, "i1", "ongoing")
    home.say("the pump exploded")
    home.group()
    assert home.ids() == ["i1", "i5"]


def test_a_split_that_is_made_while_it_runs_holds_at_once(home):
    home.say(*HOSTS[:2])
    home.group()
    made = home.store.write(lambda conn: merges.split(conn, "i1", "person:test")).made
    home.say(*HOSTS[2:])
    home.group()
    assert made in home.ids()
    assert len(home.ids()) == 2


def test_many_joins_are_written_in_slices_that_let_others_in(home, monkeypatch):
    from rsi.pipeline import grouping

    monkeypatch.setattr(grouping, "WRITTEN_AT_ONCE", 2)
    home.say(*NAMES)
    writes = []
    real = home.store.write
    monkeypatch.setattr(home.store, "write", lambda job: writes.append(job) or real(job))
    assert home.group() == len(NAMES) - 1
    assert len(writes) == (len(NAMES) - 1) / 2


def test_a_slow_pass_is_named_and_one_that_is_over_is_not(home, monkeypatch):
    from rsi import clock

    clusters, told = home.pipeline._clusters, []

    def slow():
        clock.sleep(31)
        told.extend(line for line in home.pipeline.status()["troubles"] if "putting new templates into groups" in line)

    monkeypatch.setattr(clusters._grouping, "once", slow)
    clusters._grouped()
    assert len(told) == 1
    assert "31 s" in told[0]
    assert not any("slow" in line for line in home.pipeline.status()["troubles"])


def test_after_a_full_disk_it_goes_on_as_soon_as_the_disk_is_written_again(home, monkeypatch):
    home.say(*HOSTS)
    begun = []
    clusters = home.pipeline._clusters
    monkeypatch.setattr(clusters, "begin", lambda: begun.append(1))

    def full(_job):
        raise StoreBusyError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(home.store, "write", full)
        for _ in range(8):  # the pause is a minute by now
            clusters.run()
    (told,) = [line for line in home.pipeline.status()["troubles"] if "disk is full" in line]
    assert told.startswith("clustering failed (8 times)")
    home.pipeline.cycle()
    assert begun


def test_after_a_worker_that_failed_it_rests(home, monkeypatch):
    home.say(*HOSTS)
    begun = []
    clusters = home.pipeline._clusters
    monkeypatch.setattr(clusters, "begin", lambda: begun.append(1))
    monkeypatch.setattr(clusters, "_new", _away)
    for _ in range(8):
        clusters.run()
    home.pipeline.cycle()
    assert not begun


def _away():
    raise WorkerError("no answer")

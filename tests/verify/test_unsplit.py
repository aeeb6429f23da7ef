"""A change that cannot be split: compared with untouched sources, and with nothing else."""

import random

import pytest
from loop_kit import Loop, advice, hand_clock, rule

from rsi.errors import NotFoundError
from rsi.fix import apply
from rsi.store import fixes
from rsi.store.fixes import NewFix
from rsi.store.trials import Before
from rsi.verify import comparable, unsplit

SILENT = 1800.0


@pytest.fixture
def time():
    with hand_clock() as made:
        yield made


class World:
    """A treated source `app` and others; rates by source, one task of each a step."""

    def __init__(self, loop, time, others=("beside", "third"), seed=3):
        self.loop, self.time, self.others = loop, time, others
        self.random = random.Random(seed)

    def run(self, steps, app, beside, at_once=20):
        items = []
        for n in range(steps):
            for source, rate in (("app", app), *((other, beside) for other in self.others)):
                failed = self.random.random() < rate
                items.append(self.loop.item(source, "search", "auth" if failed else None))
            if len(items) >= at_once * (1 + len(self.others)) or n == steps - 1:
                self.loop.send(*items)
                items = []
                self.time.forward(30)

    def begin(self, fix=1, **more):
        with self.loop.store.read() as conn:
            row = fixes.get(conn, fix)
        return self.loop.store.write(lambda conn: unsplit.begin(conn, row, self.time.now(), **more))

    def feed(self, fix=1):
        return self.loop.store.write(lambda conn: unsplit.feed(conn, fix, SILENT, self.time.now()))

    def verdict(self, fix=1):
        self.feed(fix)
        with self.loop.store.read() as conn:
            return unsplit.decide(conn, fix, self.time.now())


def new(loop, time, source="app", task="*", **more):
    """A fix as a planner makes it; applied by hand, as only the store matters here."""
    from rsi import change

    made = NewFix(
        dedupe=f"{source}{task}{len(loop.fixes())}", issue=1, rule="by-file", category="auth", source=source, task=task, knob="retry",
        title="A key in a file", safe=False, change=change.advice(source, task), evidence={},
    )  # fmt: skip
    return loop.store.write(lambda conn: fixes.add(conn, made, time.now()))


@pytest.fixture
def loop(tmp_path, time):
    made = Loop(tmp_path, rules=[advice()])
    new(made, time)
    yield made
    made.close()


def test_a_change_that_works_is_verified_and_the_text_names_method_sources_and_what_it_cannot_exclude(loop, time):
    world = World(loop, time)
    world.run(150, 0.3, 0.3)
    watched = world.begin()
    assert watched.untouched == ("beside", "third")
    assert world.verdict().outcome == "no_data"
    world.run(90, 0.02, 0.3)
    said = world.verdict()
    assert said.outcome == "verified"
    assert "share against untouched sources" in said.method
    assert said.method.endswith("untouched: beside, third")
    assert "hit the treated source alone" in said.cannot_exclude
    assert said.p_fixed < 0.1
    assert said.p_control > 0.2
    assert said.n_fixed > 10


def test_a_change_that_harms_is_worse_and_a_world_that_changed_for_all_is_neither(loop, time):
    world = World(loop, time)
    world.run(150, 0.1, 0.1)
    world.begin()
    world.run(120, 0.5, 0.5)
    assert world.verdict().outcome not in {"verified", "worse"}
    other = World(loop, time, seed=4)
    other.run(150, 0.1, 0.1)
    new(loop, time)
    other.begin(2)
    other.run(120, 0.6, 0.1)
    assert other.verdict(2).outcome == "worse"


@pytest.mark.parametrize("rate", [0.0, 0.9], ids=["better", "worse"])
def test_before_and_after_alone_say_nothing_however_clear(loop, time, rate):
    world = World(loop, time, others=())
    world.run(150, 0.4, 0.0)
    world.begin()
    world.run(300, rate, 0.0)
    said = world.verdict()
    assert said.outcome == "undecided"
    assert said.why.startswith(unsplit.ALONE)
    assert said.method.endswith("untouched: none")


def test_a_change_of_every_source_has_nothing_beside_it(loop, time):
    new(loop, time, source="*")
    world = World(loop, time)
    world.run(100, 0.3, 0.3)
    assert world.begin(2).untouched == ()


def test_sources_that_the_change_reaches_or_that_did_too_little_are_not_beside_it(loop, time):
    world = World(loop, time)
    world.run(100, 0.3, 0.3)
    loop.send(*(loop.item("rare", "search") for _ in range(5)))
    assert world.begin(also_touched=["third"]).untouched == ("beside",)


def test_a_source_that_another_fix_touched_before_is_not_beside_it(loop, time):
    world = World(loop, time)
    world.run(100, 0.3, 0.3)
    touch(loop, time, "third")
    assert world.begin().untouched == ("beside",)


def touch(loop, time, source):
    made = new(loop, time, source=source)
    loop.store.write(lambda conn: apply.start(conn, made, loop.config, Before(), time.now()))


def test_a_source_that_is_touched_meanwhile_is_left_out_from_the_beginning_and_shown(loop, time):
    world = World(loop, time)
    world.run(150, 0.3, 0.3)
    world.begin()
    world.run(60, 0.02, 0.3)
    touch(loop, time, "third")
    said = world.verdict()
    with loop.store.read() as conn:
        watched = unsplit.load(conn, 1)
    assert (watched.untouched, watched.left) == (("beside",), ("third",))
    assert said.n_control <= 60
    assert "left out because they were touched: third" in said.why
    touch(loop, time, "beside")
    assert world.verdict().why.startswith(unsplit.ALONE)


def test_another_fix_on_the_same_source_in_that_time_leaves_it_undecided(loop, time):
    world = World(loop, time)
    world.run(150, 0.3, 0.3)
    world.begin()
    world.run(90, 0.02, 0.3)
    touch(loop, time, "app")
    said = world.verdict()
    assert said.outcome == "undecided"
    assert said.why.startswith("f2 changed the same source")


def test_silence_is_not_success(loop, time):
    """A dozen good tasks after 5 % failures: sixty would have had to be possible failures' worth."""
    world = World(loop, time)
    world.run(200, 0.06, 0.3)
    world.begin()
    world.run(12, 0.0, 0.3)
    said = world.verdict()
    assert said.outcome == "undecided"
    assert "are needed" in said.why or "too few" in said.why


def test_units_that_fell_silent_have_failed_whoevers_they_are(loop, time):
    world = World(loop, time)
    world.run(100, 0.2, 0.2)
    world.begin()
    for source in ("app", "beside"):
        for n in range(4):
            loop.send({**loop.item(source, "search", run=f"{source}{n}"), "status": "started", "success": None})
    loop.send(loop.item("app", "search", run="app0"))
    world.feed()
    time.forward(SILENT + 1)
    world.feed()
    with loop.store.read() as conn:
        watched = unsplit.load(conn, 1)
    assert (watched.silent, watched.after, watched.open) == (7, 4, {})
    assert "7 fell silent" in world.verdict().why or "needed" in world.verdict().why


def test_what_lay_across_the_change_is_neither_before_nor_after(loop, time):
    world = World(loop, time)
    world.run(100, 0.2, 0.2)
    loop.send({**loop.item("app", "search", run="long"), "status": "started", "success": None})
    world.begin()
    time.forward(60)
    loop.send(loop.item("app", "search", run="long"), loop.item("app", "search", duration_ms=70_000.0))
    loop.send(loop.item("app", "search", duration_ms=10_000.0))
    world.feed()
    with loop.store.read() as conn:
        watched = unsplit.load(conn, 1)
    assert (watched.crossed, watched.after) == (2, 1)


def test_steps_and_backfill_never_enter(loop, time):
    world = World(loop, time)
    world.run(60, 0.2, 0.2)
    world.begin()
    loop.send(
        loop.item("app", "search", kind="step", parent="p"), loop.item("app", "search", ts=time.now() - 3 * 86_400)
    )
    world.feed()
    with loop.store.read() as conn:
        assert unsplit.load(conn, 1).after == 0


def test_a_restart_and_the_size_of_slices_change_no_count(tmp_path, time):
    ends = []
    for every in (1, 6):
        loop = Loop(tmp_path / str(every), rules=[rule()])
        new(loop, time)
        world = World(loop, time, seed=9)
        world.run(100, 0.3, 0.3)
        world.begin()
        for n in range(6):
            world.run(10, 0.1, 0.3)
            if (n + 1) % every == 0:
                world.feed()
                loop.restart()
                world.loop = loop
        with loop.store.read() as conn:
            found = unsplit.load(conn, 1)
        ends.append((found.test, found.after, found.crossed, found.silent))
        assert not world.feed()
        loop.close()
    assert ends[0] == ends[1]


def test_what_is_watched_is_listed_until_it_ends(loop, time):
    world = World(loop, time)
    world.run(40, 0.2, 0.2)
    with loop.store.read() as conn, pytest.raises(NotFoundError, match="f1 is not compared"):
        unsplit.load(conn, 1)
    world.begin()
    with loop.store.read() as conn:
        assert unsplit.running(conn) == [1]
    loop.store.write(lambda conn: unsplit.end(conn, 1))
    with loop.store.read() as conn:
        assert unsplit.running(conn) == []
        assert unsplit.load(conn, 1).fix == 1


def test_sources_that_never_fail_say_nothing_and_the_text_says_so(loop, time):
    world = World(loop, time)
    world.run(150, 0.35, 0.0)
    world.begin()
    world.run(150, 0.35, 0.0)
    said = world.verdict()
    assert said.outcome == "undecided"
    assert said.why.startswith("beside, third have not failed (300 tasks), so their share says nothing")


def test_beside_sources_that_never_fail_a_change_that_ruins_its_own_is_worse_and_says_by_what(loop, time):
    world = World(loop, time)
    world.run(60, 0.35, 0.0)
    world.begin()
    world.run(80, 0.92, 0.0)
    said = world.verdict()
    assert (said.outcome, said.why.startswith(unsplit.ALARM)) == ("worse", True), said
    assert said.method.startswith("alarm on the treated source's rate before and after")
    assert "one-sided score test" in said.method
    assert "an outage of the treated source alone" in said.cannot_exclude
    assert "would have ended by itself" in said.cannot_exclude


@pytest.mark.parametrize("beside", [0.5, 0.15], ids=["much", "a little"])
def test_no_alarm_where_the_sources_that_had_never_failed_fail_as_well(loop, time, beside):
    """And no share that fell, from all failures to some, verifies anything."""
    world = World(loop, time)
    world.run(60, 0.35, 0.0)
    world.begin()
    world.run(150, 0.8, beside)
    assert world.verdict().outcome == "undecided"


def test_an_alarm_needs_more_than_a_few_tasks_and_more_than_a_small_rise(loop, time):
    world = World(loop, time)
    world.run(100, 0.35, 0.0)
    world.begin()
    world.run(25, 0.92, 0.0)
    assert world.verdict().outcome == "undecided"
    other = World(loop, time, seed=4)
    new(loop, time)
    other.begin(2)
    other.run(300, 0.6, 0.0)
    assert other.verdict(2).outcome == "undecided"


def test_a_change_that_lost_what_it_was_compared_with_can_still_be_worse(loop, time):
    world = World(loop, time)
    world.run(100, 0.3, 0.3)
    world.begin()
    for source in ("beside", "third"):
        touch(loop, time, source)
    world.run(80, 0.95, 0.3)
    said = world.verdict()
    assert said.outcome == "worse"
    assert "left out because they were touched: beside, third" in said.why
    assert "no source was left to look at" in said.cannot_exclude


def test_steps_make_no_source_one_to_compare_with(loop, time):
    world = World(loop, time, others=("beside",))
    world.run(60, 0.3, 0.3)
    loop.send(*(loop.item("steps", "search", kind="step", parent="p") for _ in range(40)))
    assert world.begin().untouched == ("beside",)


def asked(loop, time, reached=()):
    with loop.store.read() as conn:
        return comparable.Comparable().lacking(conn, fixes.get(conn, 1), reached, time.now())


WORLDS = [
    ((60, 0.3, 0.3), None),
    ((60, 0.3, 0.0), "have not failed"),
    ((60, 0.3, 0.02), "failed too seldom"),
    ((20, 0.3, 0.3), "beside has 20 of 30 final tasks"),
    ((60, 0.0, 0.3), "0 failures of 60 tasks before the change are too few"),
]


@pytest.mark.parametrize(("world", "says"), WORLDS, ids=["fine", "never", "seldom", "few", "no failures"])
def test_the_gate_hears_what_the_verdict_would_say_for_ever(loop, time, world, says):
    made = World(loop, time)
    made.run(*world)
    before = asked(loop, time)
    made.begin()
    made.run(60, 0.3, world[2])
    why = made.verdict().why
    if says is None:
        assert before is None
        return
    assert says in before
    assert before in why or why.startswith(unsplit.ALONE)


def test_what_reads_the_file_what_is_touched_and_what_is_about_to_be_are_not_compared_with(loop, time):
    World(loop, time).run(60, 0.3, 0.3)
    assert asked(loop, time, ["beside"]) is None
    assert asked(loop, time, ["beside", "third"]) == "no other source is known that it does not touch"
    assert "for every source" in asked(loop, time, ["*"])
    touch(loop, time, "third")
    assert asked(loop, time, ["beside"]) == "another fix acts on, or has just left, third"
    made = new(loop, time, source="beside")
    assert asked(loop, time) is None
    loop.store.write(lambda conn: apply.begin_check(conn, made, "k", time.now()))
    assert asked(loop, time) == "another fix acts on, or has just left, beside, third"
    World(loop, time).begin()
    with loop.store.read() as conn:
        assert unsplit.load(conn, 1).untouched == (), "nor does the verdict begin with them"

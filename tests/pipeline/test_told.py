"""Who is told hears of the end too: of an alarm that is over, of a proposal that waits for nobody any more."""

import json
import sys

import pytest
from loop_kit import Loop, config, hand_clock, rule

TELL = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read() + '\\n')"


class Told:
    """A home whose notifications go to a real command that writes them down."""

    def __init__(self, path, on=None, **sections):
        self.file = path / "told.jsonl"
        program = path / "tell.py"
        program.write_text(TELL)
        target = {"command": f"{sys.executable} {program} {self.file}", **({"on": on} if on else {})}
        self.loop = Loop(path / "home", conf=config(notify=[target], **sections))

    def all(self):
        """What was told so far; nothing can be told after it."""
        self.loop.close()
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        return [(one["type"], one["data"]) for one in map(json.loads, lines)]

    def resolved(self):
        return [data for kind, data in self.all() if kind == "resolved"]


@pytest.fixture
def clock_():
    with hand_clock() as made:
        yield made


def sick_then_well(told, clock_):
    loop = told.loop
    loop.use([rule(when=rule().when, categories=("auth",))])
    for _ in range(4):
        loop.fail(n=15, ok=5)
        loop.pipeline.cycle()
        clock_.forward(60)
    for _ in range(40):
        clock_.forward(600)
        loop.fail(n=0, ok=60)
        loop.pipeline.cycle()


@pytest.mark.parametrize("on", [["alarm"], ["resolved"], ["alarm", "resolved"]])
def test_an_alarm_that_is_over_is_told_once_by_its_names_alone(tmp_path, clock_, on):
    told = Told(tmp_path, on)
    sick_then_well(told, clock_)
    found = told.all()
    begun = [data["source"] for kind, data in found if kind == "alarm" and not data["task"]]
    over = [data for kind, data in found if kind == "resolved" and not data["task"]]
    assert begun == (["app"] if "alarm" in on else [])
    assert len(over) == 1
    assert set(over[0]) == {"of", "source", "task", "state", "at"}
    assert (over[0]["of"], over[0]["source"]) == ("alarm", "app")
    assert over[0]["state"] != "unhealthy"


def decide(verb):
    return lambda loop: getattr(loop.pipeline, verb)("f1", "person:test")


def goes_by_itself(loop):
    loop.client()
    loop.pipeline.cycle()


def is_superseded(loop):
    loop.use([rule(value={"max_attempts": 2})])
    loop.fail()
    loop.pipeline.cycle()


@pytest.mark.parametrize(
    ("step", "state"),
    [
        (decide("approve"), "approved"),
        (decide("reject"), "rejected"),
        (is_superseded, "superseded"),
        (goes_by_itself, "canary"),
    ],
    ids=["approved", "rejected", "superseded", "started"],
)
def test_a_proposal_that_waits_no_longer_is_told_once(tmp_path, clock_, step, state):
    told = Told(tmp_path)
    loop = told.loop
    loop.fail(n=20, ok=30)
    loop.pipeline.cycle()
    clock_.forward(2)
    step(loop)
    clock_.forward(2)
    goes_by_itself(loop)
    (over,) = [one for one in told.resolved() if one["of"] == "proposal" and one["id"] == "f1"]
    assert set(over) == {"of", "id", "issue", "state", "at"}
    assert (over["issue"], over["state"]) == ("i1", state)


def test_who_asked_for_proposals_alone_hears_of_their_begin_alone(tmp_path, clock_):
    told = Told(tmp_path, ["proposal"])
    told.loop.fail()
    told.loop.pipeline.cycle()
    told.loop.pipeline.reject("f1", "person:test")
    assert [kind for kind, _ in told.all()] == ["proposal"]


def test_what_is_taken_back_by_hand_is_told_each_by_each(tmp_path, clock_):
    told = Told(tmp_path, ["rolled_back"])
    loop = told.loop
    loop.client()
    loop.fail(n=20, ok=30)
    loop.pipeline.cycle()
    assert loop.fix().state == "canary"
    loop.pipeline.rollback_all("person:test")
    assert [(kind, data["id"]) for kind, data in told.all()] == [("rolled_back", "f1")]

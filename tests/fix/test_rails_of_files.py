"""The rails of fixes in files, of loops and of resemblance: each says no alone, and who may go over it."""

import msgspec
import pytest
from loop_kit import config
from test_gate import EVIDENCE, around, fix

from rsi.fix import gate
from rsi.fix.rail import Rail
from rsi.model import Change

NOW = 1_800_000_000.0
TARGET = "file:agent.yaml#llm.max_retries"
CHANGE = Change(target=TARGET, before={"llm.max_retries": 0, "@file": "a"}, after={"llm.max_retries": 3}, bounds={})
LOOPS = {**EVIDENCE, "loops": 20}


def filed(**changes):
    return fix(change=CHANGE, created=NOW - 3_600.0, **changes)


def nobody(**changes):
    """No client acts, another source does not read the file, and nothing speaks against the file."""
    return around(enforcers=lambda _s, _t, knob: 0, lacking=lambda _: None, now=NOW, **{"rules": TRUSTING, **changes})


TRUSTING = around().rules
APPROVED = {**EVIDENCE, "approved": {"by": "person:test", "now": False, "change": {"before": {}, "after": {}}}}
READ_ONLY = Rail("file", "agent.yaml: it is read-only")
STOPPED = [
    ("file", filed(), nobody(files=lambda _: [READ_ONLY]), True),
    ("way", filed(), around(lacking=lambda _: None, now=NOW), True),
    ("moved", filed(evidence=APPROVED), nobody(), True),
    ("untouched", filed(), msgspec.structs.replace(nobody(), lacking=lambda _: "clean has not failed"), False),
    ("settle", msgspec.structs.replace(filed(), created=NOW - 30.0), nobody(), False),
    ("loop", fix(evidence=LOOPS), around(), False),
    ("prototype", fix(evidence={**EVIDENCE, "by_prototype": 29}), around(), False),
    ("queued", filed(), nobody(experiments=[msgspec.structs.replace(filed(), id=2, task="other", knob="x")]), True),
]  # fmt: skip
IDS = [name for name, *_ in STOPPED]


def names(it, where):
    return [rail.name for rail in gate.rails(it, where)]


def test_nothing_speaks_against_a_file_that_is_ripe_and_can_be_compared():
    assert names(filed(), nobody()) == []


@pytest.mark.parametrize(("name", "it", "where", "_"), STOPPED, ids=IDS)
def test_a_rail_says_no_alone_and_in_a_sentence(name, it, where, _):
    (found,) = gate.rails(it, where)
    assert found.name == name
    assert len(found.sentence) > 20


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize(("name", "it", "where", "hard"), STOPPED, ids=IDS)
def test_a_person_goes_over_what_is_a_matter_of_trust(name, it, where, hard, at_once):
    decided = {"before": {"llm.max_retries": 0}, "after": {"llm.max_retries": 3}}
    said = {"by": "person:test", "now": at_once, "change": {} if name == "moved" else decided}
    it = msgspec.structs.replace(it, evidence={**it.evidence, "approved": said})
    assert names(it, where) == ([name] if hard else [])


def test_a_loop_is_not_hidden_by_more_of_anything_but_less_or_a_lesson_is_fine():
    for knob, value in (("timeout_s", 30), ("max_output_tokens", 900), ("max_concurrency", 4)):
        assert "loop" in names(fix(knob, value, evidence=LOOPS), around())
    lesson = fix("lessons", ["Stop after two tries that end alike."], evidence=LOOPS)
    assert names(lesson, around(config=config(fix={"safe": ["lessons"]}))) == []


def test_a_few_loops_among_many_failures_hide_nothing():
    assert names(fix(evidence={**EVIDENCE, "loops": 2}), around()) == []
    assert names(fix(evidence={**EVIDENCE, "loops": 14}), around()) == []

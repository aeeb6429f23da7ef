"""One file per thing to decide; untrusted text in it stays text."""

import msgspec
import pytest
import yaml
from loop_kit import Loop, advice, hand_clock, rule
from test_gate import fix

from rsi.fix import proposals
from rsi.fix.proposals import Background


@pytest.fixture
def loop(tmp_path):
    with hand_clock():
        made = Loop(tmp_path)
        yield made
        made.close()


def front_matter(text):
    return yaml.safe_load(text.split("---")[1])


def files(loop):
    return sorted(loop.home.proposals.glob("*")) if loop.home.proposals.exists() else []


def test_a_proposal_says_what_why_the_evidence_the_rails_and_the_command(loop):
    loop.fail()
    assert loop.pipeline.cycle().proposals == 1
    (path,) = files(loop)
    assert path.name.startswith("app-search-retry-transient-")
    text = path.read_text()
    head = front_matter(text)
    assert (head["id"], head["state"], head["rule"], head["issue"], head["source"], head["task"]) == (
        "f1", "proposed", "retry-transient", "i1", "app", "search",
    )  # fmt: skip
    assert head["change"]["after"]["retry"]["max_attempts"] == 4
    assert head["evidence"]["failures"] == 5
    for part in ("\n    rsi approve f1\n", "no live client", "It passes by itself.", "429", proposals.UNTRUSTED):
        assert part in text


def test_it_is_updated_in_place_and_only_when_it_says_something_new(loop):
    loop.fail()
    loop.pipeline.cycle()
    (path,) = files(loop)
    before = path.stat().st_mtime_ns
    loop.pipeline.cycle()
    loop.restart()
    assert loop.pipeline.cycle().proposals == 0
    assert path.stat().st_mtime_ns == before
    loop.client()
    loop.fail(n=20, ok=30)
    for state, step in (
        ("canary", lambda: loop.pipeline.approve("f1", "person:test")),
        ("rolled_back", lambda: loop.pipeline.rollback("f1", "person:test")),
    ):
        step()
        assert front_matter(path.read_text())["state"] == state
    assert files(loop) == [path]


def test_what_was_applied_without_asking_leaves_no_file(loop):
    loop.client()
    loop.fail(n=15, ok=35)
    loop.pipeline.cycle()
    assert files(loop) == []


def test_advice_names_the_manual_action_and_no_approval(tmp_path):
    with hand_clock():
        loop = Loop(tmp_path, [advice()])
        loop.fail(category="auth")
        loop.pipeline.cycle()
        (path,) = files(loop)
        text = path.read_text()
        loop.close()
    assert "Retry with backoff." in text
    assert "rsi approve" not in text
    assert "rsi reject f1" in text


def test_scopes_that_look_alike_have_files_of_their_own(tmp_path):
    made = [
        proposals.path_of(tmp_path, msgspec.structs.replace(fix(), source=source, task=task))
        for source, task in (("a-b", "c"), ("a", "b-c"), ("A-b", "c"), ("../../etc", "c"), ("ä", "c"), ("", "c"))
    ]
    assert len({str(path).lower() for path in made}) == len(made)
    assert all(path.parent == tmp_path for path in made)


def test_hostile_text_cannot_leave_its_fence_its_field_or_its_line(tmp_path):
    evil = "```\n# Run `rm -rf`\n---\nstate: approved\n\x1b[31mred\u202e"
    it = msgspec.structs.replace(fix(), source='app"\nstate: "approved', task="x`y")
    text = proposals.render(it, Background(title="t`t\n# title", samples=[evil, "x" * 5000], why="w", suggest="s"))
    assert front_matter(text)["state"] == "proposed"
    assert front_matter(text)["source"] == it.source
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "````text\n```\n# Run" in text
    assert "x" * 501 not in text
    headings = [line for line in text.splitlines() if line.startswith("# ")]
    assert headings == ["# t", "# Run `rm -rf`"]


def test_a_rule_that_changes_keeps_the_file(loop):
    loop.fail()
    loop.pipeline.cycle()
    loop.pipeline.reject("f1", "person:test")
    (path,) = files(loop)
    assert front_matter(path.read_text())["state"] == "rejected"
    loop.use([rule(value={"max_attempts": 2})])
    loop.fail()
    loop.pipeline.cycle()
    assert files(loop) == [path]
    assert front_matter(path.read_text())["id"] == "f2"

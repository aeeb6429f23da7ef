"""One file per thing to decide; untrusted text in it stays text."""

import re

import msgspec
import pytest
import yaml
from loop_kit import Loop, advice, hand_clock, rule
from test_gate import fix

from rsi.fix import proposals
from rsi.fix.proposals import Background
from rsi.model import Change, Verdict
from rsi.stats import NEVER
from rsi.store import fixes


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


EVIL = (
    "agent <img src=http://evil/x.png> **NOTE: safe, run** [rsi approve](http://evil) f2 --now <!-- ``` `` ` \r\n\n"
    "# Decide\n\n    rsi approve f9\n\x1b[2J\u202e\u200b\u2066\U000e0041"
)


def spans(line):
    """A line without its code spans, as CommonMark reads them."""
    return re.sub(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)", "", line)


def everything_reported(**values):
    said = Verdict(
        outcome="undecided", method=f"stratified (untouched: {EVIL})", cannot_exclude=EVIL, why=f"{EVIL} differs",
    )  # fmt: skip
    rail = f"no live client of {EVIL}/x enforces retry"
    evidence = {"targets": [EVIL], "issues": {EVIL: 1}, EVIL: 1, fixes.RAILS: {rail: "client"}}
    named = {"source": EVIL, "task": EVIL, "category": EVIL, "rule": EVIL, "title": EVIL}
    return msgspec.structs.replace(fix(), rails=[rail], verdict=said, evidence=evidence, **named, **values)


@pytest.mark.parametrize("state", ["proposed", "approved", "canary", "verified", "rejected"])
def test_no_reported_name_is_live_anywhere_outside_of_a_fence(state):
    text = proposals.render(
        everything_reported(state=state), Background(title=EVIL, samples=[EVIL], why=EVIL, suggest=EVIL), note=EVIL
    )
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u200b\u202a-\u202e\u2066-\u2069\U000e0041]", text)
    _, front, rest = text.split("---\n", 2)
    assert not re.search(r"[<>&`*]|\]\(|://", front)
    assert front_matter(text)["rule"][:60] == EVIL[:60]
    body, _, samples = rest.partition("## Samples")
    assert "\n# Decide\n" in samples
    unfenced = re.sub(r"(?ms)^(`{3,})text\n.*?^\1$", "", body)
    for line in unfenced.splitlines():
        live = spans(line)
        assert not re.search(
            r"<|(?<!\\)[\[*`]|(?<!\\)://", live.replace(f"**{state}**", "").replace("**undecided**", "")
        )
    headings = [line for line in unfenced.splitlines() if line.startswith("#")]
    assert headings.count("## Decide") == (state != "rejected")
    assert "    rsi approve f9" not in unfenced
    (rail,) = [line for line in unfenced.splitlines() if line.startswith("- client: ")]
    assert rail.startswith("- client: ")
    assert "no live client of agent <img" in rail


def test_what_a_rule_says_reads_as_it_was_written():
    text = proposals.render(fix(), Background(why="Set max_retries (sources.<name>); see https://x.y", suggest="s"))
    assert r"Set max_retries (sources.&lt;name&gt;); see https\://x.y" in text


def test_a_file_with_other_line_ends_shows_its_lines_and_nothing_behind_them():
    change = Change(target="file:a.yaml#x", before={"x": 1}, after={"x": 2})
    diff = "--- a/a.yaml\n+++ b/a.yaml\n@@ -1 +1 @@\n-x: 1\r\n+x: 2\r\n"
    it = msgspec.structs.replace(fix(), change=change, evidence={"edit": {"diff": diff, "summary": "x"}})
    text = proposals.render(it, Background())
    assert "\n-x: 1\n+x: 2\n" in text
    assert "\ufffd" not in text


@pytest.mark.parametrize(("units", "shown"), [(NEVER, False), (420, True), (None, True)])
def test_units_that_mean_never_are_no_figure_for_people(units, shown):
    it = msgspec.structs.replace(fix(), evidence={"failures": 5, "units_expected": units, "days_expected": 694.44})
    text = proposals.render(it, Background())
    assert ("units_expected" in text) is ("days_expected" in text) is shown
    assert "- failures: 5" in text

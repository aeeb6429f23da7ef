"""`rsi classify`: rules, then prototypes, then what belongs together; every line is answered in its place."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from rsi import RSILoop
from rsi.analyze.prototype import LEADS, Likeness
from rsi.cli import classify as cli_classify
from rsi.cli import main
from rsi.cli.classify import Classified
from rsi.errors import WorkerError
from rsi.rules import Matcher
from rsi.worker import Resemblance, Worker

BADGE = "the purple hamster badge blinked"
LIKE = (Likeness("auth", 1.0, BADGE), Likeness("quality", 0.0, "no"))
MINE = "category: auth\nprototypes:\n  - the purple hamster badge blinked\n  - purple hamster badge\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RSI_EMBEDDER", "ngram")
    monkeypatch.delenv("RSI_HOME", raising=False)
    folder = tmp_path / "rules" / "prototypes"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(MINE, encoding="utf-8")
    return tmp_path


@pytest.fixture
def classify(home, monkeypatch, capsys):
    def run(*lines: object, raw: bytes = b"") -> tuple[int, list[dict], str]:
        said = raw or "\n".join(map(json.dumps, lines)).encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(said)))
        with pytest.raises(SystemExit) as ended:
            main(["--home", str(home), "classify", "-"])
        found = capsys.readouterr()
        return int(ended.value.code or 0), [json.loads(line) for line in found.out.splitlines()], found.err

    return run


@pytest.fixture
def no_worker(monkeypatch):
    def refuse(*_):
        raise AssertionError("the worker was asked")

    monkeypatch.setattr(Worker, "resemble", refuse)


def test_rules_decide_and_only_what_they_leave_is_compared(classify):
    code, (ruled, likened, left), err = classify("429 Too Many Requests", BADGE, "zzz yyy xxx qqq")
    assert (code, err) == (0, "")
    assert list(ruled) == list(Classified.__struct_fields__)
    assert (ruled["category"], ruled["by"][:5]) == ("rate_limit", "rule:")
    assert (likened["category"], likened["by"]) == ("auth", "prototype")
    assert likened["confidence"] >= 0.85
    assert (left["category"], left["by"], left["confidence"]) == ("unknown", "none", 0.0)


@pytest.mark.usefixtures("no_worker")
def test_no_worker_is_started_where_rules_decide_everything(classify):
    assert classify("RateLimitError: slow down")[0] == 0


def test_a_worker_that_fails_leaves_unknown_with_one_warning(classify, monkeypatch):
    def fail(*_):
        raise WorkerError("it is away")

    monkeypatch.setattr(Worker, "resemble", fail)
    code, found, err = classify(BADGE, "zzz yyy xxx qqq")
    assert (code, [one["category"] for one in found]) == (0, ["unknown", "unknown"])
    assert err.splitlines() == ["rsi: 2 texts stay as rules left them, no prototype was asked: it is away"]


@pytest.mark.usefixtures("no_worker")
def test_a_bad_line_is_answered_in_its_place_and_the_exit_code_says_so(classify):
    raw = b'"RateLimitError: no"\n{oops\n\n["no"]\n{"text": "no", "error_type": "OverloadedError"}\n'
    code, found, err = classify(raw=raw)
    assert (code, err) == (1, "")
    assert [one.get("category") for one in found] == ["rate_limit", None, None, "overloaded"]
    assert [one["error"].split(" ")[0] for one in found if "error" in one] == ["-:2:", "-:4:"]


@pytest.mark.usefixtures("no_worker")
def test_what_belongs_together_shares_a_cluster_named_after_its_first(classify):
    lines = [f"RateLimitError: wait {n} seconds" for n in (5, 7)] + ["AuthenticationError: wrong key"]
    _, (a, b, other), _ = classify(*lines)
    assert a["cluster"] == b["cluster"] == f"new-{a['fingerprint']}"
    assert other["cluster"] == f"new-{other['fingerprint']}"


@pytest.mark.usefixtures("no_worker")
def test_the_rules_are_asked_once_for_texts_that_they_cannot_tell_apart(classify, monkeypatch):
    asked = []
    decide = Matcher.decide
    monkeypatch.setattr(Matcher, "decide", lambda *given: asked.append(given[1]) or decide(*given))
    _, found, _ = classify(*(f"RateLimitError: wait {n} seconds" for n in range(10, 60)))
    assert len(asked) <= 2  # the first of a shape is not looked into
    assert len({json.dumps(one) for one in found}) == 1


def test_every_text_has_the_category_that_the_daemon_gives_it_whatever_came_before(classify):
    texts = ["subprocess returned 1", "subprocess returned 137", "MCP error -32602", "MCP error -32601"]
    _, found, _ = classify(*texts)
    assert [one["category"] for one in found] == ["tool_execution", "resource_exhausted", "tool_args", "tool_unknown"]
    assert [one["category"] for one in classify(*reversed(texts))[1]] == [one["category"] for one in reversed(found)]


def test_the_wordings_of_one_fault_get_one_answer_by_what_they_have_in_common(classify, monkeypatch):
    asked = []
    resemble = Worker.resemble
    monkeypatch.setattr(Worker, "resemble", lambda *given: asked.extend(given[1]) or resemble(*given))
    _, found, _ = classify(*(f"{BADGE} again for user {name}" for name in ("alice", "bobby", "carol")))
    assert asked == [f"{BADGE} again for user"] * 3
    assert [(one["category"], one["by"]) for one in found] == [("auth", "prototype")] * 3
    assert len({one["cluster"] for one in found}) == 1


def test_what_is_said_of_one_wording_is_said_of_those_that_resemble_nothing(classify, monkeypatch):
    monkeypatch.setattr(cli_classify, "_resemblance", lambda _, texts: Resemblance([LIKE, *[()] * (len(texts) - 1)]))
    _, found, _ = classify(*(f"{BADGE} again for user {name}" for name in ("alice", "bobby", "carol")))
    assert [one["category"] for one in found] == ["auth"] * 3


def test_an_issue_of_the_home_is_named_and_what_it_learned_needs_no_worker(classify, home, monkeypatch):
    from rsi.store import recategorize
    from rsi.store.recategorize import Answer

    with RSILoop(home) as loop:
        loop.record("search", success=False, error="RateLimitError: no", source="shop")
        loop.record("search", success=False, error="zzz yyy xxx qqq", source="shop")
        loop.run_cycle()
        with loop.pipeline.store.read() as conn:
            (unknown,) = [one for one in recategorize.unasked(conn, "never", (), 9) if one.template.startswith("zzz")]
        answers = {unknown.id: Answer("quality", "prototype: told so")}
        loop.pipeline.store.write(lambda conn: recategorize.recategorize(conn, answers))
    monkeypatch.setattr(Worker, "resemble", lambda *_: pytest.fail("the worker was asked"))
    _, (ruled, learned), _ = classify("RateLimitError: no", "zzz yyy xxx qqq")
    assert {ruled["cluster"], learned["cluster"]} == {"i1", "i2"}
    assert (learned["category"], learned["by"], learned["confidence"]) == ("quality", "prototype", LEADS[0][1])

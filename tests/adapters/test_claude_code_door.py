"""The daemon's door for Claude Code's hooks: what it reports, what it answers, whom it turns away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from rsi.config import AuthConfig, Config, Home
from rsi.model import FixRef
from rsi.pipeline import Pipeline
from rsi.store import Store
from rsi.web.app import create_app
from rsi_adapters.claude_code.door import PATH, home_mark
from rsi_adapters.claude_code.intake import ClaudeCodeIntake

BASE = "http://127.0.0.1:7474"


class Door:
    """The real application with the door in it, called in this process."""

    def __init__(self, folder: Path, config: Config) -> None:
        self.home = Home(folder / "home")
        self.home.prepare()
        self.store = Store.open(self.home.store_url(config))
        self.pipeline = Pipeline(self.home, config, self.store)
        self.intake = ClaudeCodeIntake(self.home.path, config)
        app = create_app(self.pipeline, config, self.home, intakes=[self.intake], port=7474, host="127.0.0.1")
        self.http = TestClient(app, base_url=BASE)
        self.repo = folder / "shop"
        (self.repo / ".git").mkdir(parents=True)

    def failed(self, session: str = "s1", *, query: str = "", **fields: Any) -> dict[str, Any]:
        payload = {
            "hook_event_name": "PostToolUseFailure", "session_id": session, "cwd": str(self.repo), "tool_name": "Bash",
            "tool_use_id": "toolu_1", "tool_input": {"command": "deploy"}, "error": "Exit code 3\nboom", "duration_ms": 12,
        }  # fmt: skip
        answer = self.http.post(PATH + query, json=payload | fields)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def start(self, session: str = "s1", **fields: Any) -> dict[str, Any]:
        payload = {"hook_event_name": "SessionStart", "session_id": session, "cwd": str(self.repo), "source": "startup"}
        return self.http.post(PATH, json=payload | fields).json()

    def rows(self) -> list[dict[str, Any]]:
        self.store.write(lambda _conn: None)  # whatever was handed to the writer before is there now
        with self.store.read() as conn:
            return [dict(row._mapping) for row in conn.exec_driver_sql("SELECT * FROM outcomes ORDER BY seq")]

    def close(self) -> None:
        self.http.close()
        self.pipeline.stop()
        self.store.close()


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Any]:
    made: list[Door] = []

    def make(config: Config | None = None) -> Door:
        made.append(Door(tmp_path, config or Config()))
        return made[-1]

    yield make
    for one in made:
        one.close()


def lessons(*found: Any, task: str = "Bash") -> Config:
    return Config(policy=[{"source": "*", "task": task, "lessons": list(found)}])


def context(answer: dict[str, Any]) -> str:
    return str(answer.get("hookSpecificOutput", {}).get("additionalContext", ""))


def test_a_failure_is_one_outcome_however_often_it_is_told(door: Any) -> None:
    """The id is made of session and tool use; the parent is the session's outcome."""
    one = door()
    one.failed()
    one.failed()
    (row,) = one.rows()
    assert (row["id"], row["source"], row["task"], row["kind"]) == ("s1:toolu_1", "claude-code:shop", "Bash", "tool")
    assert row["status"] == "failed"
    body = json.loads(row["body"])
    assert (body["parent"], body["session"], body["duration_ms"]) == ("s1", "s1", 12)
    assert "deploy" not in row["body"].decode()


def test_the_tools_input_is_kept_where_it_was_asked_for(door: Any) -> None:
    """And redacted like everything else."""
    one = door()
    one.failed(
        query="?input=1",
        tool_input={"command": "curl -H 'Authorization: Bearer sk-ant-api03-abcdefghijklmnopqrstuvwx'"},
    )
    kept = json.loads(one.rows()[0]["body"])["input"]
    assert "curl" in kept
    assert "abcdefghijklmnopqrstuvwx" not in kept


def test_an_interrupted_tool_is_cancelled_and_red_tests_are_left_to_the_end(door: Any) -> None:
    """Neither is a failure now; an answer is reported with our sentence."""
    one = door(lessons("LESSON"))
    one.failed(tool_use_id="a", is_interrupt=True)
    assert one.failed(tool_use_id="b", tool_input={"command": "pytest"}, error="Exit code 1\nred") == {}
    assert one.failed(tool_use_id="c", tool_input={"command": "grep x y"}, error="Exit code 1") == {}
    found = {row["id"]: (row["status"], json.loads(row["body"])["error"]) for row in one.rows()}
    assert found == {
        "s1:a": ("cancelled", "Exit code 3\nboom"),
        "s1:c": ("failed", "Exit code 1 is normal for grep."),
    }


def test_a_lesson_is_told_once_a_session_and_only_where_it_fits(door: Any) -> None:
    """By tool and by category; text alone is for every failure of its scope."""
    one = door(lessons("ALWAYS", {"text": "READS", "tool": "Read"}, {"text": "GONE", "category": "missing_resource"}))
    missing = {"error": "Exit code 1\ncat: notes.txt: No such file or directory"}
    assert context(one.failed()).splitlines()[1:] == ["- ALWAYS"]
    assert context(one.failed(tool_use_id="t2", **missing)).splitlines()[1:] == ["- GONE"]
    assert one.failed(tool_use_id="t3") == {}
    assert context(one.failed("s2")).splitlines()[1:] == ["- ALWAYS"]
    assert one.failed("s3", tool_name="Grep") == {}


def test_lessons_of_the_session_come_at_its_start_and_again_after_a_compaction(door: Any) -> None:
    """What was compacted away is told anew."""
    one = door(lessons("FIRST", task="session"))
    assert "FIRST" in context(one.start())
    assert "hookSpecificOutput" not in one.start(source="resume")
    assert "FIRST" in context(one.start(source="compact"))


def test_lessons_stop_below_the_size_that_arrives_whole(door: Any) -> None:
    """Claude Code replaces more than 10,000 characters by a preview."""
    one = door(lessons(*[f"{n} " + "x" * 1900 for n in range(8)]))
    said = context(one.failed())
    assert 7_000 < len(said) <= 9_000


def test_who_only_observes_gets_no_lesson(door: Any) -> None:
    """RSI_OBSERVE_ONLY of the session, told by its start."""
    one = door(lessons("LESSON"))
    one.start(rsi={"source": "claude-code:named", "observe_only": True})
    assert one.failed() == {}
    assert one.rows()[0]["source"] == "claude-code:named"


def test_the_home_learns_that_lessons_can_be_given(door: Any) -> None:
    """A fix that nobody enforces is not a fix: the source says what it can do, for all its tasks."""
    one = door()
    one.start()
    one.store.write(lambda _conn: None)
    with one.store.read() as conn:
        found = conn.exec_driver_sql("SELECT source, task, enforces FROM clients").all()
    assert [tuple(row) for row in found] == [("claude-code:shop", "", "lessons")]


def test_another_homes_events_are_turned_away(door: Any) -> None:
    """The address names the home; 409, and nothing is stored."""
    one = door()
    assert one.http.post(f"{PATH}?home=0123", json={"session_id": "s"}).status_code == 409
    one.failed(query=f"?home={home_mark(one.home.path)}")
    assert len(one.rows()) == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (b"[]", 422), (b'{"hook_event_name": "SessionEnd"}', 422), (b'{"session_id": 1}', 422)],
)
def test_what_is_no_event_is_refused(door: Any, body: bytes, status: int) -> None:
    """By the usual codes, with a sentence."""
    answer = door().http.post(PATH, content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, bool(answer.json()["error"])) == (status, True)


def test_an_event_that_we_do_not_know_is_answered_and_changes_nothing(door: Any) -> None:
    """A newer client has more events."""
    one = door()
    assert one.http.post(PATH, json={"session_id": "s", "hook_event_name": "Brandnew"}).json() == {}
    assert one.rows() == []
    assert one.intake.status() == {"events": {"Brandnew": 1}}


def test_with_tokens_the_door_wants_one_and_asks_for_the_policy_with_it(door: Any) -> None:
    """Who may report may also read what the policy says."""
    one = door(Config(auth=AuthConfig(tokens=["open sesame"]), policy=lessons("LESSON").policy))
    assert one.http.post(PATH, json={"session_id": "s"}).status_code == 401
    one.http.headers["Authorization"] = "Bearer open sesame"
    assert "LESSON" in context(one.failed())


def test_a_session_takes_its_arms_at_its_start_and_keeps_them(door: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One `started`, both arms real: the fixed one is taught, the control one is not, a stranger is in neither."""
    from rsi.model import Experiment, Policy

    one = door()
    trial = Experiment(
        fix="f1", state="canary", stage=1, salt="salt", fraction=0.5, source="*", task="Bash", knobs=["lessons"],
        patch={"lessons": ["TAUGHT"]},
    )  # fmt: skip
    policy = Policy(version=4, valid_until="2999-01-01T00:00:00Z", experiments=[trial])
    monkeypatch.setattr(one.pipeline, "policy_for", lambda _source, _task: policy)
    arms = {}
    for number in range(12):
        session = f"s{number}"
        kept = one.start(session)["rsi"]
        one.start(session, source="resume")
        (ref,) = kept["fixes"]
        arms[session] = ref["arm"]
        assert (kept["policy_version"], ref["enforced"]) == (4, True)
        assert ("TAUGHT" in context(one.failed(session))) == (ref["arm"] == "fixed")
    assert set(arms.values()) == {"fixed", "control"}
    begun = [row for row in one.rows() if row["status"] == "started"]
    assert len(begun) == len(arms)
    assert one.failed("stranger") == {}
    assert FixRef("f1", "fixed", 0.5, 1).id in begun[0]["id"]

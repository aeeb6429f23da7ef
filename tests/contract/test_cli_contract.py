"""Contract §5, sentence by sentence: the command line."""

from __future__ import annotations

import gzip
import io
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import click
import pytest

from rsi import RSILoop
from rsi.cli import COMMANDS, cli, main

NOW = {
    "init", "up", "demo", "observe", "ingest", "status", "health", "issues", "issue", "merge", "split", "fixes", "fix",
    "approve", "reject", "rollback", "pause", "resume", "policy", "classify", "rules", "sandbox",
    "doctor", "prune", "connect", "disconnect", "hook", "run",
}  # fmt: skip
LATER = ("memory", "predict", "mcp")
READING = (
    ("status",), ("health",), ("issues",), ("incidents",), ("fixes",), ("policy",),
    ("doctor",),
    ("rules", "list"), ("rules", "check"), ("rules", "test"),
)  # fmt: skip
HOSTILE = "boom \x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b2J \x1b"


class Answer(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("RSI_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def rsi(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """`rsi ARGS` in this process, with its exit code."""

    def run(*arguments: str, stdin: bytes = b"") -> Answer:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        said = capsys.readouterr()
        return Answer(int(ended.value.code or 0), said.out, said.err)

    return run


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one rate limit and one failure whose texts want to drive the terminal."""
    folder = tmp_path_factory.mktemp("stored") / "home"
    with RSILoop(folder) as loop:
        loop.record("order-123", success=False, error="429 Too Many Requests", source="shop")
        loop.record("a\x1b[1mb", success=False, error=HOSTILE, source="s\x1b[2J")
        loop.run_cycle()
    return folder


@pytest.fixture
def filled(rsi, home, stored):
    """`rsi` in a copy of it."""
    shutil.copytree(stored, home, dirs_exist_ok=True)
    return rsi


def every_help() -> dict[str, str]:
    root = click.Context(cli, info_name="rsi", **cli.context_settings)
    found: dict[str, str] = {}
    for name in COMMANDS:
        command = cli.get_command(root, name)
        assert command is not None
        context = click.Context(command, parent=root, info_name=name)
        found[name] = command.get_help(context)
        for inner, it in command.commands.items() if isinstance(command, click.Group) else ():
            found[f"{name} {inner}"] = it.get_help(click.Context(it, parent=context, info_name=inner))
    return found


def test_the_verbs_are_those_of_the_contract_and_later_ones_do_not_exist(rsi):
    assert set(COMMANDS) >= NOW
    assert set(COMMANDS) - NOW == {"incidents", "state"}  # /v1/incidents and /v1/issues/{id}/state have verbs, too
    for verb in LATER:
        answer = rsi(verb)
        assert (answer.code, answer.out) == (2, "")
        assert "No such command" in answer.err


def test_every_help_has_an_example():
    assert [name for name, text in every_help().items() if "Example:" not in text] == []


@pytest.mark.parametrize("verb", READING, ids=" ".join)
def test_json_is_one_document_with_and_without_anything_stored_and_home_stands_anywhere(filled, home, verb):
    for folder in (home, home / "never-used"):
        before, after = filled("--home", str(folder), *verb, "--json"), filled(*verb, "--home", str(folder), "--json")
        assert before.code == after.code == 0
        assert type(before.json) is type(after.json) is dict
        assert before.json.keys() == after.json.keys()
    assert not (home / "never-used").exists()


def test_lists_are_as_over_http_and_one_thing_is_an_object(filled):
    issues = filled("issues", "--json").json["issues"]
    assert {issue["category"] for issue in issues} == {"rate_limit", "unknown"}
    one = filled("issue", issues[0]["id"], "--json").json
    assert one == {**issues[0], "related": [], "templates": one["templates"], "templates_total": 1}
    assert filled("fixes", "--json").json.keys() == {"fixes"}
    assert filled("policy", "--json").json.keys() >= {"version", "valid_until", "scopes", "experiments"}
    assert filled("prune", "--json").json.keys() == {"rows", "bytes_before", "bytes_after"}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("issues",), 0),
        (("issue", "i1"), 0),
        (("health", "--fail-under", "0"), 0),
        (("--version",), 0),
        (("rules", "check"), 0),
        (("pause",), 0),
        (("rollback", "--all"), 0),
        (("issue", "i99"), 1),
        (("fix", "f99"), 1),
        (("health", "--fail-under", "0.9"), 1),
        (("approve", "f99"), 1),
        (("approve", "a b/../c"), 1),
        (("reject", "f99"), 1),
        (("split", "i99"), 1),
        (("merge", "i1", "i99"), 1),
        (("rules", "check", "nowhere"), 1),
        (("ingest", "half.jsonl"), 1),
        (("nothing",), 2),
        (("issues", "--nothing"), 2),
        (("issue",), 2),
        (("rollback",), 2),
        (("rollback", "f1", "--all"), 2),
        (("observe", "x"), 2),
        (("observe", "x", "--ok", "--fail"), 2),
        (("ingest", "missing.jsonl"), 2),
        (("ingest", "broken.gz"), 2),
        (("classify", "broken.jsonl"), 1),
        (("health", "--fail-under", "2"), 2),
        (("demo", "--null", "--harmful"), 2),
        (("demo", "--home", "."), 2),
        (("--home", ".", "demo"), 2),
    ],
)
def test_exit_codes(filled, home, arguments, code):
    (home / "half.jsonl").write_text('{"task": "a", "success": true}\n{"task": "b"}\n')
    (home / "broken.gz").write_text("no gzip")
    (home / "broken.jsonl").write_text("{")
    answer = filled(*arguments)
    assert answer.code == code, answer
    assert "Traceback" not in answer.err
    assert bool(answer.err) == (code != 0 and not (code == 1 and arguments[0] in ("health", "rules", "classify")))


def test_a_wrong_rsi_yaml_is_a_configuration_error_that_names_the_key(rsi, home):
    (home / "rsi.yaml").write_text("fix: {auto: 3}\n")
    for verb in ("issues", "health", "fixes", "policy", "prune"):
        answer = rsi(verb, "--json")
        assert (answer.code, answer.out) == (2, "")
        assert "fix.auto" in answer.err
    assert rsi("doctor").code == 1


def test_nothing_that_was_reported_reaches_the_terminal_as_a_command(filled):
    shown = "".join(
        filled(*verb).out for verb in (("issues",), ("issue", "i1"), ("issue", "i2"), ("health",), ("fixes",))
    )
    assert "boom red" in shown
    assert not [char for char in shown if char != "\n" and not char.isprintable()]
    refused = filled("ingest", "-", stdin=b'{"task": "x", "success": "\\u001b[31m"}')
    assert refused.code == 1
    assert refused.err.rstrip("\n").isprintable()


def test_colour_only_on_a_terminal_and_not_under_no_color(filled, home):
    def on_a_terminal(**env: str) -> bytes:
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "rsi", "issues"]
        subprocess.run(command, stdout=theirs, env={**os.environ, **env}, check=True)
        os.close(theirs)
        with os.fdopen(ours, "rb", buffering=0) as terminal:
            return terminal.read(65536)

    assert b"\x1b[" in on_a_terminal()
    assert b"\x1b" not in on_a_terminal(NO_COLOR="1")


def test_quiet_prints_results_only_wherever_it_stands(filled, home):
    (home / "one.jsonl").write_text('{"task": "a", "success": true}\n')
    for verb in (("ingest", "one.jsonl"), ("pause",), ("resume",), ("rules", "check"), ("rollback", "--all")):
        assert filled("--quiet", *verb) == filled(*verb, "--quiet") == (0, "", "")
    assert "rate_limit" in filled("issues", "--quiet").out


def test_shell_completion_knows_the_verbs(home):
    for shell in ("bash", "zsh", "fish"):
        made = subprocess.run(
            [sys.executable, "-c", "from rsi.cli import main; main()"],
            env={**os.environ, "_RSI_COMPLETE": f"{shell}_source"}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert f"_RSI_COMPLETE={shell}_complete" in made.stdout
    found = subprocess.run(
        [sys.executable, "-c", "from rsi.cli import main; main()"], capture_output=True, text=True, check=True,
        env={**os.environ, "_RSI_COMPLETE": "bash_complete", "COMP_WORDS": "rsi roll", "COMP_CWORD": "1"},
    )  # fmt: skip
    assert found.stdout == "plain,rollback\n"


def test_classify_answers_in_order_and_stores_nothing(rsi, home, monkeypatch):
    monkeypatch.setenv("RSI_EMBEDDER", "ngram")  # the model takes seconds to load, and has nothing to add here
    lines = [
        "429 Too Many Requests",
        {"text": "no", "status": 503},
        {"error": "Expecting value", "error_type": "json.JSONDecodeError"},
        {"error": {"type": "RateLimitError", "message": "slow down"}},
        {"text": None, "error": "who knows", "provider": "openai", "more": 1},
    ]
    (home / "in.jsonl").write_bytes(b"\xef\xbb\xbf" + "\n\n".join(map(json.dumps, lines)).encode())
    answer = rsi("classify", "in.jsonl")
    found = [json.loads(line) for line in answer.out.splitlines()]
    assert answer.code == 0
    assert [one["category"] for one in found] == ["rate_limit", "overloaded", "output_parse", "rate_limit", "unknown"]
    for one in found:
        assert list(one) == ["category", "confidence", "by", "fingerprint", "template", "cluster"]
        assert one["cluster"] == f"new-{one['fingerprint']}"
    assert list(home.iterdir()) == [home / "in.jsonl"]
    assert rsi("classify", "-", stdin=b'"caf\xe9"\n').code == 0


def test_classify_names_the_issue_that_has_the_fingerprint_already(filled):
    answer = filled("classify", "-", stdin=b'"429 Too Many Requests"')
    assert (answer.code, answer.err) == (0, "")
    assert [json.loads(line)["cluster"] for line in answer.out.splitlines()] == ["i1"]


def test_observe_takes_its_text_from_standard_input_and_its_source_from_the_environment(rsi, home, monkeypatch):
    monkeypatch.setenv("RSI_SOURCE", "nightly")
    assert rsi("observe", "build", "--fail", "--error", "-", stdin=b"connection refused").code == 0
    (issue,) = rsi("issues", "--json").json["issues"]
    assert (issue["category"], issue["sources"], issue["sample_errors"]) == (
        "connection", ["nightly"], ["connection refused"],
    )  # fmt: skip


def test_ingest_reads_every_form_and_says_what_it_refused(rsi, home):
    line = b'{"task": "a", "success": true}\n'
    (home / "a.json").write_bytes(b"[" + line + b"," + line + b"]")
    (home / "b.ndjson.gz").write_bytes(gzip.compress(line * 3 + b"nonsense\n"))
    answer = rsi("ingest", "a.json", "b.ndjson.gz", "--json")
    assert answer.code == 1
    assert answer.json["accepted"] == 5
    assert [one["index"] for one in answer.json["rejected"]] == [3]
    said = rsi("ingest", "-", stdin=gzip.compress(line)).out
    assert said.startswith("1 accepted, 0 duplicates, 0 rejected into ")
    assert str(home) in said


def test_a_task_may_be_named_as_the_code_names_it(filled):
    assert len(filled("issues", "--task", "order-123", "--json").json["issues"]) == 1
    assert len(filled("issues", "--task", "order-77", "--json").json["issues"]) == 1


def test_what_a_person_set_for_a_task_is_published_under_its_stored_name(rsi, home):
    (home / "rsi.yaml").write_text("policy: [{source: shop, task: order-123, timeout_s: 9}]\n")
    subprocess.run([sys.executable, "-m", "rsi", "up", "--once"], stdout=subprocess.DEVNULL, check=True)
    (scope,) = rsi("policy", "--task", "order-5", "--json").json["scopes"]
    assert (scope["task"], scope["timeout_s"]) == ("order-<n>", 9)


def test_init_asks_nobody_where_nobody_can_answer(rsi, home):
    answer = rsi("init")
    assert answer.code == 0
    assert "--yes" in answer.err
    assert {path.name for path in home.iterdir()} == {".rsi", "inbox", "rsi.yaml"}
    assert rsi("init", "--yes", "--quiet") == (0, "", "")
    assert ".rsi/" in (home / ".gitignore").read_text().splitlines()
    again = (home / ".gitignore").read_text()
    assert rsi("init", "--yes").code == 0
    assert (home / ".gitignore").read_text() == again


@pytest.mark.parametrize("alive", [True, False])
def test_status_tells_a_silent_daemon_from_a_dead_one(rsi, home, alive):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        rsi("init", "--yes")
        about = {"url": "http://127.0.0.1:9", "pid": other.pid, "home": str(home)}
        (home / ".rsi" / "daemon.json").write_text(json.dumps(about))
        if not alive:
            other.communicate(b"\n")
        answer = rsi("status", "--json")
        assert answer.code == 1
        assert ("does not answer" in answer.json["troubles"][0]) == alive
        if alive:
            other.communicate(b"\n")


def test_status_tells_of_files_that_were_refused(rsi, home):
    (home / "inbox").mkdir()
    (home / "inbox" / "bad.json").write_text("nonsense")
    once = subprocess.run(
        [sys.executable, "-m", "rsi", "up", "--once", "--json"], capture_output=True, text=True, check=True
    )  # fmt: skip
    for troubles in (json.loads(once.stdout)["troubles"], rsi("status", "--json").json["troubles"]):
        assert ["bad.json.error.txt" in trouble for trouble in troubles] == [True]
    assert rsi("status").code == 1


def test_doctor_tells_what_the_adapters_do_here(rsi):
    said = {check["name"]: check["says"] for check in rsi("doctor", "--json").json["checks"]}
    assert said.keys() >= {"python", "model", "rsi.yaml", "rules", "home", "daemon", "adapters"}
    assert "@rsi.guard" in said["adapters"]


@pytest.mark.slow
def test_a_demo_that_is_terminated_leaves_nothing_running(home):
    demo = subprocess.Popen(
        [sys.executable, "-m", "rsi", "demo", "--home", "shown"], stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    assert demo.stdout is not None
    with demo.stdout:
        assert "the daemon is up" in demo.stdout.readline()
        pid = json.loads((home / "shown" / ".rsi" / "daemon.json").read_text())["pid"]
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(30) == 128 + signal.SIGTERM
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)

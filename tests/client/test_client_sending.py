"""record → queue → redacted batch → daemon; and what a refusal does."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from agent_kit import Daemon, wait_for

import rsi
import rsi.client
from rsi import clock
from rsi.client import Client, Run, enter_run, leave_run
from rsi.client.recorded import Recorded


def test_an_outcome_arrives_with_its_fields(daemon: Daemon, make_client: Any) -> None:
    client = make_client(url=daemon.url)
    client.record("search", False, error="429 Too Many Requests", session="s1", duration_ms=12, tokens_in=3)
    client.record("search", True, source="other", odd_field=1)
    assert client.flush(5)
    first, second = daemon.items(source="app")[0], daemon.items(source="other")[0]
    expected = {"task": "search", "success": False, "error": "429 Too Many Requests", "session": "s1"}
    assert first.items() >= (expected | {"duration_ms": 12, "tokens_in": 3}).items()
    assert abs(first["ts"] - clock.now()) < 60
    assert second["metadata"] == {"odd_field": 1}
    assert client.status()["sent"] == 2


def test_ids_are_unique_and_the_client_names_itself(daemon: Daemon, make_client: Any) -> None:
    client = make_client(url=daemon.url, client_id="c1")
    for _ in range(300):
        client.record("t", True)
    client.flush(5)
    assert len(daemon.received) == 300
    assert {headers["X-RSI-Client"] for _, _, headers in daemon.requests} == {"c1"}
    assert len(daemon.posts) < 10  # batches


def test_secrets_never_leave_the_process(daemon: Daemon, make_client: Any) -> None:
    client = make_client(url=daemon.url)
    key = "sk-ant-api03-" + "abcDEF123_-" * 8
    client.record("a", False, error=ValueError(key), metadata={"deep": [{"password": "hunter2!"}], "note": key})
    client.record("b", True, input=f"use {key}", user=key, session=key)
    client.flush(5)
    sent = repr(daemon.posts)
    assert len(daemon.received) == 2
    assert key not in sent
    assert "hunter2" not in sent


def test_secrets_are_redacted_in_the_spool_too(tmp_path: Any, make_client: Any) -> None:
    client = make_client(url="http://127.0.0.1:9")
    key = "sk-ant-api03-" + "abcDEF123_-" * 8
    client.record("a", False, error=key)
    assert client.flush(5)
    files = list((tmp_path / "state").rglob("*.ndjson"))
    assert files
    assert all(key not in file.read_text() for file in files)
    assert all(file.stat().st_mode & 0o077 == 0 for file in files)


def test_the_tokens_and_extra_patterns_of_the_home_are_used(daemon: Daemon, home: Any, make_client: Any) -> None:
    (home / "rsi.yaml").write_text("redact: {extra: ['EMP-\\d+']}\n")
    client = make_client(url=daemon.url, home=home, token="tok")
    client.record("a", False, error="who is EMP-12345")
    client.flush(5)
    assert "EMP-12345" not in repr(daemon.posts)
    assert daemon.requests[-1][2]["Authorization"] == "Bearer tok"


def test_a_refused_item_is_dropped_and_named_once(
    daemon: Daemon, make_client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    daemon.refuse = lambda item: "outcome[0].success: expected true or false" if item["task"] == "bad" else None
    client = make_client(url=daemon.url)
    with caplog.at_level(logging.WARNING, "rsi"):
        for task in ("bad", "good", "bad"):
            client.record(task, True)
        client.flush(5)
    assert [item["task"] for item in daemon.items()] == ["good"]
    assert client.status()["rejected"] == 2
    assert client.status()["spooled"] == 0
    assert len([record for record in caplog.records if "expected true or false" in record.message]) == 1


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_batch_refused_as_a_whole_is_halved_until_the_item_stands_alone(
    daemon: Daemon, make_client: Any, status: int
) -> None:
    daemon.refuse = lambda item: "no" if item["task"] == "bad" else None
    daemon.whole_status = status
    client = make_client(url=daemon.url)
    for n in range(20):
        client.record("bad" if n == 13 else "good", True)
    client.flush(5)
    assert len(daemon.items(task="good")) == 19
    assert client.status()["rejected"] == 1


def test_what_cannot_be_json_is_described_or_counted_and_never_raised(daemon: Daemon, make_client: Any) -> None:
    client = make_client(url=daemon.url)

    class Rude:
        def __str__(self) -> str:
            raise RuntimeError("no")

    client.record("object", True, metadata={"it": object(), 5: {1, 2}, "nan": float("nan")})
    client.record("surrogate", False, error="\ud800 broken")
    client.record("rude", True, metadata={"it": Rude()})
    client.record("huge", True, metadata={"it": "x" * 2_000_000})
    client.record("long", True, output="y" * 100_000)
    assert client.flush(5)
    got = {item["task"]: item for item in daemon.items()}
    assert set(got) == {"object", "surrogate", "rude", "huge", "long"}
    assert got["rude"]["metadata"] == {"it": "<Rude>"}
    assert got["huge"]["tags"] == ["rsi:cut"]
    assert len(got["long"]["output"]) == 16 * 1024
    assert client.status().get("unencodable", 0) == 0


def test_inside_an_open_run_an_outcome_is_a_step_of_it(daemon: Daemon, make_client: Any) -> None:
    client = make_client(url=daemon.url)
    token = enter_run(Run("r1", "plan", session="s1"))
    try:
        client.record("inner", True)
        client.record("model", True, kind="llm")
    finally:
        leave_run(token)
    client.flush(5)
    inner, model = daemon.items(task="inner")[0], daemon.items(task="model")[0]
    assert inner.items() >= {"kind": "step", "parent": "r1", "run": "r1", "session": "s1"}.items()
    assert model["kind"] == "llm"


def test_a_full_queue_drops_the_newest_counts_it_and_reports_it(daemon: Daemon, make_client: Any) -> None:
    client = make_client(url=daemon.url, queue_size=5)
    sender = client._sender
    sender._asleep, sender._thread = False, object()  # nobody takes anything
    for n in range(8):
        client.record(str(n), True)
    assert client.status()["dropped"] == 3
    sender._asleep, sender._thread = True, None
    client.flush(5)
    assert sorted(item["task"] for item in daemon.items()) == ["0", "1", "2", "3", "4"]
    assert sum(item.get("metadata", {}).get("rsi_dropped", 0) for item in daemon.items()) == 3


@pytest.mark.parametrize("where", ["metadata", "odd_field", "output"])
def test_what_waits_holds_no_more_than_so_much_of_the_hosts_memory(
    daemon: Daemon, make_client: Any, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr("rsi.client.sender.MAX_HELD", 100_000)
    client = make_client(url=daemon.url)
    sender = client._sender
    sender._asleep, sender._thread = False, object()  # nobody takes anything
    for _ in range(20):
        big = "x" * 30_000
        client.record("t", True, **{where: {"deep": [big]} if where == "metadata" else big})
    client.record("small", True)
    assert len(sender) == 4
    assert client.status()["dropped"] == 17
    sender._asleep, sender._thread = True, None
    client.flush(5)
    assert len(daemon.items()) == 4
    assert sender._held == 0
    client.record("later", True, output="x" * 200_000)  # alone it is let through: the encoder cuts it
    client.flush(5)
    assert daemon.items(task="later")


SECRET = "postgres://bob:S3cr3tP4ssw0rdXYZ@db/x"


@pytest.mark.parametrize("end", [" and more", "", ", in the middle of it all " * 40])
@pytest.mark.parametrize("cut", [*range(-30, 12, 3), 1_000, 1_024])
@pytest.mark.parametrize("where", ["raised", "error", "output", "note"])
def test_a_secret_at_the_cut_of_a_long_text_is_no_secret_less(
    daemon: Daemon, make_client: Any, where: str, cut: int, end: str
) -> None:
    limit = {"raised": 8_192, "error": 65_536 // 2, "output": 16_384, "note": 16_384}[where]
    text = ("word " * 20_000)[: limit + cut - SECRET.index("@")] + " " + SECRET + end
    client = make_client(url=daemon.url)
    if where == "raised":
        client.record("t", False, error=ValueError(text))
    elif where == "error":
        client.record("t", False, error=text + " tail" * 8_000)
    elif where == "output":
        client.record("t", True, output=text)
    else:
        with rsi.step("t", client=client) as step:
            step.note(output=text)
    client.flush(5)
    sent = str(daemon.items(task="t")[0])
    assert "S3cr" not in sent
    assert len(sent) > limit - 2_000


class _Odd:
    def __str__(self) -> str:
        raise RuntimeError("no text")


_ODD = [_Odd(), {"deep": [_Odd()]}, 10**5000, b"\xff\xfe", {1: {2: _Odd}}]


@pytest.mark.parametrize("value", _ODD, ids=["object", "inside", "large", "bytes", "class"])
def test_what_was_noted_beside_a_failure_cannot_lose_it(daemon: Daemon, make_client: Any, value: Any) -> None:
    client = make_client(url=daemon.url)
    with rsi.step("t", client=client) as step:
        step.note(metadata={"row": value})
        step.fail("503 overloaded")
    client.record("t", False, error="429", metadata={"row": value})
    client.flush(5)
    assert [
        item["error"] if isinstance(item["error"], str) else item["error"]["message"] for item in daemon.items()
    ] == [
        "503 overloaded",
        "429",
    ]


def test_a_field_that_the_daemon_refuses_cannot_lose_a_failure(daemon: Daemon, make_client: Any) -> None:
    client = make_client(url=daemon.url)
    daemon.refuse = lambda item: "below 0" if item.get("tokens_in", 0) < 0 or item["task"] == "never" else None
    client.record("good", True, tokens_in=3)
    client.record("bad", False, error="503", tokens_in=-1, metadata={"k": "v"}, session="s")
    client.record("never", False, error="503")
    client.flush(5)
    last = daemon.items(task="bad")
    assert [(item["error"], item["session"], item["tags"]) for item in last] == [("503", "s", ["rsi:cut"])]
    assert "tokens_in" not in last[0]
    assert (client.status()["sent"], client.status()["rejected"]) == (2, 1)


def test_a_circle_in_metadata_cannot_lose_a_failure(daemon: Daemon, make_client: Any) -> None:
    around: dict[str, Any] = {}
    around["self"] = around
    client = make_client(url=daemon.url)
    client.record("t", False, error="429", metadata=around)
    client.flush(5)
    assert daemon.items()[0]["error"] == "429"


def test_an_exception_that_hides_its_module_is_told_all_the_same(daemon: Daemon, make_client: Any) -> None:
    class Bad(Exception):
        pass

    Bad.__module__ = None  # type: ignore[assignment]
    client = make_client(url=daemon.url)
    client.record("t", False, error=Bad("boom"))
    with pytest.raises(Bad), rsi.step("t", client=client):
        raise Bad("boom")
    with rsi.step(5, client=client) as step:  # type: ignore[arg-type]
        step.fail(_Odd())  # type: ignore[arg-type]
    client.flush(5)
    assert [item["error"]["message"] for item in daemon.items()] == ["boom", "boom", "<_Odd>"]


def test_megabytes_are_not_searched_for_secrets(daemon: Daemon, make_client: Any) -> None:
    client = make_client(url=daemon.url)
    looked: list[int] = []
    encoder = client._sender._make_encoder()
    clean, encoder._redactor = encoder._redactor, type("Counting", (), {})()
    encoder._redactor.text = lambda text: looked.append(len(text)) or clean.text(text)
    encoder._redactor.value = clean.value
    for fields in ({"metadata": {"x": "y" * 5_000_000}}, {"output": "y" * 5_000_000}, {"error": "word " * 1_000_000}):
        line = encoder.line(Recorded("i", "t", False, **{"error": None, "source": "s", "fields": {}} | (
            fields if "error" in fields else {"fields": fields})))  # fmt: skip
        assert line is not None
        assert len(line) < 100_000
    assert max(looked) < 100_000


def test_the_default_client_is_off_under_pytest_unless_asked(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Client(url=daemon.url).enabled
    monkeypatch.setenv("RSI_ENABLE", "1")
    assert Client(url=daemon.url).enabled
    monkeypatch.setenv("RSI_DISABLE", "1")
    client = Client(url=daemon.url, enabled=True)
    client.record("t", True)
    assert client.flush()
    assert (client.enabled, daemon.requests) == (False, [])


def test_configure_gives_the_process_its_client(daemon: Daemon) -> None:
    try:
        rsi.client.configure(url=daemon.url, source="mine", enabled=True)
        rsi.client.record("t", True)
        assert rsi.client.flush(5)
        assert rsi.client.status()["sent"] == 1
        assert daemon.items()[0]["source"] == "mine"
    finally:
        rsi.client.configure(enabled=False)


def test_closing_sends_what_is_queued_and_later_records_are_only_counted(daemon: Daemon, make_client: Any) -> None:
    client = make_client(url=daemon.url)
    client.record("t", True)
    client.close()
    client.record("late", True)
    wait_for(lambda: daemon.items(task="t"))
    assert daemon.items(task="late") == []
    assert client.status()["dropped"] == 1

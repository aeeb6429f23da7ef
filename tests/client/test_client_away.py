"""The daemon is down, hanging, garbage or somebody else's: the agent goes on, nothing is lost, nothing is doubled."""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from agent_kit import Daemon, running, wait_for

from rsi.client import settle
from rsi.client.discovery import locate
from rsi.client.spool import Spool


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same pauses and timeouts, in a smaller world."""
    monkeypatch.setattr("rsi.client.sender.MAX_PAUSE_S", 0.1)
    monkeypatch.setattr("rsi.client.sender.IDLE_S", 0.1)
    monkeypatch.setattr("rsi.client.transport.REQUEST_TIMEOUT_S", 0.3)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("mode", ["500", "garbage", "hang", "401"])
def test_what_a_broken_daemon_does_not_take_is_resent_with_the_same_ids(
    daemon: Daemon, make_client: Any, mode: str
) -> None:
    daemon.mode = mode
    client = make_client(url=daemon.url)
    for n in range(30):
        client.record(f"t{n}", True)
    assert client.flush(5)
    assert client.status()["spooled"] == 30
    assert daemon.posts == []
    daemon.mode = "ok"
    client.record("now", True)
    wait_for(lambda: len(daemon.received) == 31, "the spool is resent")
    wait_for(lambda: client.status()["resent"] >= 30)
    assert sorted(item["task"] for item in daemon.items()) == sorted([*(f"t{n}" for n in range(30)), "now"])


def test_with_no_daemon_at_all_outcomes_wait_for_the_next_one(home: Path, make_client: Any) -> None:
    port = free_port()
    client = make_client(url=f"http://127.0.0.1:{port}")
    client.record("early", True)
    assert client.flush(5)
    with running(home, port) as daemon:
        wait_for(lambda: daemon.items(task="early"))


def test_the_next_process_resends_what_a_dead_one_left(home: Path, make_client: Any, tmp_path: Path) -> None:
    port = free_port()
    dead = make_client(url=f"http://127.0.0.1:{port}")
    dead.record("left behind", True)
    dead.close()
    for file in (tmp_path / "state").rglob("*.ndjson"):
        os.utime(file, (time.time() - 60, time.time() - 60))
    with running(home, port) as daemon:
        client = make_client(url=daemon.url)
        client.record("next", True)
        wait_for(lambda: len(daemon.received) == 2)
    assert not list((tmp_path / "state").rglob("*.ndjson"))


def test_putting_into_a_hanging_daemon_costs_the_caller_nothing(daemon: Daemon, make_client: Any) -> None:
    daemon.mode = "hang"
    client = make_client(url=daemon.url)
    for _ in range(500):
        client.record("t", True)  # returns although nobody ever answers
    assert len(daemon.posts) == 0
    client.close(0.5)
    assert client.status()["spooled"] >= 500


def test_a_daemon_of_another_home_is_refused_and_that_is_said_once(
    daemon: Daemon, make_client: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "mine").mkdir()
    with caplog.at_level(logging.WARNING, "rsi"):
        client = make_client(url=daemon.url, home=tmp_path / "mine")
        for _ in range(3):
            client.record("t", True)
            client.flush(5)
    assert daemon.posts == []
    assert client.status()["spooled"] == 3
    assert daemon.home in client.status()["refused"]
    said = [record.message for record in caplog.records if "belongs to" in record.message]
    assert len(said) == 1
    assert str(tmp_path / "mine") in said[0]


def test_the_daemon_is_found_by_the_file_in_its_home(daemon: Daemon, home: Path, make_client: Any) -> None:
    (home / ".rsi" / "daemon.json").write_text(json.dumps({"url": daemon.url, "pid": 1, "home": str(home)}))
    client = make_client(home=home)
    client.record("t", True)
    client.flush(5)
    assert daemon.items(task="t")


def test_a_moved_daemon_is_found_again(home: Path, make_client: Any) -> None:
    def announce(daemon: Daemon) -> None:
        (home / ".rsi" / "daemon.json").write_text(json.dumps({"url": daemon.url}))

    with running(home) as first:
        announce(first)
        client = make_client(home=home)
        client.record("one", True)
        wait_for(lambda: first.items(task="one"))
    with running(home) as second:
        announce(second)
        client.record("two", True)
        wait_for(lambda: second.items(task="two"))


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ('{"url": "http://127.0.0.1:8123"}', "http://127.0.0.1:8123"),
        ('{"url": "http://0.0.0.0:8123"}', "http://127.0.0.1:8123"),
        ('{"url": "http://evil.example:80"}', "http://127.0.0.1:7474"),
        ('{"url": 5}', "http://127.0.0.1:7474"),
        ("[]", "http://127.0.0.1:7474"),
        ("not json", "http://127.0.0.1:7474"),
    ],
)
def test_a_file_in_a_folder_sends_nothing_to_another_machine(home: Path, said: str, found: str) -> None:
    (home / ".rsi" / "daemon.json").write_text(said)
    assert locate(settle(home=home)) == found


def test_arguments_come_before_environment_before_folders(home: Path, tmp_path: Path) -> None:
    env = {"RSI_URL": "http://env:1", "RSI_TOKEN": "t", "RSI_SOURCE": "env", "RSI_HOME": str(home)}
    said = settle(url="http://arg:1", source="arg", env=env)
    assert (said.url, said.token, said.source, said.home) == ("http://arg:1", "t", "arg", home)
    assert settle(env=env).source == "env"
    assert settle(env={"RSI_HOME": str(home)}).source == "home"
    assert settle(env={}).source == "agent"  # the working folder of these tests


def test_the_spool_is_bounded_and_drops_the_newest(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", "me", max_bytes=100)
    assert spool.append([b"x" * 30, b"y" * 30, b"z" * 30, b"w" * 30]) == 1
    assert spool.append([b"v" * 30]) == 1
    sent: list[bytes] = []
    for path in spool.waiting():
        spool.resend(path, sent.extend)
    assert sent == [b"x" * 30, b"y" * 30, b"z" * 30]


def test_a_failed_resend_leaves_the_file_and_what_was_added_since(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", "me")
    spool.append([b"1"])

    def fail(lines: list[bytes]) -> None:
        spool.append([b"2"])
        raise OSError("away")

    with pytest.raises(OSError, match="away"):
        spool.resend(spool.waiting()[0], fail)
    sent: list[bytes] = []
    for path in spool.waiting():
        spool.resend(path, sent.extend)
    assert sorted(sent) == [b"1", b"2"]


def test_an_unwritable_spool_is_counted_and_nobody_is_bothered(
    make_client: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    client = make_client(url=f"http://127.0.0.1:{free_port()}")
    client.record("t", True)
    assert client.flush(5)
    assert client.status()["dropped"] == 1


def test_a_home_without_a_daemon_gets_the_rest_into_its_inbox(
    home: Path, make_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rsi.client.discovery.DEFAULT_URL", f"http://127.0.0.1:{free_port()}")
    (home / "inbox").mkdir()
    client = make_client(home=home)
    client.record("t", True)
    client.close()
    files = list((home / "inbox").iterdir())
    assert [file.suffix for file in files] == [".ndjson"]
    assert [json.loads(line)["task"] for line in files[0].read_text().splitlines()] == ["t"]

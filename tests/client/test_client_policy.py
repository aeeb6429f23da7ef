"""The policy arrives in a running process, outlives it on disk, decays without contact, and disappears when rolled back."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_kit import Daemon, FakeClock, policy_of, running, trial, wait_for

from rsi import clock
from rsi.client import Client


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("rsi.client.sender.MAX_PAUSE_S", "rsi.client.sender.IDLE_S", "rsi.client.poller.MAX_PAUSE_S"):
        monkeypatch.setattr(name, 0.1)


@pytest.fixture
def fake() -> Iterator[FakeClock]:
    fake = FakeClock()
    clock.install(fake)
    yield fake
    clock.install(None)


def test_recording_alone_asks_for_no_policy(daemon: Daemon, make_client: Any) -> None:
    before = set(threading.enumerate())  # other tests' clients may still be closing
    client = make_client(url=daemon.url)
    client.record("t", True)
    client.flush(5)
    assert daemon.policy_queries == []
    assert not [one for one in threading.enumerate() if one.name.startswith("rsi-policy") and one not in before]


def test_capabilities_are_told_before_the_policy_is_polled(daemon: Daemon, make_client: Any) -> None:
    client = make_client(url=daemon.url, client_id="c1")
    client.want("app", "search", {"retry", "timeout_s"})
    client.want("app", "plan", {"retry"})
    wait_for(lambda: [query for query in daemon.policy_queries if query.get("wait") == "30"])
    told = [query for query in daemon.policy_queries if "task" in query]
    polls = [query for query in daemon.policy_queries if "wait" in query]
    assert daemon.policy_queries.index(told[0]) < daemon.policy_queries.index(polls[0])
    assert {query["task"]: query["enforces"] for query in told} == {"search": "retry,timeout_s", "plan": "retry"}
    assert {query["client"] for query in daemon.policy_queries} == {"c1"}
    assert polls[-1]["enforces"] == "retry"  # all that holds for every task


def test_a_change_arrives_live_and_a_rollback_takes_it_away(daemon: Daemon, make_client: Any) -> None:
    client = make_client(url=daemon.url)
    client.want("app", "search", {"retry"})
    policy_of(client, "app", 0)
    daemon.set_policy("app", 1, experiments=[trial(patch={"retry": {"max_attempts": 3}})])
    assert policy_of(client, "app", 1).experiments[0].fix == "f1"
    daemon.set_policy("app", 2)
    assert policy_of(client, "app", 2).experiments == []


def test_the_policy_outlives_the_process(daemon: Daemon, make_client: Any) -> None:
    daemon.set_policy("app", 5, scopes=[{"source": "app", "task": "*", "timeout_s": 3}])
    first = make_client(url=daemon.url)
    first.want("app", "search", {"timeout_s"})
    policy_of(first, "app", 5)
    wait_for(lambda: list(Path(first.settings.state).rglob("*.json")))
    first.close()
    daemon.mode = "500"
    second = make_client(url=daemon.url)
    second.want("app", "search", {"timeout_s"})
    assert second.policies.current("app").scopes[0].timeout_s == 3


def test_a_policy_on_disk_that_is_damaged_is_left_out(daemon: Daemon, make_client: Any) -> None:
    client = make_client(url=daemon.url)
    client.policies.take("app", {"version": 1, "valid_until": clock.iso(clock.now() + 60)})
    for path in Path(client.settings.state).rglob("*.json"):
        path.write_text('{"policy": ')
    other = make_client(url=daemon.url)
    other.policies.load("app")
    assert other.policies.current("app") is None


def test_without_contact_it_decays_and_with_contact_it_does_not(make_client: Any, fake: FakeClock) -> None:
    client: Client = make_client(url="http://127.0.0.1:9")
    document = {
        "version": 1,
        "valid_until": clock.iso(fake.time + 600),
        "scopes": [
            {"source": "app", "timeout_s": 1, "origin": {"timeout_s": {"fix": "f2", "state": "kept_unverified"}}},
            {"source": "app", "max_concurrency": 2, "origin": {"max_concurrency": {"fix": "f3", "state": "verified"}}},
        ],
        "experiments": [trial(patch={"retry": {}})],
    }
    assert client.policies.take("app", document, '"1"')
    fake.time += 500
    client.policies.still("app")  # a 304
    fake.time += 500
    policy = client.policies.current("app")
    assert policy is not None
    assert policy.experiments
    fake.time += 101
    decayed = client.policies.current("app")
    assert decayed is not None
    assert decayed.experiments == []
    assert [(scope.timeout_s, scope.max_concurrency) for scope in decayed.scopes] == [(None, None), (None, 2)]
    assert client.policies.current("app") is decayed  # one object, so that what is built on it is kept
    assert client.status()["policies"]["app"]["decayed"]


def test_an_unchanged_policy_is_asked_for_by_its_tag(daemon: Daemon, make_client: Any) -> None:
    daemon.set_policy("app", 5)
    first = make_client(url=daemon.url)
    first.want("app", "t", {"retry"})
    policy_of(first, "app", 5)
    first.close()
    daemon.requests.clear()
    daemon.policy_queries.clear()
    second = make_client(url=daemon.url)
    second.want("app", "t", {"retry"})
    wait_for(lambda: [query for query in daemon.policy_queries if query.get("wait") == "30"])
    first_poll = next(query for query in daemon.policy_queries if "wait" in query)
    assert first_poll["wait"] == "0"  # to know at once whether what lies on disk still holds
    assert sum("If-None-Match" in headers for _, _, headers in daemon.requests) >= 2


@pytest.mark.parametrize("mode", ["500", "garbage"])
def test_a_broken_daemon_leaves_the_policy_and_is_asked_again(daemon: Daemon, make_client: Any, mode: str) -> None:
    daemon.set_policy("app", 1)
    client = make_client(url=daemon.url)
    client.want("app", "t", {"retry"})
    policy_of(client, "app", 1)
    daemon.mode = mode
    daemon.set_policy("app", 1)  # ends the long poll
    wait_for(lambda: client.status().get("poll_failures"))
    assert policy_of(client, "app", 1).version == 1
    daemon.mode = "ok"
    daemon.set_policy("app", 2)
    policy_of(client, "app", 2)


def test_a_daemon_that_starts_anew_is_told_everything_again(home: Path, make_client: Any) -> None:
    with running(home) as first:
        client = make_client(url=first.url)
        client.want("app", "search", {"retry"})
        wait_for(lambda: [query for query in first.policy_queries if "task" in query])
    with running(home, first.port) as second:
        client.record("t", True)
        wait_for(lambda: [query for query in second.policy_queries if query.get("task") == "search"])


def test_problems_in_a_policy_are_reported(daemon: Daemon, make_client: Any) -> None:
    daemon.set_policy("app", 1, scopes=[{"source": "app", "retry": "always", "teleport": 1}], mystery=1)
    client = make_client(url=daemon.url)
    client.want("app", "t", {"retry"})
    policy_of(client, "app", 1)
    text = json.dumps(client.status()["policies"]["app"]["problems"])
    assert "retry" in text
    assert "teleport" in text
    assert "mystery" in text


def test_observing_only_offers_nothing(daemon: Daemon, make_client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSI_OBSERVE_ONLY", "1")
    client = make_client(url=daemon.url)
    client.want("app", "t", {"retry"})
    client.record("t", True)
    client.flush(5)
    assert daemon.policy_queries == []
    assert daemon.items(task="t")

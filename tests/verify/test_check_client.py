"""`RSI_POLICY_FILE`: a client works under one policy, for good, and nothing leaves the process."""

import sys

import pytest
from agent_kit import running

from rsi import clock
from rsi.client import Client
from rsi.enforce import guard
from rsi.model import Policy, Scope
from rsi.verify import check_policy


@pytest.fixture
def file(tmp_path, monkeypatch):
    for name in ("RSI_URL", "RSI_HOME", "RSI_SOURCE", "RSI_DISABLE", "RSI_OBSERVE_ONLY", "RSI_ENABLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    long_ago = clock.iso(clock.now() - 10**7)
    scope = Scope(source="app", task="search", retry={"max_attempts": 3, "initial_s": 0.0, "on": ["rate_limit"]})
    path = tmp_path / "policy.json"
    path.write_bytes(check_policy.as_file(Policy(version=4, valid_until=long_ago, scopes=[scope])))
    monkeypatch.setenv("RSI_POLICY_FILE", str(path))
    return path


def search(client):
    calls = []

    @guard("search", idempotent=True, source="app", client=client)
    def run():
        calls.append(1)
        raise RuntimeError("429 Too Many Requests: rate limit reached")

    with pytest.raises(RuntimeError):
        run()
    return len(calls)


def test_the_policy_is_enforced_under_pytest_and_never_decays(file):
    client = Client()
    assert (client.enabled, client.enforcing) == (True, True)
    assert search(client) == 3
    assert client.policies.current("app").version == 4
    client.close()


def test_nothing_is_sent_asked_or_kept(file, tmp_path):
    with running(tmp_path) as daemon:
        client = Client(url=daemon.url, home=tmp_path)
        search(client)
        client.record("t", False, error="429")
        assert client.flush(1)
        client.close(1.0)
        assert daemon.requests == []
    kept = [path.relative_to(tmp_path) for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert not [path for path in kept if path.parts[2] in ("spool", "policy")], kept


@pytest.mark.parametrize("content", [None, b"not json", b"[1]"])
def test_a_file_that_cannot_be_read_enforces_nothing_and_sends_nothing_either(file, tmp_path, content):
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with running(tmp_path) as daemon:
        client = Client(url=daemon.url, home=tmp_path)
        assert search(client) == 1
        client.close(1.0)
        assert daemon.requests == []


def test_switched_off_is_off(file, monkeypatch):
    monkeypatch.setenv("RSI_DISABLE", "1")
    assert not Client().enabled
    monkeypatch.delenv("RSI_DISABLE")
    monkeypatch.delenv("RSI_POLICY_FILE")
    assert "pytest" in sys.modules
    assert not Client().enabled

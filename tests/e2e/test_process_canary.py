"""Concurrency is tried by process: real clients, a real daemon, and every task counted in the arm of its process."""

from __future__ import annotations

import pytest

from rsi.client import Client
from rsi.config import Home, load
from rsi.enforce import guard
from rsi.store import Store, trials

CLIENTS = 4
TASKS = 12


@pytest.fixture
def clients(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made = []

    def make(url):
        made.append(Client(enabled=True, source="farm", url=url))
        return made[-1]

    yield make
    for one in made:
        one.close(2.0)


def counts(daemon):
    home = Home(daemon.home)
    store = Store.open(home.store_url(load(daemon.home)), read_only=True)
    try:
        with store.read() as conn:
            found = trials.get(conn, 1)
            return found.counts if found is not None else None
    finally:
        store.close()


def test_four_processes_are_four_units_and_none_is_dropped(up, clients):
    daemon = up()
    made = [clients(daemon.url) for _ in range(CLIENTS)]

    def broken():
        raise RuntimeError("429 Too Many Requests: rate limit reached")

    good = [guard("dig", client=one)(lambda: "done") for one in made]
    bad = [guard("dig", client=one)(broken) for one in made]

    def work(times):
        for _ in range(times):
            for call in good:
                call()
            for call in bad:
                with pytest.raises(RuntimeError):
                    call()
        assert all(one.flush(10) for one in made)

    def fixes():
        return daemon.http.get("/v1/fixes?source=farm").json()["fixes"]

    work(15)
    (fix,) = daemon.until(lambda: [one for one in fixes() if one["knob"] == "max_concurrency"])
    daemon.until(lambda: daemon.http.get(f"/v1/fixes/{fix['id']}").json()["refused_by"] == ["processes"])
    daemon.http.post(f"/v1/fixes/{fix['id']}/approve", json={}, headers=daemon.privileged).raise_for_status()
    version = daemon.until(lambda: daemon.http.get("/v1/policy?source=farm").json()["experiments"])
    assert version[0]["knobs"] == ["max_concurrency"]
    daemon.until(lambda: all(len(one.policies.current("farm").experiments) == 1 for one in made))
    work(TASKS)
    found = daemon.until(lambda: (now := counts(daemon)) and now.fixed.units + now.control.units == CLIENTS and now)
    assert (found.entered, found.mismatched, found.crossed, found.not_enforced) == (CLIENTS, 0, 0, 0)
    daemon.until(lambda: sum(arm.outcomes for arm in (counts(daemon).fixed, counts(daemon).control)) == 2 * TASKS * 4)

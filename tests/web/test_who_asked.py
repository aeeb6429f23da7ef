"""The journal says by which way a person asked: one of two fixed words, never what a header holds."""

from __future__ import annotations

import pytest

from rsi.cli.remote import Remote
from rsi.store import journal


def newest(daemon):
    with daemon.store.read() as conn:
        return journal.tail(conn, 1)[0].who


@pytest.mark.parametrize(("before", "path"), [("resume", "/v1/pause"), ("pause", "/v1/resume")])
def test_the_command_line_is_named_as_what_it_is(daemon, before, path):
    getattr(daemon.pipeline, before)("person:test")
    Remote(daemon.home, daemon.url).call("POST", path, {})
    assert newest(daemon) == "person:cli"


@pytest.mark.parametrize("by", [None, "", "http", "CLI", "person:cli", "rule:retry-transient", "cli, cli"])
def test_any_other_word_is_http(daemon, by):
    headers = daemon.boss if by is None else {**daemon.boss, "X-RSI-By": by}
    assert daemon.http.post("/v1/pause", json={}, headers=headers).status_code == 200
    assert newest(daemon) == "person:http"


def test_it_lets_nobody_in(daemon):
    assert daemon.http.post("/v1/pause", json={}, headers={"X-RSI-By": "cli"}).status_code in {401, 403}

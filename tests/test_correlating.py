"""Issues that move together become one incident: in the pipeline, over HTTP and on the command line."""

import json
import random

import httpx
import pytest
from click.testing import CliRunner
from loop_kit import Loop, hand_clock

from rsi.cli import cli
from rsi.errors import NotFoundError
from rsi.store import correlations, minutes
from rsi.store import issues as stored

HOUR, MINUTE = 3600.0, 60.0
ERRORS = {
    "overloaded": ("openai: the model is overloaded, try again", "openai.InternalServerError", 503),
    "timeout": ("openai: request timed out while the model answered", "openai.APITimeoutError", 504),
    "key": ("KeyError: 'customer' in build_report", "KeyError", None),
}


@pytest.fixture
def time():
    with hand_clock() as made:
        yield made


@pytest.fixture
def loop(tmp_path, time):
    made = Loop(tmp_path)
    yield made
    made.close()


def outcome(loop, source, error, ts, **fields):
    loop.calls += 1
    found = {"id": f"c{loop.calls}", "source": source, "task": "work", "success": error is None, "ts": ts, **fields}
    if error:
        message, kind, status = ERRORS[error]
        found["error"] = {"message": message, "type": kind, "status": status}
    return found


def live(loop, time, hours, fails, step=30 * MINUTE):
    """Two sources that work once a minute; `fails(source, minute)` names the error, if any. Minutes count from 0."""
    began = time.at
    for chunk in range(int(hours * HOUR / step)):
        items = []
        for n in range(int(step / MINUTE)):
            at = began + chunk * step + n * MINUTE
            for source in ("shop", "mail"):
                error = fails(source, int((at - began) / MINUTE))
                items.append(outcome(loop, source, error, at, provider="openai" if error != "key" else None))
        time.forward(step)
        loop.send(*items)
        loop.pipeline.cycle()


def outage(begin, end, dice=None):
    dice = dice or random.Random(3)

    def fails(source, minute):
        if begin <= minute < end:
            return "overloaded" if source == "shop" else "timeout"
        return "key" if dice.random() < 0.01 else None

    return fails


def incidents(loop, **filters):
    with loop.store.read() as conn:
        return correlations.list_incidents(conn, **filters)


def titled(loop, category):
    with loop.store.read() as conn:
        return next(one for one in stored.list_issues(conn)[0] if one.category == category)


def test_a_provider_outage_in_two_sources_is_one_incident(loop, time):
    live(loop, time, 11, outage(600, 640))
    (found,) = incidents(loop)
    shop, mail = titled(loop, "overloaded"), titled(loop, "timeout_model")
    assert set(found.issues) == {shop.id, mail.id}
    assert (found.id, found.state, found.sources) == ("n1", "open", ["mail", "shop"])
    assert found.likely_cause == "provider outage: openai"
    assert found.title == "2 issues move together across 2 sources"
    (link,) = found.evidence
    assert link.named
    assert link.times > 5 * link.expected
    assert "close together" in link.says
    assert "by chance" in link.says
    assert shop.correlated == [mail.id]
    assert mail.correlated == [shop.id]
    assert titled(loop, "code_bug").correlated == []


def test_an_incident_is_over_when_it_is_quiet_and_the_next_one_is_another(loop, time):
    live(loop, time, 11, outage(600, 640))
    live(loop, time, 2, outage(-2, -1))
    (found,) = incidents(loop)
    assert found.state == "over"
    live(loop, time, 1, outage(10, 40))
    assert [(one.id, one.state) for one in incidents(loop)] == [("n2", "open"), ("n1", "over")]
    assert [one.id for one in incidents(loop, state="over")] == ["n1"]


def test_an_incident_lasts_over_a_restart_and_keeps_its_id(loop, time):
    live(loop, time, 11, outage(600, 700))
    (before,) = incidents(loop)
    loop.restart()
    live(loop, time, 0.5, outage(0, 20))
    (after,) = incidents(loop)
    assert (after.id, after.started) == (before.id, before.started)
    assert after.last_seen > before.last_seen


def test_issues_that_strike_at_different_times_are_no_incident(loop, time):
    def fails(source, minute):
        if source == "shop":
            return "overloaded" if 100 <= minute < 140 else None
        return "timeout" if 300 <= minute < 340 else None

    live(loop, time, 7, fails)
    assert incidents(loop) == []
    assert titled(loop, "overloaded").correlated == []


def test_old_logs_make_no_incident_and_no_minutes(loop, time):
    old = time.at - 3 * 24 * HOUR
    loop.send(
        *(
            outcome(loop, source, error, old + n * MINUTE, provider="openai")
            for n in range(40)
            for source, error in (("shop", "overloaded"), ("mail", "timeout"))
        )
    )
    loop.pipeline.cycle()
    assert incidents(loop) == []
    with loop.store.read() as conn:
        assert minutes.oldest(conn) is None


def test_minutes_are_forgotten_after_the_window(loop, time):
    live(loop, time, 1, outage(10, 20))
    time.forward(3 * 24 * HOUR)
    live(loop, time, 0.5, outage(10, 20))
    with loop.store.read() as conn:
        assert minutes.oldest(conn) * MINUTE > time.at - HOUR


def test_what_a_person_ignores_is_in_no_incident(loop, time):
    live(loop, time, 1, outage(10, 12))
    loop.pipeline.set_issue_state(titled(loop, "overloaded").id, "ignored", "person:test")
    live(loop, time, 11, outage(600, 640))
    assert incidents(loop) == []


def test_a_merged_issue_takes_its_minutes_and_its_partners_with_it(loop, time):
    live(loop, time, 11, outage(600, 640))
    old, young = sorted((titled(loop, "overloaded"), titled(loop, "timeout_model")), key=lambda one: int(one.id[1:]))
    ERRORS["other"] = ("openai: 503 capacity is short in this region today", "openai.InternalServerError", 503)
    loop.send(outcome(loop, "shop", "other", time.at, provider="openai"))
    loop.pipeline.cycle()
    made = next(one for one in issues(loop) if one.category == "overloaded" and one.id not in (old.id, young.id))
    loop.pipeline.merge(titled_by(loop, "overloaded", made.id).id, made.id, "person:test")
    with loop.store.read() as conn:
        found = minutes.struck(conn, 0)
    assert {f"i{one.issue}" for one in found} >= {old.id, young.id}
    assert int(made.id[1:]) not in {one.issue for one in found}
    assert issue(loop, made.id).correlated == [titled(loop, "timeout_model").id]


def issues(loop):
    with loop.store.read() as conn:
        return stored.list_issues(conn)[0]


def issue(loop, ref):
    with loop.store.read() as conn:
        return stored.get_issue(conn, ref)


def titled_by(loop, category, but):
    return next(one for one in issues(loop) if one.category == category and one.id != but)


def test_http_and_the_command_line_show_incidents(loop, time):
    live(loop, time, 11, outage(600, 640))
    (found,) = incidents(loop)
    told = get(loop, "/v1/incidents")
    assert [one["id"] for one in told["incidents"]] == ["n1"]
    assert get(loop, "/v1/incidents?state=over") == {"incidents": []}
    assert get(loop, "/v1/incidents/n1")["evidence"][0]["says"] == found.evidence[0].says
    assert ask(loop, "/v1/incidents/n9").status_code == 404
    assert ask(loop, "/v1/incidents?state=gone").status_code == 422
    assert 'rsi_incidents{state="open"} 1' in ask(loop, "/metrics").text
    home = str(loop.home.path)
    as_json = json.loads(run("incidents", "--json", "--home", home))
    assert as_json["incidents"] == told["incidents"]
    said = run("incidents", "--home", home)
    assert "provider outage: openai" in said
    assert found.evidence[0].says in said
    assert run("incidents", "--state", "over", "--home", home) == "no incidents\n"
    one = titled(loop, "overloaded")
    assert one.correlated[0] in run("issue", one.id, "--home", home)
    assert one.correlated[0] in run("issues", "--category", "overloaded", "--home", home)


def test_no_store_has_no_incidents(tmp_path):
    assert run("incidents", "--home", str(tmp_path)) == "no incidents\n"


@pytest.mark.parametrize("ref", ["n0", "x", "n", "n1.5", "n" + "9" * 30])
def test_an_incident_that_is_not_there_is_named(loop, ref):
    with loop.store.read() as conn, pytest.raises(NotFoundError, match="no such incident"):
        correlations.get_incident(conn, ref)


def test_incidents_are_told_to_who_listens(loop, time):
    heard = []
    loop.pipeline.subscribe(lambda event, data: heard.append(data["id"]), only=["incident"])
    live(loop, time, 11, outage(600, 640))
    assert set(heard) == {"n1"}


def test_the_background_thread_looks_and_stops(loop, time):
    live(loop, time, 10, outage(-2, -1))
    loop.send(
        *(
            outcome(loop, source, error, time.at - n * MINUTE, provider="openai")
            for n in range(30)
            for source, error in (("shop", "overloaded"), ("mail", "timeout"))
        )
    )
    loop.pipeline.cycle()
    loop.pipeline._correlating.begin()
    loop.pipeline.stop()
    assert [one.state for one in incidents(loop)] == ["open"]
    assert loop.pipeline.status()["failures"].get("correlate", 0) == 0


def ask(loop, path):
    import asyncio

    from rsi.web.app import create_app

    app = create_app(loop.pipeline, loop.config, loop.home, intakes=[], port=7474, host="127.0.0.1")

    async def go():
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:7474") as client:
            return await client.get(path)

    return asyncio.run(go())


def get(loop, path):
    answer = ask(loop, path)
    assert answer.status_code == 200, answer.text
    return answer.json()


def run(*args):
    done = CliRunner().invoke(cli, args, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output

"""Spans wait for their trace's root: across requests, restarts and kills, and when it never comes."""

from __future__ import annotations

import importlib.util
import random
from concurrent.futures import Future
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from otel_kit import agent, chain, chat, serving, span, tool, traces

from rsi import clock
from rsi.model import Receipt
from rsi_adapters.otel import jsonbody
from rsi_adapters.otel.door import REMEMBER_S, ROOT_WAIT_S, Door
from rsi_adapters.otel.reading import Reader
from rsi_adapters.otel.room import Room

_SPEC = importlib.util.spec_from_file_location("e2e_conftest", Path(__file__).parent.parent / "e2e" / "conftest.py")
_e2e = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_e2e)
up = _e2e.up


class Clock:
    """Wall time that a test moves."""

    def __init__(self) -> None:
        self.at = 1_800_000_000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds


@pytest.fixture
def time_():
    found = Clock()
    clock.install(found)
    yield found
    clock.install(None)


class Desk:
    """A door without HTTP in front of it; what it submits is kept by id, as the store would."""

    def __init__(self, path: Path, most: int = 100_000) -> None:
        self.path, self.most = path, most
        self.items: dict[str, dict] = {}
        self.batches = 0
        self.open()

    def open(self) -> None:
        self.room = Room(self.path / "otel.db", self.most)
        self.door = Door(self.room, Reader("project", str))

    def submit(self, batch):
        self.batches += 1
        done: Future[Receipt] = Future()
        new = [item for item in batch.items if item["id"] not in self.items]
        self.items |= {item["id"]: item for item in new}
        done.set_result(Receipt(accepted=len(new), duplicates=len(batch.items) - len(new)))
        return done

    def send(self, *spans) -> None:
        self.door.take(jsonbody.traces(json_of(*spans), 10_000), self.submit)

    def restart(self) -> None:
        """As after a kill: the file is all there is."""
        self.room.close()
        self.open()

    def brief(self):
        return sorted((item["kind"], item["task"], item.get("status", "ok")) for item in self.items.values())


def json_of(*spans) -> bytes:
    import json

    return json.dumps(traces(*spans)).encode()


@pytest.fixture
def desk(tmp_path, time_):
    found = Desk(tmp_path)
    yield found
    found.room.close()


def test_children_wait_for_their_root(desk):
    root = agent()
    desk.send(chat(root))
    desk.send(tool("t", root, raised=("OSError", "no")))
    assert desk.items == {}
    desk.send(root)
    assert desk.brief() == [("llm", "chat gpt-x", "ok"), ("task", "support", "ok"), ("tool", "t", "failed")]
    assert desk.batches == 1


def test_children_that_come_after_their_root_belong_to_it(desk):
    root = agent(gen_ai__conversation__id="c")
    desk.send(root)
    desk.send(chat(root))
    assert desk.brief() == [("llm", "chat gpt-x", "ok"), ("task", "support", "ok")]
    assert {item["session"] for item in desk.items.values()} == {"c"}


def test_an_agent_that_comes_after_the_request_around_it_makes_it_a_task(desk):
    root = span("POST /chat")
    desk.send(root)
    assert desk.items == {}
    desk.send(agent("support", root))
    assert desk.brief() == [("step", "support", "ok"), ("task", "POST /chat", "ok")]


def test_the_same_request_twice_is_one(desk):
    boom = {"raised": ("ValueError", "boom")}
    root = chain("graph", **boom)
    node = chain("n", root, **boom)
    desk.send(tool("t", node, **boom))
    for _ in range(3):  # without what came before, the node would look like where it began
        desk.send(node, root)
    desk.restart()
    desk.send(node, root)
    assert desk.brief() == [("task", "graph", "failed"), ("tool", "t", "failed")]
    assert desk.batches == 1


def test_what_waited_is_there_after_a_restart(desk):
    root = agent()
    desk.send(tool("t", root))
    desk.restart()
    desk.send(root)
    assert desk.brief() == [("task", "support", "ok"), ("tool", "t", "ok")]


def test_a_crash_between_storing_and_remembering_doubles_nothing(desk):
    root = agent()
    desk.room.add(
        [desk.door._reader.span(one) for one in jsonbody.traces(json_of(chat(root), root), 9).spans], clock.now()
    )
    desk.submit(type("B", (), {"items": []}))
    desk.send(tool("t", root))
    desk.send(root)
    assert desk.brief() == [("llm", "chat gpt-x", "ok"), ("task", "support", "ok"), ("tool", "t", "ok")]


def test_without_a_root_the_others_are_told_in_the_end(desk, time_):
    root = agent()
    run = agent("worker", root, raised=("ValueError", "x"))
    desk.send(chat(run, raised=("ValueError", "x")), run)
    time_.at += ROOT_WAIT_S - 1
    assert desk.door.sweep(desk.submit) == 0
    time_.at += 2
    assert desk.door.sweep(desk.submit) == 1
    assert desk.brief() == [("llm", "chat gpt-x", "failed")], "no task: its root may still come"
    assert {item["parent"] for item in desk.items.values()} == {f"otel:{root['traceId']}:{root['spanId']}"}
    desk.send(root)
    assert desk.brief() == [("llm", "chat gpt-x", "failed"), ("task", "support", "ok")]


def test_a_run_whose_caller_is_elsewhere_and_says_nothing_is_a_task_in_the_end(desk, time_):
    run = {**agent("service", "ab" * 8), "flags": 0x300}
    desk.send(chat(run), run)
    assert desk.items == {}
    time_.at += ROOT_WAIT_S + 1
    desk.door.sweep(desk.submit)
    assert desk.brief() == [("llm", "chat gpt-x", "ok"), ("task", "service", "ok")]


def test_a_run_whose_caller_reports_too_is_a_step(desk):
    root = agent("caller")
    run = {**agent("service", root), "flags": 0x300}
    desk.send(run)
    desk.send(root)
    assert desk.brief() == [("step", "service", "ok"), ("task", "caller", "ok")]


def test_what_was_told_is_forgotten_in_the_end(desk, time_):
    desk.send(agent())
    desk.send(span("GET /"))
    time_.at += REMEMBER_S + 1
    desk.door.sweep(desk.submit)
    assert desk.room.waiting() == 0


def test_there_is_a_bound_and_it_takes_what_is_nobodys_first(tmp_path, time_):
    desk = Desk(tmp_path, most=50)
    root = agent()
    desk.send(chat(root))
    for _ in range(30):
        time_.at += 1
        desk.send(*[span("GET /") for _ in range(10)])
        assert desk.room.waiting() <= 50 + 10
    desk.send(root)
    assert desk.brief() == [("llm", "chat gpt-x", "ok"), ("task", "support", "ok")]
    desk.room.close()


def test_a_flood_of_agents_without_roots_is_told_as_it_is(tmp_path, time_):
    desk = Desk(tmp_path, most=40)
    for number in range(100):
        time_.at += 1
        desk.send(tool(f"t{number % 3}", f"{number + 1:016x}"))
        assert desk.room.waiting() <= 42
    told = len(desk.items)
    assert told >= 60, "told as they are rather than lost"
    time_.at += ROOT_WAIT_S + 1
    desk.door.sweep(desk.submit)
    assert len(desk.items) == 100
    desk.room.close()


def test_spans_that_are_one_anothers_parents_are_told_in_the_end(desk, time_):
    one, other = tool("a", "1" * 16), tool("b", "2" * 16)
    one["parentSpanId"], other["parentSpanId"], other["traceId"] = other["spanId"], one["spanId"], one["traceId"]
    desk.send(one, other, {**tool("c", one["spanId"]), "traceId": one["traceId"]})
    time_.at += ROOT_WAIT_S + 1
    desk.door.sweep(desk.submit)
    assert desk.brief() == [("tool", "a", "ok"), ("tool", "b", "ok"), ("tool", "c", "ok")]


def test_a_deep_trace_is_no_problem(desk):
    deep = [agent()]
    for number in range(3_000):
        deep.append(
            span("x", deep[-1]) if number % 2 else chain(f"n{number % 5}", deep[-1], raised=("ValueError", "x"))
        )
    desk.send(*reversed(deep))
    assert [item["status"] for item in desk.items.values()].count("failed") == 1


def _spans():
    """A trace with everything in it."""
    boom = {"raised": ("ValueError", "boom")}
    request = span("POST /chat")
    root = agent("support", request, gen_ai__conversation__id="c", start=1_799_999_000.0, seconds=50)
    node = chain("n", root, start=1_799_999_001.0, **boom)
    again = chain("n", root, start=1_799_999_003.0)
    http = span("POST", again, error="502")
    return [
        request, root, node, tool("t", node, **boom), again, http, chat(http, gen_ai__usage__input_tokens=3),
        chat(root, grades=[{"gen_ai.evaluation.name": "g", "gen_ai.evaluation.score.value": 0.5}]),
    ]  # fmt: skip


SPANS = _spans()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6))
def test_however_they_are_cut_into_requests_the_outcomes_are_the_same(seed, tmp_path_factory):
    """Whatever comes before the root, in any order, cut anywhere, with repetitions and restarts."""
    chance = random.Random(seed)
    whole, cut = Desk(tmp_path_factory.mktemp("w")), Desk(tmp_path_factory.mktemp("c"))
    whole.send(*SPANS)
    rest = SPANS[1:] * chance.choice([1, 2])
    chance.shuffle(rest)
    while rest:
        size = chance.randint(1, 4)
        cut.send(*rest[:size])
        rest = rest[size:]
        if chance.random() < 0.2:
            cut.restart()
    cut.send(SPANS[0], *chance.sample(SPANS, 2))
    whole.room.close()
    cut.room.close()
    assert cut.items == whole.items
    assert len(whole.items) == 6


def test_a_kill_between_the_children_and_the_root_loses_and_doubles_nothing(up):
    import httpx

    boom = {"raised": ("ValueError", "boom")}
    root = chain("graph", **boom)
    node = chain("n", root, **boom)
    first = up()
    send = lambda daemon, *spans: httpx.post(f"{daemon.url}/v1/traces", json=traces(*spans), timeout=30)  # noqa: E731
    assert send(first, tool("t", node, **boom)).status_code == 200
    assert send(first, node).status_code == 200
    first.kill()
    second = up()
    assert send(second, root).status_code == 200
    assert send(second, node, root).status_code == 200
    second.kill()
    third = up()
    health = third.until(lambda: third.http.get("/health").json()["sources"].get("agent"))
    assert health["n"] == pytest.approx(1, abs=0.01)
    import sqlite3

    rows = sqlite3.connect(third.home / ".rsi" / "rsi.db")
    found = rows.execute("select kind, task, status from outcomes order by kind").fetchall()
    rows.close()
    assert found == [("task", "graph", "failed"), ("tool", "t", "failed")]


def test_the_daemon_has_the_door(tmp_path):
    with serving(tmp_path / "home") as served:
        paths = served.http.get("/openapi.json").json()["paths"]
    assert {"/v1/traces", "/v1/logs"} <= set(paths)

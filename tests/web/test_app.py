"""What Starlette does for us, and what the guard adds to it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.responses import Response

from rsi import clock
from rsi.config import AuthConfig, Config
from rsi.web.auth import Gate, Guard
from rsi.web.remembered import Remembered


@pytest.mark.parametrize("path", ["/health/", "//health", "/v1", "/v1/issues/", "/v1/issues/a/b", "/Health"])
def test_what_is_not_there_is_404_in_our_shape_and_never_a_redirect(shared, path):
    answer = shared.http.get(path, headers={"Host": f"127.0.0.1:{shared.port}"})
    assert answer.status_code == 404
    assert "openapi.json" in answer.json()["error"]


def test_a_wrong_method_names_the_right_ones_and_needs_no_more_than_reading(shared):
    assert shared.http.delete("/health").headers["allow"] == "GET, HEAD"
    answer = shared.http.get("/v1/pause")  # asking it needs the secret, learning how to ask does not
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json() == {"error": "use POST here"}


def test_with_tokens_a_stranger_does_not_learn_what_is_there(serve):
    daemon = serve(Config(auth=AuthConfig(tokens=["alpha"])))
    assert daemon.http.get("/nowhere").status_code == 401
    assert daemon.http.get("/v1/pause").status_code == 401
    assert daemon.http.get("/nowhere", headers={"Authorization": "Bearer alpha"}).status_code == 404


def test_the_hot_doors_stand_first(shared):
    assert {entry.path for entry in shared.app.state.context.entries[:2]} == {"/v1/outcomes", "/observe"}


def test_an_error_of_ours_leaves_the_connection_open(shared, monkeypatch):
    def breaks(*_args: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(shared.pipeline, "policy_for", breaks)
        answer = shared.http.get("/v1/policy")
    assert answer.status_code == 500
    assert answer.headers.get("connection") != "close"
    assert shared.http.get("/healthz").status_code == 200


def test_a_websocket_is_closed_before_anything_is_asked():
    sent = []

    async def never(*_args: object) -> None:
        raise AssertionError

    async def send(message: object) -> None:
        sent.append(message)

    asyncio.run(Gate(never, Guard(Config(), "s", 1))({"type": "websocket", "path": "/"}, never, send))
    assert sent == [{"type": "websocket.close", "code": 1000}]


def test_an_answer_that_many_ask_for_is_made_once_per_version():
    made = []

    def make() -> Response:
        made.append(len(made))
        clock.sleep(0.05)
        return Response(str(len(made)))

    async def ask() -> None:
        remembered = Remembered()
        first = await asyncio.gather(*(remembered.answer(0, make) for _ in range(20)))
        assert {answer.body for answer in first} == {b"1"}
        assert (await remembered.answer(0, make)).body == b"1"
        assert (await remembered.answer(1, make)).body == b"2"

    asyncio.run(ask())
    assert made == [0, 1]


def test_health_tells_of_what_was_analysed_before_it_was_asked(daemon):
    item = {"source": "s", "task": "t", "success": True}
    with ThreadPoolExecutor(8) as pool:
        for n in (1, 2, 3):
            daemon.http.post("/v1/outcomes", json=item)
            daemon.pipeline.cycle()
            answers = list(pool.map(lambda _: daemon.http.get("/health").json()["n"], range(8)))
            assert answers == [pytest.approx(n, abs=0.1)] * 8

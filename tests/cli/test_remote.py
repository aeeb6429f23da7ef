"""What the command line says where the daemon is not there, or took an order and said nothing."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest

from rsi.cli import remote
from rsi.cli.remote import Remote
from rsi.config import Home
from rsi.errors import RSIError


@pytest.fixture
def listening():
    """A port, and what was sent to it; whoever asks gets no answer, or is hung up on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def answering(server, answer):
    """Reads one request, then does `answer` with its connection."""
    taken: list[bytes] = []

    def serve():
        connection, _ = server.accept()
        with connection:
            taken.append(connection.recv(65536))
            answer(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return taken, thread


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/v1/fixes/f1/rollback", "rsi fix f1"),
        ("/v1/fixes/all/rollback", "rsi fixes"),
        ("/v1/issues/i7/state", "rsi issue i7"),
        ("/v1/issues/merge", "rsi issues"),
        ("/v1/pause", "rsi status"),
    ],
)
def test_an_order_that_was_taken_and_not_answered_may_have_been_done(tmp_path, listening, monkeypatch, path, shown):
    monkeypatch.setattr(remote, "TIMEOUT_S", 0.2)
    done = threading.Event()
    taken, thread = answering(listening, lambda _: done.wait())
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    with pytest.raises(RSIError) as caught:
        Remote(Home(tmp_path), url).call("POST", path, {})
    done.set()
    thread.join()
    assert taken[0].startswith(f"POST {path} ".encode())
    assert str(caught.value).startswith(f"the daemon at {url} was asked and did not answer: timed out; ")
    assert str(caught.value).endswith(f"it may have been done: see `{shown}`")


def test_a_daemon_that_dies_over_an_order_may_have_done_it(tmp_path, listening):
    _, thread = answering(listening, lambda connection: None)
    with pytest.raises(RSIError, match="may have been done: see `rsi fix f1`"):
        Remote(Home(tmp_path), f"http://127.0.0.1:{listening.getsockname()[1]}").call("POST", "/v1/fixes/f1/reject")
    thread.join()


def test_what_only_reads_cannot_have_done_anything(tmp_path, listening):
    _, thread = answering(listening, lambda connection: None)
    with pytest.raises(RSIError) as caught:
        Remote(Home(tmp_path), f"http://127.0.0.1:{listening.getsockname()[1]}").call("GET", "/v1/status")
    thread.join()
    assert "may have been done" not in str(caught.value)


def test_where_nobody_listens_no_daemon_answers(tmp_path):
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(RSIError, match="no daemon answers") as caught:
            Remote(Home(tmp_path), url).call("POST", "/v1/fixes/f1/rollback", {})
    assert "may have been done" not in str(caught.value)

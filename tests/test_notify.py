"""People are told, by a signed webhook or a command, and a receiver that fails is counted."""

import hashlib
import hmac
import http.server
import json
import sys
import threading

import pytest

from rsi import notify
from rsi.config import NotifyTarget
from rsi.errors import ConfigError
from rsi.notify import Notifier


@pytest.fixture
def receiver():
    got = []
    answers = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            got.append((self.path, dict(self.headers), body))
            self.send_response(answers.pop(0) if answers else 204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    server.got, server.answers = got, answers
    server.url = f"http://127.0.0.1:{server.server_port}/hook?a=1"
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_webhook_is_signed_the_standard_way(receiver):
    notifier = Notifier([NotifyTarget(url=receiver.url, secret="whsec_c2VjcmV0")])
    notifier.tell("proposal", {"id": "f1"})
    notifier.stop()
    ((path, headers, body),) = receiver.got
    low = {key.lower(): value for key, value in headers.items()}
    assert path == "/hook?a=1"
    assert json.loads(body)["type"] == "proposal"
    assert json.loads(body)["data"] == {"id": "f1"}
    signed = f"{low['webhook-id']}.{low['webhook-timestamp']}.".encode() + body
    import base64

    expected = base64.b64encode(hmac.new(b"secret", signed, hashlib.sha256).digest()).decode()
    assert low["webhook-signature"] == f"v1,{expected}"
    assert notifier.status()["sent"] == 1


def test_only_what_was_asked_for_is_sent(receiver):
    notifier = Notifier([NotifyTarget(url=receiver.url, on=["alarm"])])
    notifier.tell("proposal", {})
    notifier.tell("alarm", {})
    notifier.stop()
    assert len(receiver.got) == 1


def test_a_receiver_that_fails_once_is_tried_again(receiver, monkeypatch):
    monkeypatch.setattr(notify, "PAUSE_S", (0.0, 0.01, 0.01))
    done = threading.Event()
    receiver.answers.append(500)
    notifier = Notifier([NotifyTarget(url=receiver.url)])
    monkeypatch.setattr(notifier, "_count", lambda **_: done.set())
    notifier.tell("alarm", {})
    assert done.wait(10)
    notifier.stop()
    assert len(receiver.got) == 2
    assert len({headers["webhook-id"] for _, headers, _ in receiver.got}) == 1


def test_a_receiver_that_is_away_is_counted_and_shown():
    notifier = Notifier([NotifyTarget(url="http://127.0.0.1:9/")])
    notifier.tell("alarm", {})
    notifier.stop()
    status = notifier.status()
    assert (status["sent"], status["failed"]) == (0, 1)
    assert "127.0.0.1" in status["last_error"]


def test_a_command_gets_the_event_on_stdin_and_nothing_of_it_as_an_argument(tmp_path):
    out = tmp_path / "out.json"
    program = tmp_path / "tell.py"
    program.write_text("import json,sys\nopen(sys.argv[1],'w').write(json.dumps([sys.argv[2:], sys.stdin.read()]))\n")
    notifier = Notifier([NotifyTarget(command=f"{sys.executable} {program} '{out}' fixed")])
    evil = "$(touch pwned); `id` && rm"
    notifier.tell("rolled_back", {"task": evil})
    notifier.stop()
    arguments, text = json.loads(out.read_text())
    assert arguments == ["fixed"]
    assert json.loads(text)["data"] == {"task": evil}


def test_a_command_that_fails_is_counted():
    notifier = Notifier([NotifyTarget(command=f"{sys.executable} -c 'raise SystemExit(3)'")])
    notifier.tell("alarm", {})
    notifier.stop()
    assert notifier.status()["failed"] == 1
    assert "exit 3" in notifier.status()["last_error"]


@pytest.mark.parametrize(
    ("target", "word"),
    [
        (NotifyTarget(), "url or command"),
        (NotifyTarget(url="http://a", command="b"), "url or command"),
        (NotifyTarget(url="ftp://a"), "http"),
        (NotifyTarget(url="nonsense"), "http"),
        (NotifyTarget(url="http://a", secret="whsec_???"), "base64"),
        (NotifyTarget(command="'"), "command line"),
    ],
)
def test_a_target_that_cannot_work_is_refused_by_its_place(target, word):
    with pytest.raises(ConfigError, match=word) as caught:
        Notifier([NotifyTarget(command="true"), target])
    assert "notify[1]" in str(caught.value)

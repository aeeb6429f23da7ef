"""A proposal is decided with the one-time token of its notification: once, in time, for that change alone."""

import base64
import hashlib
import hmac
import http.server
import json
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from loop_kit import HandClock, rule

from rsi import clock
from rsi.config import parse
from rsi.errors import NotFoundError
from rsi.model import Batch
from rsi.store import approvals, fixes

SECRET = "whsec_c2VjcmV0"
FAILED = {"message": "429 Too Many Requests", "type": "RateLimitError", "status": 429}


class Receiver:
    """A webhook receiver that keeps what it gets."""

    def __init__(self):
        self.got = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.got.append((dict(self.headers), body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def said(self, kind="proposal"):
        return [one["data"] for one in map(json.loads, self.bodies()) if one["type"] == kind]

    def bodies(self):
        return [body for _, body in self.got]

    def stop(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.stop()


@pytest.fixture
def hand():
    made = HandClock()
    clock.install(made)
    yield made
    clock.install(None)


class Case:
    """A daemon with one proposal that was told to a receiver."""

    def __init__(self, serve, receiver, **sections):
        sections.setdefault("notify", [{"url": receiver.url, "secret": SECRET}])
        self.daemon = serve(parse(sections))
        self.pipeline = self.daemon.pipeline
        self.pipeline._fix_rules, self.pipeline._rules_seen = {"retry-transient": rule()}, []
        self.fail()
        self.receiver = receiver

    def fail(self):
        items = [{"source": "app", "task": "search", "success": False, "error": FAILED} for _ in range(5)]
        self.pipeline.submit(Batch(door="test", items=items)).result()
        self.pipeline.cycle()

    def wait(self, n=1, kind="proposal"):
        ticking = threading.Event()
        for _ in range(500):
            if len(self.receiver.said(kind)) >= n:
                break
            ticking.wait(0.01)
        return self.receiver.said(kind)

    def offer(self):
        return self.wait()[0]["approval"]

    def post(self, token, decision="approve", **headers):
        return self.daemon.http.post(f"/v1/approvals/{token}", json={"decision": decision}, headers=headers)

    def fix(self):
        with self.daemon.store.read() as conn:
            return fixes.get_fix(conn, "f1")


@pytest.fixture
def case(serve, receiver, hand):
    return Case(serve, receiver)


def signature(body, at, secret=b"secret", ident="msg_1"):
    mac = hmac.new(secret, f"{ident}.{int(at)}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": ident,
        "webhook-timestamp": str(int(at)),
        "webhook-signature": "v1," + base64.b64encode(mac).decode(),
        "content-type": "application/json",
    }


def test_the_token_of_the_webhook_approves_exactly_once(case):
    offer = case.offer()
    assert offer["path"] == f"/v1/approvals/{offer['token']}"
    assert offer["expires"] == clock.iso(clock.now() + 86_400)
    done = case.post(offer["token"])
    assert (done.status_code, done.json()["state"]) == (200, "approved")
    assert [one["who"] for one in case.fix().journal if one["what"] == "fix.approved"] == ["person:webhook"]
    again = case.post(offer["token"])
    assert again.status_code == 409
    assert "was used" in again.json()["error"]
    assert case.post(offer["token"], "reject").status_code == 409


def test_the_token_rejects(case):
    assert case.post(case.offer()["token"], "reject").json()["state"] == "rejected"


def test_asking_changes_nothing_however_it_is_asked(case):
    token = case.offer()["token"]
    for method in ("GET", "HEAD", "OPTIONS", "PUT"):
        asked = case.daemon.http.request(method, f"/v1/approvals/{token}", headers={"content-type": "application/json"})
        assert asked.status_code == 405
    assert case.daemon.http.get(f"/v1/approvals/{token}?decision=approve").status_code == 405
    assert case.post(token, "yes").status_code == 422
    assert case.daemon.http.post(f"/v1/approvals/{token}", content=b"").status_code == 422
    assert case.fix().state == "proposed"
    assert case.post(token).status_code == 200


def test_a_token_that_was_tampered_with_is_unknown_and_not_repeated(case):
    token = case.offer()["token"]
    ident, _, secret = token.partition(".")
    wrong = ("A" if secret[0] != "A" else "B") + secret[1:]
    for bad in (f"{ident}.{wrong}", ident, f"{ident}.", f"0{ident[1:]}.{secret}x", secret, "f1", "%00.x", "x" * 5000):
        answer = case.post(bad)
        assert answer.status_code == 404, bad
        assert "no such approval token" in answer.json()["error"]
        assert bad not in answer.text or bad == "f1"
    assert case.fix().state == "proposed"


def test_an_expired_token_says_when(case, hand):
    token = case.offer()["token"]
    hand.forward(86_400.0)
    answer = case.post(token)
    assert answer.status_code == 409
    assert "expired" in answer.json()["error"]
    assert case.fix().state == "proposed"


def test_how_long_a_token_holds_is_a_setting(serve, receiver, hand):
    case = Case(serve, receiver, auth={"approval_ttl": "10m", "approval_url": "https://rsi.example/base/"})
    offer = case.offer()
    assert offer["url"] == f"https://rsi.example/base{offer['path']}"
    hand.forward(601.0)
    assert case.post(offer["token"]).status_code == 409


def test_a_token_is_void_once_the_change_is_another(case):
    token = case.offer()["token"]

    def other(conn):
        fix = fixes.get(conn, 1)
        after = {"retry": {**fix.change.after["retry"], "max_attempts": 6}}
        fixes.change_to(conn, 1, clock.now(), change=msgspec.structs.replace(fix.change, after=after))

    case.daemon.store.write(other)
    answer = case.post(token)
    assert answer.status_code == 409
    assert "the change of f1 is another by now" in answer.json()["error"]
    assert case.fix().state == "proposed"


def test_a_token_is_void_once_the_fix_moved_on(case):
    token = case.offer()["token"]
    case.pipeline.reject("f1", "person:test")
    answer = case.post(token)
    assert answer.status_code == 409
    assert "f1 is rejected" in answer.json()["error"]
    assert case.fix().state == "rejected"


def test_of_many_at_once_one_is_heard(case):
    token = case.offer()["token"]
    with ThreadPoolExecutor(8) as pool:
        codes = sorted(answer.status_code for answer in pool.map(lambda _: case.post(token), range(8)))
    assert codes == [200, *[409] * 7]
    assert [one["what"] for one in case.fix().journal].count("fix.approved") == 1


def test_only_a_hash_of_it_is_kept(case):
    token = case.offer()["token"]
    secret = token.partition(".")[2]
    case.daemon.store.checkpoint()
    for path in case.daemon.home.state.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes()
    with sqlite3.connect(case.daemon.home.database) as db:
        assert db.execute("SELECT hash FROM approvals").fetchall() == [(hashlib.sha256(secret.encode()).hexdigest(),)]
    assert secret not in json.dumps(msgspec.to_builtins(case.fix()))


def test_every_trusted_target_has_a_token_of_its_own_and_no_other_gets_one(serve, receiver, hand, tmp_path):
    told = tmp_path / "told.json"
    case = Case(
        serve, receiver,
        notify=[
            {"url": receiver.url, "secret": SECRET},
            {"url": receiver.url},
            {"url": receiver.url, "secret": SECRET, "on": ["alarm"]},
            {"command": f"tee {told}"},
        ],
    )  # fmt: skip
    case.wait(2)
    case.pipeline.stop()
    signed, plain = (one["approval"] for one in case.wait(2))
    assert "withheld" in plain
    assert len(case.receiver.said()) == 2
    by_command = json.loads(told.read_text().splitlines()[-1])["data"]
    assert by_command["approval"]["token"] != signed["token"]
    assert case.post(by_command["approval"]["token"]).status_code == 200
    assert "f1 is approved" in case.post(signed["token"]).json()["error"]


@pytest.fixture
def guarded(serve, receiver, hand):
    return Case(serve, receiver, auth={"tokens": ["t0ken"], "signing_secrets": [SECRET]})


def test_where_auth_is_configured_the_token_alone_is_not_enough(guarded):
    token = guarded.offer()["token"]
    body = json.dumps({"decision": "approve"}).encode()
    url, now = f"/v1/approvals/{token}", clock.now()

    def send(headers, content=body):
        return guarded.daemon.http.post(url, content=content, headers=headers).status_code

    plain = {"content-type": "application/json"}
    assert send(plain) == 401
    assert send({**plain, "authorization": "Bearer wrong"}) == 401
    assert send(signature(body, now, b"other")) == 401
    assert send(signature(body, now - 301)) == 401
    assert send(signature(b'{"decision":"reject"}', now)) == 401
    assert guarded.fix().state == "proposed"
    assert send(signature(body, now)) == 200
    assert send(signature(body, now)) == 409


def test_a_signature_is_asked_for_on_loopback_too_and_a_bearer_will_do(serve, receiver, hand):
    case = Case(serve, receiver, auth={"signing_secrets": [SECRET]})
    token = case.offer()["token"]
    assert case.post(token).status_code == 401
    assert case.post(token, **case.daemon.boss).status_code == 200


def test_a_foreign_page_cannot_use_a_token(case):
    token = case.offer()["token"]
    assert case.post(token, origin="https://evil.example").status_code == 403
    form = {"content-type": "text/plain"}
    assert case.daemon.http.post(f"/v1/approvals/{token}", content=b"{}", headers=form).status_code == 415
    assert case.fix().state == "proposed"


def test_old_tokens_are_forgotten(case):
    def issue_and_find(conn):
        old = approvals.issue(conn, 1, "d", 0.0, 1.0)
        assert approvals.find(conn, old).expires == 1.0
        approvals.issue(conn, 1, "d", approvals.KEPT_S + 2.0, approvals.KEPT_S + 3.0)
        with pytest.raises(NotFoundError):
            approvals.find(conn, old)

    case.daemon.store.write(issue_and_find)

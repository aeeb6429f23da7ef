"""The fleet's world: a provider and a daemon on real sockets, agents with the real client and guard, one virtual clock."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import uvicorn
from fleet_clock import VirtualClock
from fleet_incidents import PATIENCE_S, Asked, Incident, Said

from rsi import clock
from rsi.client import Client
from rsi.client.capabilities import policy_path
from rsi.config import Home, load
from rsi.daemon import Daemon
from rsi.enforce import guard
from rsi.web.app import create_app

CLIENTS, AGENTS_EACH = 4, 8
#: Between two tasks of an agent. They are due at their times, whether or not the one before has ended: waiting for a
#: retry makes nobody ask less, only later.
GAP_S = (3.0, 11.0)
#: Healthy work before the incident.
WARM_S = 120.0
#: How often the daemon runs a cycle and clients hear of its policy, in virtual seconds.
SYNC_S = 5.0
REAL_PATIENCE_S = 20.0


class ProviderError(Exception):
    """As client libraries raise it."""

    def __init__(self, status: int, body: str, retry_after: float | None) -> None:
        super().__init__(body)
        self.status_code = status
        self.headers = {"retry-after": str(retry_after)} if retry_after is not None else {}


class RefusalError(Exception):
    """The model declined."""


class Provider:
    """Answers over HTTP; how long an answer takes is told in it, because that time is virtual."""

    def __init__(self, incident: Incident, seed: int, started: float) -> None:
        self._script = incident.make()
        self._seed, self._begins, self._from_start = seed, started + WARM_S, incident.from_start
        self._tries: dict[tuple[str, str], int] = {}
        self.calls = 0
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *args: Any) -> None:
                pass

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                said = provider.answer(asked)
                if said.status == 0:
                    self.wfile.write(b"HTTP/1.1 2")
                    self.close_connection = True
                    return
                body = json.dumps(
                    {"body": said.body, "latency_s": said.latency_s, "retry_after": said.retry_after}
                ).encode()
                self.send_response(said.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # dying connections are one of the incidents

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=lambda: self._server.serve_forever(0.05), daemon=True).start()

    def answer(self, asked: dict[str, Any]) -> Said:
        key = (asked["source"], asked["unit"])
        self._tries[key] = attempt = self._tries.get(key, 0) + 1
        self.calls += 1
        since = clock.now() - self._begins
        if since < 0 and not self._from_start:
            return Said()
        return self._script(Asked(*key, attempt, asked["model"], asked["reasked"], since, self._seed))

    def tries(self, source: str, unit: str) -> int:
        return self._tries.get((source, unit), 0)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Unit:
    """One task of one agent: when it was due (seconds into the incident, negative before it), whether it failed, its calls."""

    source: str
    began: float
    failed: bool
    calls: int


@dataclass
class Told:
    """What became of one run."""

    units: list[Unit] = field(default_factory=list)
    calls: int = 0
    fixes: list[dict[str, Any]] = field(default_factory=list)
    #: fix → (seconds into the incident, word) of each change of its state or verdict
    history: dict[str, list[tuple[float, str, str]]] = field(default_factory=dict)
    explained: bool = True


class Agents:
    """The agents of one client (one process's worth): guards of the real enforcer around real HTTP calls."""

    def __init__(self, client: Client, source: str, provider: Provider, told: Told, begins: float) -> None:
        self._client, self._source, self._provider, self._told, self._begins = client, source, provider, told, begins

        def ask(unit: str, timeout: float = PATIENCE_S, model: str = "first", reasked: bool = False) -> str:
            return self._ask(unit, timeout, model, reasked)

        self._work = guard(
            "answer",
            source=source,
            idempotent=True,
            inner_retries=1,
            timeout_arg="timeout",
            fallbacks={"backup": lambda unit, timeout=PATIENCE_S: self._ask(unit, timeout, "backup", False)},
            reask=lambda _, unit, timeout=PATIENCE_S: self._ask(unit, timeout, "first", True),
            client=client,
        )(ask)

    def _ask(self, unit: str, timeout: float, model: str, reasked: bool) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self._provider.port, timeout=REAL_PATIENCE_S)
        try:
            body = json.dumps({"source": self._source, "unit": unit, "model": model, "reasked": reasked})
            connection.request("POST", "/", body)
            answer = connection.getresponse()
            said = json.loads(answer.read())
        except http.client.HTTPException as error:
            clock.sleep(0.3)
            raise ConnectionResetError("Connection reset by peer") from error
        finally:
            connection.close()
        if said["latency_s"] > timeout:
            clock.sleep(timeout)
            raise TimeoutError(f"Request timed out after {timeout:g} s waiting for the model")
        clock.sleep(said["latency_s"])
        if answer.status != 200:
            raise ProviderError(answer.status, said["body"], said["retry_after"])
        if said["body"] == "refusal":
            raise RefusalError("I'm sorry, but I can't help with that request.")
        if said["body"] != "fine":
            raise ValueError("Could not parse LLM output: Expecting value: line 1 column 1 (char 0)")
        return str(said["body"])

    def agent(self, name: str, seed: int) -> None:
        """Take each task when it is due, or as soon as the one before has ended, for ever."""
        gaps, number, due = random.Random(seed), 0, clock.now()
        while True:
            due += gaps.uniform(*GAP_S)
            clock.sleep(due - clock.now())
            number += 1
            unit, began, failed = f"{name}-{number}", due - self._begins, False
            try:
                self._work(unit)
            except Exception:
                failed = True
            self._told.units.append(Unit(self._source, began, failed, self._provider.tries(self._source, unit)))


@contextlib.contextmanager
def serving(daemon: Daemon) -> Iterator[str]:
    """The daemon's application on a real socket; cycles are run by the driver."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    app = create_app(
        daemon.pipeline,
        daemon.config,
        daemon.home,
        intakes=daemon.intakes,
        port=port,
        host="127.0.0.1",
        status=daemon.status,
    )
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", ws="none"))
    thread = threading.Thread(target=lambda: server.run(sockets=[sock]), daemon=True)
    thread.start()
    end = time.monotonic() + REAL_PATIENCE_S
    while not server.started and time.monotonic() < end:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        app.state.closing.set()
        server.should_exit = True
        thread.join(REAL_PATIENCE_S)


class World:
    """One run of one incident."""

    def __init__(self, incident: Incident, seed: int, *, rsi_on: bool, lasts_s: float, auto: bool = True) -> None:
        self.incident, self.seed, self.rsi_on, self.lasts_s, self.auto = incident, seed, rsi_on, lasts_s, auto
        self.told = Told()

    def run(self) -> Told:
        """Play it from the warm-up to the incident's end."""
        ticking = VirtualClock()
        clock.install(ticking)
        random.seed(self.seed)
        try:
            with tempfile.TemporaryDirectory(prefix="rsi-fleet-") as folder:
                self._play(ticking, Path(folder))
        finally:
            clock.install(None)
        return self.told

    def _play(self, ticking: VirtualClock, folder: Path) -> None:
        provider = Provider(self.incident, self.seed, ticking.time)
        try:
            if not self.rsi_on:
                clients = [(Client(enabled=False, source=source), source) for source in self._sources()]
                self._run(ticking, provider, clients, None, "")
                return
            home = folder / "home"
            home.mkdir()
            (home / "rsi.yaml").write_text(f"worker: {{enabled: false}}\n{self.incident.config}", encoding="utf-8")
            with Daemon(Home(home), load(home)) as daemon, serving(daemon) as url:
                clients = [
                    (Client(enabled=True, url=url, source=source, client_id=f"c{n}"), source)
                    for n, source in enumerate(self._sources())
                ]
                if self.incident.paused:
                    daemon.pipeline.pause("person:fleet")
                self._run(ticking, provider, clients, daemon, url)
                self._explain(url)
                for client, _ in clients:
                    client.close(1.0)
        finally:
            provider.stop()

    def _sources(self) -> list[str]:
        return [
            source for source in self.incident.sources for _ in range(CLIENTS if len(self.incident.sources) == 1 else 1)
        ]

    def _run(
        self,
        ticking: VirtualClock,
        provider: Provider,
        clients: list[tuple[Client, str]],
        daemon: Daemon | None,
        url: str,
    ) -> None:
        begins = ticking.time + WARM_S
        for number, (client, source) in enumerate(clients):
            agents = Agents(client, source, provider, self.told, begins)
            for n in range(AGENTS_EACH):
                name = f"c{number}a{n}"
                ticking.agent(lambda a=agents, it=name, s=self.seed * 1000 + number * 100 + n: a.agent(it, s), name)
        while ticking.time < begins + self.lasts_s:
            ticking.advance(ticking.time + SYNC_S)
            if daemon is not None:
                self._sync(daemon, clients, url, ticking.time - begins)
        ticking.end()
        self.told.calls = provider.calls

    def _sync(self, daemon: Daemon, clients: list[tuple[Client, str]], url: str, since: float) -> None:
        """What takes a real second at most in a live system takes no virtual time here."""
        for client, _ in clients:
            client.flush(REAL_PATIENCE_S)
        daemon.pipeline.cycle()
        for client, source in clients:
            self._poll(client, source, url)
        for fix in self._get(url, "/v1/fixes")["fixes"]:
            line = (fix["state"], (fix.get("verdict") or {}).get("outcome") or "")
            seen = self.told.history.setdefault(fix["id"], [])
            if not seen or seen[-1][1:] != line:
                seen.append((since, *line))
            if self.incident.approved and fix["state"] == "proposed" and fix["change"]["after"]:
                daemon.pipeline.approve(fix["id"], "person:fleet")

    def _poll(self, client: Client, source: str, url: str) -> None:
        """A poll as the client's own thread makes it, at a virtual time: ten virtual minutes pass within its real wait."""
        held = client.policies.held(source)
        connection = http.client.HTTPConnection("127.0.0.1", int(url.rpartition(":")[2]), timeout=REAL_PATIENCE_S)
        headers = {"If-None-Match": held.etag} if held is not None and held.etag else {}
        connection.request("GET", policy_path(source, ["retry"], client.id), headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        if answer.status == 304:
            client.policies.still(source)
        else:
            assert client.policies.take(source, json.loads(body), answer.headers.get("etag")), body[:300]

    def _explain(self, url: str) -> None:
        """Every fix says in its journal who did what, and what its verdict rests on."""
        self.told.fixes = [self._get(url, f"/v1/fixes/{fix['id']}") for fix in self._get(url, "/v1/fixes")["fixes"]]
        self.told.explained = all(
            fix["journal"] and fix["evidence"] and (fix["state"] != "proposed" or fix.get("rails"))
            for fix in self.told.fixes
        )

    @staticmethod
    def _get(url: str, path: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", int(url.rpartition(":")[2]), timeout=REAL_PATIENCE_S)
        connection.request("GET", path)
        answer = connection.getresponse()
        found = json.loads(answer.read())
        connection.close()
        assert answer.status == 200, found
        return found

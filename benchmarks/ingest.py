"""How fast outcomes are taken: parsing alone, into the store, and over HTTP in batches and one by one.

    python benchmarks/ingest.py [--batches 100] [--posts 10000]

Outcomes as issue trackers see them: some 380 bytes, 10 % failures, half of their texts unique, redaction on, every
acknowledged commit fsynced. Server and client share the machine; the server's own CPU time is printed beside the rate.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

BATCH = 500
CONNECTIONS = 16
OURS = 12.0  # goal for parsing and normalising, µs an outcome


def outcome(i: int) -> dict[str, object]:
    """One of some 380 bytes."""
    found: dict[str, object] = {
        "id": uuid.uuid4().hex, "ts": time.time(), "source": "checkout-agent", "task": "search",
        "success": bool(i % 10), "kind": "task", "model": "gpt-4o-mini", "provider": "openai",
        "duration_ms": 812.5, "tokens_in": 1200, "tokens_out": 300, "cost_usd": 0.0012, "session": f"session-{i}", "run": uuid.uuid4().hex, "env": "prod",
    }  # fmt: skip
    if not i % 10:
        unique = f" for request {uuid.uuid4()}" if i % 20 else ""
        found["error"] = f"429 Too Many Requests: rate limit reached{unique}, retry later"
    return found


def batches(count: int) -> list[bytes]:
    return [json.dumps([outcome(i) for i in range(k * BATCH, (k + 1) * BATCH)]).encode() for k in range(count)]


def parsing(bodies: list[bytes]) -> None:
    from rsi.config import Config
    from rsi.ingest import Ingest
    from rsi.ingest.parse import parse
    from rsi.model import Batch
    from rsi.store import Store

    config = Config()
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "rsi.db") as store:
        ingest = Ingest(store, config)
        n = len(bodies) * BATCH
        best = min(_timed(lambda: [_taken(ingest, parse(body, config.limits)) for body in bodies]) for _ in range(3))
        print(f"parse and normalise   {best / n * 1e6:6.1f} µs CPU an outcome (goal ≤ {OURS:g})")
        began, cpu = time.perf_counter(), time.process_time()
        for done in [ingest.submit(Batch(door="bench", body=body)) for body in bodies]:
            done.result()
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        print(f"into the store        {cpu / n * 1e6:6.1f} µs CPU an outcome, {n / wall:8.0f} outcomes/s")


def _taken(ingest, parsed):
    return ingest._normalise(parsed, None, time.time())


def _timed(work) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


SERVER = """
import sys, uvicorn, uvloop, socket, asyncio
from pathlib import Path
from rsi.config import Config, Home
from rsi.pipeline import Pipeline
from rsi.store import Store
from rsi.web.app import create_app
from rsi_adapters.webhook import WebhookIntake
home = Home(Path(sys.argv[1])); home.prepare(); config = Config()
store = Store.open(home.store_url(config)); pipeline = Pipeline(home, config, store)
sock = socket.socket(); sock.bind(("127.0.0.1", 0)); sock.listen(128); port = sock.getsockname()[1]
app = create_app(pipeline, config, home, intakes=[WebhookIntake(home.path, config)], port=port, host="127.0.0.1")
if sys.argv[2] == "cycles": pipeline.start()
print(port, flush=True)
settings = uvicorn.Config(app, http="httptools", ws="none", lifespan="off", access_log=False, log_config=None,
                          proxy_headers=False, server_header=False)
server = uvicorn.Server(settings)
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner: runner.run(server.serve(sockets=[sock]))
"""


class Server:
    """The daemon's HTTP in a process of its own."""

    def __init__(self, folder: str, mode: str) -> None:
        self._child = subprocess.Popen([sys.executable, "-c", SERVER, folder, mode], stdout=subprocess.PIPE)
        assert self._child.stdout is not None
        self.port = int(self._child.stdout.readline())

    def cpu(self) -> float:
        fields = Path(f"/proc/{self._child.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        self._child.terminate()
        self._child.wait()


async def _client(port: int, requests: list[bytes], statuses: list[bytes]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while requests:
        writer.write(requests.pop())
        head = await reader.readuntil(b"\r\n\r\n")
        statuses.append(head[9:12])
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
    writer.close()


def over_http(
    name: str,
    bodies: list[bytes],
    *,
    per_body: int,
    connections: int,
    mode: str,
    path: str = "/v1/outcomes",
    method: str = "POST",
) -> None:
    import uvloop

    with tempfile.TemporaryDirectory() as folder:
        server = Server(folder, mode)
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Type: application/json\r\n"
        requests = [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies]
        statuses: list[bytes] = []

        async def run() -> None:
            await asyncio.gather(*(_client(server.port, requests, statuses) for _ in range(connections)))

        cpu, began = server.cpu(), time.perf_counter()
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(run())
            wall, cpu = time.perf_counter() - began, server.cpu() - cpu
        finally:
            server.stop()
    n = len(bodies) * per_body
    codes = {code.decode(): statuses.count(code) for code in set(statuses)}
    print(f"{name:<21} {cpu / n * 1e6:6.1f} µs CPU each in the server, {n / wall:8.0f}/s, answers {codes}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--posts", type=int, default=10_000)
    given = parser.parse_args()
    bodies = batches(given.batches)
    print(f"{len(bodies[0]) / BATCH:.0f} bytes an outcome, {os.cpu_count()} cores")
    parsing(bodies[:20])
    over_http("HTTP, batches of 500", bodies, per_body=BATCH, connections=4, mode="still")
    over_http("… with cycles", batches(given.batches), per_body=BATCH, connections=4, mode="cycles")
    single = [json.dumps(outcome(i)).encode() for i in range(given.posts)]
    over_http("HTTP, one by one", single, per_body=1, connections=CONNECTIONS, mode="still")
    health = [b""] * given.posts
    over_http("GET /health", health, per_body=1, connections=CONNECTIONS, mode="still", path="/health", method="GET")


if __name__ == "__main__":
    main()

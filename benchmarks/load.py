"""A load generator that costs little: keep-alive connections on one epoll loop, requests prepared before the clock runs.

Used by `benchmarks/peer.py` as a child process: `python benchmarks/load.py PORT CONNECTIONS SECONDS KIND [BATCH]` prints
one line of JSON: requests, errors, seconds, p50 and p99 in ms. KIND is `post`, `observe` or a path to GET.
"""

from __future__ import annotations

import itertools
import json
import random
import selectors
import socket
import sys
import time
import uuid
from datetime import UTC, datetime

WORDS = [
    "model",
    "tool",
    "agent",
    "retry",
    "queue",
    "shard",
    "index",
    "token",
    "region",
    "batch",
    "window",
    "stream",
    "cache",
    "order",
]
FAULTS = [
    f"{what} while calling the {word} service"
    for what in (
        "RateLimitError: Error code: 429 - Rate limit reached for gpt-4o: Limit 30000",
        "httpx.ReadTimeout: The read operation timed out",
        "503 Service Unavailable: the model is overloaded",
        "json.decoder.JSONDecodeError: Expecting value: line 1 column 1",
    )
    for word in WORDS[:7]
]
STARTED = time.time() - 60


def outcome(number: int, pick: random.Random, padding: int = 380) -> dict:
    """About 380 bytes of JSON; 10 % fail, half of the error texts are unique."""
    item = {
        "id": uuid.UUID(int=pick.getrandbits(128)).hex,
        "ts": datetime.fromtimestamp(STARTED + number * 0.0001, UTC).isoformat(),
        "source": f"agent-{number % 20}",
        "task": f"task-{WORDS[number % 10]}",
        "success": True,
        "model": "gpt-4o",
        "duration_ms": round(pick.uniform(10, 900), 2),
        "tokens_in": pick.randrange(4000),
        "tokens_out": pick.randrange(900),
        "session": f"s-{number // 10}",
        "tags": ["prod", "planner"],
        "metadata": {"step": number % 40},
    }
    if number % 10 == 0:
        item["success"] = False
        text = FAULTS[number // 10 % len(FAULTS)]
        item["error"] = (
            text if number % 20 else f"{text}, used {pick.getrandbits(30)}, request req_{pick.getrandbits(64):x}"
        )
    missing = padding - len(json.dumps(item))
    item["metadata"]["note"] = "x" * max(0, missing - 12)
    return item


def request(method: str, path: str, body: bytes = b"", kind: str = "application/json") -> bytes:
    """Raw HTTP/1.1."""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{PORT}\r\n"
    if method == "POST":
        head += f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def prepared(kind: str, batch: int, count: int):
    """Requests to cycle through; posts are all different."""
    if kind not in ("post", "observe"):
        return itertools.repeat(request("GET", kind))
    pick = random.Random(7)
    path = "/v1/outcomes" if kind == "post" else "/observe"
    made = []
    for i in range(count):
        items = [outcome(i * batch + j, pick) for j in range(batch)]
        made.append(request("POST", path, json.dumps(items if batch > 1 else items[0]).encode()))
    return iter(made)


def run(connections: int, seconds: float, kind: str, batch: int) -> dict:
    """Keep `connections` busy for `seconds`."""
    count = int(seconds * (12_000 if batch == 1 else 60_000 / batch + 50))
    source = prepared(kind, batch, count)
    chosen = selectors.DefaultSelector()
    for _ in range(connections):
        sock = socket.create_connection(("127.0.0.1", PORT))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        chosen.register(sock, selectors.EVENT_READ, {"buffer": b"", "at": 0.0})
    began = time.perf_counter()
    latencies, errors, done = [], 0, False
    busy = 0
    for key in list(chosen.get_map().values()):
        key.data["at"] = time.perf_counter()
        key.fileobj.sendall(next(source))
        busy += 1
    while busy:
        for key, _ in chosen.select(timeout=5):
            data = key.fileobj.recv(65536)
            if not data:
                errors += 1
                busy -= 1
                chosen.unregister(key.fileobj)
                continue
            buffer = key.data["buffer"] + data
            head = buffer.find(b"\r\n\r\n")
            if head < 0:
                key.data["buffer"] = buffer
                continue
            lower = buffer[:head].lower()
            at = lower.find(b"content-length:")
            length = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(buffer) < head + 4 + length:
                key.data["buffer"] = buffer
                continue
            key.data["buffer"] = b""
            now = time.perf_counter()
            latencies.append(now - key.data["at"])
            if buffer[9:10] != b"2":
                errors += 1
            done = done or now - began >= seconds
            following = None if done else next(source, None)
            closes = b"connection: close" in lower or lower.startswith(b"http/1.0")
            if closes and following is not None:  # a server without keep-alive pays for it
                chosen.unregister(key.fileobj)
                key.fileobj.close()
                sock = socket.create_connection(("127.0.0.1", PORT))
                chosen.register(sock, selectors.EVENT_READ, {"buffer": b"", "at": now})
                sock.sendall(following)
                continue
            if following is None:
                busy -= 1
                chosen.unregister(key.fileobj)
                continue
            key.data["at"] = now
            key.fileobj.sendall(following)
    took = time.perf_counter() - began
    latencies.sort()
    return {
        "requests": len(latencies), "errors": errors, "seconds": round(took, 3),
        "rps": round(len(latencies) / took, 1), "outcomes_per_s": round(len(latencies) * batch / took, 1),
        "p50_ms": round(latencies[len(latencies) // 2] * 1e3, 2),
        "p99_ms": round(latencies[int(len(latencies) * 0.99)] * 1e3, 2),
    }  # fmt: skip


if __name__ == "__main__":
    PORT = int(sys.argv[1])
    size = int(sys.argv[5]) if len(sys.argv) > 5 else 1
    print(json.dumps(run(int(sys.argv[2]), float(sys.argv[3]), sys.argv[4], size)))

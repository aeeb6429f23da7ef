"""What `@rsi.guard` costs a call, beyond the call itself, with no daemon, a hanging one, and a policy in force.

    python benchmarks/guard.py [--json] [--calls N] [--repeats R] [--limit-us 20]

Two figures per situation, medians of the repeats, in µs:
- `own`: CPU time of the calling thread (what guard itself does);
- `wall`: time on the clock in a loop that also does 200 µs of work a call, as an agent at full speed might. It contains
  what the background sender takes from the same interpreter. `wall` minus the same loop without guard.
Exits 1 if a `wall` is above the limit.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from typing import Any

from rsi import clock
from rsi.client import Client
from rsi.enforce import guard

WORK_S = 200e-6
LIMIT_US = 20.0


def nothing(value: int) -> int:
    return value


def work(value: int) -> int:
    """Busy for 200 µs on the clock, letting other threads run as I/O does."""
    end = time.perf_counter() + WORK_S
    while time.perf_counter() < end:
        pass
    return value


def per_call(function: Callable[[int], int], calls: int, now: Callable[[], float]) -> float:
    begin = now()
    for n in range(calls):
        function(n)
    return (now() - begin) / calls * 1e6


def measure(client: Client, calls: int, repeats: int) -> dict[str, float]:
    """Guarded and bare alternate, so that a busy machine is busy for both."""
    guarded_nothing, guarded_work = (guard("bench", idempotent=True, client=client)(it) for it in (nothing, work))
    per_call(guarded_nothing, 100, time.thread_time)
    own, wall = [], []
    for _ in range(repeats):
        client.flush(10)
        own.append(per_call(guarded_nothing, calls, time.thread_time) - per_call(nothing, calls, time.thread_time))
        client.flush(10)
        bare = per_call(work, calls, time.perf_counter)
        wall.append(per_call(guarded_work, calls, time.perf_counter) - bare)
    return {"own_us": round(statistics.median(own), 2), "wall_us": round(statistics.median(wall), 2)}


@contextmanager
def nobody() -> Any:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


@contextmanager
def hanging() -> Any:
    """Accepts connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def policy() -> dict[str, Any]:
    trial = {"fix": "f1", "state": "canary", "stage": 1, "salt": "s", "fraction": 0.5, "source": "bench", "task": "*"}
    trial |= {"knobs": ["retry"], "patch": {"retry": {"max_attempts": 4, "on": ["rate_limit"]}}}
    until = clock.iso(clock.now() + 3600)
    return {"version": 1, "valid_until": until, "scopes": [], "experiments": [trial]}


def run(calls: int, repeats: int) -> dict[str, dict[str, float]]:
    found = {}
    for name, place, document in (
        ("no daemon", nobody, None),
        ("hanging daemon", hanging, None),
        ("no daemon, in a canary", nobody, policy()),
    ):
        with ExitStack() as stack:
            os.environ["XDG_STATE_HOME"] = stack.enter_context(tempfile.TemporaryDirectory())
            client = Client(url=stack.enter_context(place()), source="bench", enabled=True)
            stack.callback(client.close, 0.2)
            if document is not None:
                client.policies.take("bench", document)
            found[name] = measure(client, calls, repeats)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="What @rsi.guard costs a call, in microseconds.")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--calls", type=int, default=2_000)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--limit-us", type=float, default=LIMIT_US)
    options = parser.parse_args()
    found = run(options.calls, options.repeats)
    ok = all(it["wall_us"] <= options.limit_us for name, it in found.items() if "canary" not in name)
    if options.json:
        print(json.dumps({"limit_us": options.limit_us, "ok": ok, "situations": found}))
    else:
        for name, it in found.items():
            print(f"{name:24s} own {it['own_us']:6.2f} µs   wall {it['wall_us']:6.2f} µs")
        print(f"limit {options.limit_us:g} µs with no policy: {'kept' if ok else 'BROKEN'}")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())

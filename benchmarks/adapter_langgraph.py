"""What our LangChain handler costs per callback, beside an empty handler and OpenInference's instrumentor, in one run.

    python benchmarks/adapter_langgraph.py [--json] [--runs N] [--repeats R] [--limit-us 20]

Needs langgraph; OpenInference is left out where `openinference-instrumentation-langchain` is not installed. A graph of
ten nodes is run with each handler in turn, again and again, so that a busy machine is busy for all of them; figures are
in µs per callback (22 a run):
- `inside`: CPU time of the calling thread between the entry of the handler and its return: the median of each repeat,
  and of these the least;
- `own`: CPU time of the calling thread beyond the same graph with no handler, the least of the repeats: `inside`, what
  LangChain does to reach a handler at all (see `empty`), and what both do to the caches;
- `wall`: the same on the clock, the median; it contains what the background sender takes from the same interpreter.
Exits 1 if our `inside` is above the limit. `--away` instead reports 180,000 outcomes, an hour of 50 a second, while there
is no daemon, and exits 1 unless the queue kept its bound and every outcome is in the spool or counted as dropped.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import socket
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict
from uuid import uuid4

from langchain_core.callbacks import BaseCallbackHandler
from langgraph.graph import START, StateGraph

import rsi.client
from rsi.client.sender import QUEUE_SIZE
from rsi.client.spool import MAX_BYTES
from rsi_adapters.langgraph import RSICallbackHandler

NODES = 10
#: 50 outcomes a second for an hour.
AWAY_RUNS = 90_000
LIMIT_US = 20.0


class State(TypedDict):
    x: int


class Empty(BaseCallbackHandler):
    """Counts, and does nothing."""

    run_inline = True
    calls = 0

    def on_chain_start(self, *args: Any, **more: Any) -> None:
        Empty.calls += 1

    def on_chain_end(self, *args: Any, **more: Any) -> None:
        Empty.calls += 1


def graph() -> Any:
    builder, before = StateGraph(State), START
    for n in range(NODES):
        builder.add_node(f"n{n}", lambda state: {"x": state["x"] + 1})
        builder.add_edge(before, f"n{n}")
        before = f"n{n}"
    return builder.compile(name="bench")


def timed(kind: type[BaseCallbackHandler], spent: list[int]) -> type[BaseCallbackHandler]:
    """The same handler, taking its own time (ns)."""

    class Timed(kind):  # type: ignore[misc,valid-type]
        def on_chain_start(self, *args: Any, **more: Any) -> None:
            began = time.thread_time_ns()
            super().on_chain_start(*args, **more)
            spent.append(time.thread_time_ns() - began)

        def on_chain_end(self, *args: Any, **more: Any) -> None:
            began = time.thread_time_ns()
            super().on_chain_end(*args, **more)
            spent.append(time.thread_time_ns() - began)

    return Timed


def inside(app: Any, kind: type[BaseCallbackHandler], runs: int, repeats: int) -> float:
    """µs of a callback, without what the clock takes: the median, in the repeat that was disturbed least."""
    medians = []
    for _ in range(repeats):
        spent: list[int] = []
        config = {"callbacks": [timed(kind, spent)()]}
        for _ in range(runs):
            app.invoke({"x": 0}, config)
        medians.append(statistics.median(spent))
    clock = []
    for _ in range(1_000):
        began = time.thread_time_ns()
        clock.append(time.thread_time_ns() - began)
    return (min(medians) - statistics.median(clock)) / 1e3


class Instrumented:
    """OpenInference's instrumentor with a batching exporter that throws everything away."""

    def __init__(self) -> None:
        from openinference.instrumentation.langchain import LangChainInstrumentor
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

        class Nowhere(SpanExporter):
            def export(self, spans: Any) -> SpanExportResult:
                return SpanExportResult.SUCCESS

        self.provider = TracerProvider()
        self.provider.add_span_processor(BatchSpanProcessor(Nowhere()))
        self.instrumentor = LangChainInstrumentor()

    def __enter__(self) -> None:
        self.instrumentor.instrument(tracer_provider=self.provider)

    def __exit__(self, *_: object) -> None:
        self.instrumentor.uninstrument()
        self.provider.force_flush()


class Nothing:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def per_run(call: Callable[[], Any], runs: int) -> tuple[float, float]:
    """(CPU of this thread, wall), seconds a run; without the garbage of whoever ran before."""
    gc.collect()
    cpu, wall = time.thread_time(), time.perf_counter()
    for _ in range(runs):
        call()
    return (time.thread_time() - cpu) / runs, (time.perf_counter() - wall) / runs


def situations(client: rsi.client.Client) -> dict[str, tuple[list[Any], Any]]:
    found: dict[str, tuple[list[Any], Any]] = {
        "none": ([], Nothing()),
        "empty": ([Empty()], Nothing()),
        "rsi": ([RSICallbackHandler(client=client)], Nothing()),
    }
    try:
        found["openinference"] = ([], Instrumented())
    except ImportError:
        print("openinference-instrumentation-langchain is not installed: left out", file=sys.stderr)
    return found


def measure(client: rsi.client.Client, runs: int, repeats: int) -> dict[str, dict[str, dict[str, float]]]:
    app, loop = graph(), asyncio.new_event_loop()
    seen: dict[str, dict[str, list[tuple[float, float]]]] = {"invoke": {}, "ainvoke": {}}
    kinds = situations(client)
    app.invoke({"x": 0}, {"callbacks": [Empty()]})
    callbacks = Empty.calls
    for _ in range(repeats + 1):  # the first warms up
        for name, (handlers, around) in kinds.items():
            config = {"callbacks": handlers}
            with around:
                sync = per_run(lambda config=config: app.invoke({"x": 0}, config), runs)
                later = per_run(lambda config=config: loop.run_until_complete(app.ainvoke({"x": 0}, config)), runs)
            client.flush(10)
            seen["invoke"].setdefault(name, []).append(sync)
            seen["ainvoke"].setdefault(name, []).append(later)
    loop.close()
    found = {how: _beyond(by_name, callbacks) for how, by_name in seen.items()}
    for name, kind in (("empty", Empty), ("rsi", RSICallbackHandler)):
        found["invoke"][name]["inside_us"] = round(inside(app, kind, runs, repeats), 2)
    return found


def _beyond(by_name: dict[str, list[tuple[float, float]]], callbacks: int) -> dict[str, dict[str, float]]:
    def figures(pairs: list[tuple[float, float]]) -> tuple[float, float]:
        return min(cpu for cpu, _ in pairs[1:]), statistics.median(wall for _, wall in pairs[1:])

    bare_cpu, bare_wall = figures(by_name["none"])
    return {
        name: {
            "own_us": round((cpu - bare_cpu) / callbacks * 1e6, 2),
            "wall_us": round((wall - bare_wall) / callbacks * 1e6, 2),
        }
        for name, (cpu, wall) in ((name, figures(pairs)) for name, pairs in by_name.items())
        if name != "none"
    }


def away(client: rsi.client.Client, folder: Path) -> dict[str, float]:
    """An hour without a daemon, as fast as it goes: what waits where, and what it takes of memory.

    Callbacks as of `AWAY_RUNS` runs of one node; the queue, the spool and the sender are the real ones.
    """
    handler, peak = RSICallbackHandler(client=client), 0
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(AWAY_RUNS):
        root, node = uuid4(), uuid4()
        handler.on_chain_start({}, {}, run_id=root, name="bench")
        handler.on_chain_start(
            {}, {}, run_id=node, parent_run_id=root, name="node", metadata={"langgraph_node": "node"}
        )
        handler.on_chain_error(ValueError(f"{number} is no answer" * 10), run_id=node)
        handler.on_chain_end({}, run_id=root)
        peak = max(peak, client.status()["queued"]) if number % 100 == 0 else peak
    client.flush(60)
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    status = client.status()
    spooled = sum(path.stat().st_size for path in folder.rglob("*.ndjson"))
    return {
        "outcomes": 2 * AWAY_RUNS, "queue_limit": QUEUE_SIZE, "queued_peak": peak, "spool_limit_mb": MAX_BYTES / 1e6,
        "spool_mb": round(spooled / 1e6, 2), "spooled": status["spooled"], "dropped": status["dropped"],
        "held_mb": round(held / 1e6, 2), "accounted": status["spooled"] + status["dropped"] == 2 * AWAY_RUNS,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description="What our LangChain handler costs per callback, in microseconds.")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--limit-us", type=float, default=LIMIT_US)
    parser.add_argument("--away", action="store_true", help="an hour without a daemon instead: what is kept, and where")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as state, socket.socket() as nobody:
        os.environ["XDG_STATE_HOME"] = state
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        client = rsi.client.configure(url=url, source="bench", enabled=True)
        if options.away:
            kept = away(client, Path(state))
            print(json.dumps(kept))
            client.close(0.2)
            return 0 if kept["accounted"] and kept["queued_peak"] <= QUEUE_SIZE else 1
        found = measure(client, options.runs, options.repeats)
        client.close(0.2)
    ok = found["invoke"]["rsi"]["inside_us"] <= options.limit_us
    if options.json:
        print(json.dumps({"limit_us": options.limit_us, "ok": ok, "per_callback": found}))
    else:
        for how, by_name in found.items():
            for name, it in by_name.items():
                figures = "   ".join(f"{figure.removesuffix('_us')} {value:8.2f} µs" for figure, value in it.items())
                print(f"{how:8s} {name:14s} {figures}")
        print(f"limit {options.limit_us:g} µs inside a callback: {'kept' if ok else 'BROKEN'}")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())

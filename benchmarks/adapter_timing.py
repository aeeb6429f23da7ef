"""Takes the time of an adapter's callbacks where the framework calls them."""

from __future__ import annotations

import inspect
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

LIMIT_US = 20.0
#: No daemon answers here: what is queued goes to the spool.
NOBODY = "http://127.0.0.1:9"


def timed(kind: type, names: tuple[str, ...], spent: list[int]) -> type:
    """A subclass whose methods `names` note the CPU time (ns) that the calling thread spends in them."""

    def around(name: str) -> Any:
        before = getattr(kind, name)
        if inspect.iscoroutinefunction(before):

            async def asynchronous(self: Any, *args: Any, **more: Any) -> Any:
                began = time.thread_time_ns()
                done = await before(self, *args, **more)
                spent.append(time.thread_time_ns() - began)
                return done

            return asynchronous

        def synchronous(self: Any, *args: Any, **more: Any) -> Any:
            began = time.thread_time_ns()
            done = before(self, *args, **more)
            spent.append(time.thread_time_ns() - began)
            return done

        return synchronous

    return type(f"Timed{kind.__name__}", (kind,), {name: around(name) for name in names})


def of_the_clock() -> float:
    """What taking the time takes, in ns."""
    found = []
    for _ in range(1_000):
        began = time.thread_time_ns()
        found.append(time.thread_time_ns() - began)
    return statistics.median(found)


def figures(repeats: list[list[int]]) -> dict[str, float]:
    """µs of a callback, without the clock: median and mean of the repeat that was disturbed least."""
    clock = of_the_clock()
    return {
        "median": round((min(map(statistics.median, repeats)) - clock) / 1e3, 2),
        "mean": round((min(map(statistics.fmean, repeats)) - clock) / 1e3, 2),
        "callbacks": len(repeats[0]),
    }


def in_turns(measures: dict[str, Callable[[], list[int]]], repeats: int) -> dict[str, dict[str, float]]:
    """Each measure once to be warm, then `repeats` times, in turns: a busy machine is busy for all of them."""
    for measure in measures.values():
        measure()
    found: dict[str, list[list[int]]] = {name: [] for name in measures}
    for _ in range(repeats):
        for name, measure in measures.items():
            found[name].append(measure())
    return {name: figures(each) for name, each in found.items()}


def report(found: dict[str, dict[str, float]], *, as_json: bool, limit_us: float) -> int:
    """Print it; 1 if a callback of ours takes more than the limit, by its mean."""
    if as_json:
        print(json.dumps(found))
    else:
        for name, row in found.items():
            print(
                f"{name:6} median {row['median']:7.2f} µs  mean {row['mean']:7.2f} µs  of {row['callbacks']} callbacks"
            )
    return int(found["rsi"]["mean"] > limit_us)

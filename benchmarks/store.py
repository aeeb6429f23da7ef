"""What the store takes a second, and what an outcome weighs: `python benchmarks/store.py [folder]`.

380-byte outcomes, 10 % failures, every commit fsynced: batches of 500 and single rows from 16 concurrent callers; the
same beside a thread that computes, as the daemon's parsing does. The probe is this disk's own fdatasync.
The best of three runs is shown, with all three.
"""

import gc
import os
import random
import statistics
import sys
import tempfile
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from rsi.model import Outcome
from rsi.store import Store, outcomes

BATCH, TOTAL, SINGLES, CALLERS, RUNS = 500, 100_000, 10_000, 16, 3
random.seed(7)


def make(n: int) -> Outcome:
    failed = n % 10 == 0
    text = f"RateLimitError: 429 rate limit reached for request {random.getrandbits(64):x}, limit 30000, used 29211"
    return Outcome(
        id=str(uuid.UUID(int=random.getrandbits(128))),
        ts=1_790_000_000.0 + n * 0.01,
        source=f"agent-{n % 5}",
        task=f"task-{n % 20}",
        kind="task",
        status="failed" if failed else "ok",
        error=text if failed else None,
        error_type="RateLimitError" if failed else None,
        model="gpt-4o-mini",
        provider="openai",
        duration_ms=round(random.random() * 1e3, 2),
        tokens_in=1200,
        tokens_out=88,
        session=f"s-{n // 4:08d}",
        tags=("prod", "planner"),
        metadata={"step": n, "note": "x" * (12 if failed else 120)},
    )


def batches(rows: list[Outcome], size: int) -> list[list[Outcome]]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]


def probe(folder: Path) -> float:
    """p50 of one 4 KiB write with fdatasync, ms."""
    descriptor = os.open(folder / "probe", os.O_CREAT | os.O_WRONLY)
    took = []
    for _ in range(100):
        began = time.perf_counter()
        os.write(descriptor, b"x" * 4096)
        os.fdatasync(descriptor)
        took.append(time.perf_counter() - began)
    os.close(descriptor)
    return statistics.median(took) * 1e3


def batched(store: Store, rows: list[Outcome], ahead: int) -> float:
    """Rows a second with `ahead` batches under way."""
    waiting = []
    began = time.perf_counter()
    for batch in batches(rows, BATCH):
        waiting.append(store.add_outcomes(batch, 1_790_000_000.0))
        if len(waiting) > ahead:
            waiting.pop(0).result()
    for future in waiting:
        future.result()
    return len(rows) / (time.perf_counter() - began)


def singly(store: Store, rows: list[Outcome]) -> tuple[float, float, float]:
    """Rows a second and p50, p99 (ms) of 16 callers that each wait for their own row."""
    took: list[float] = []

    def caller(mine: list[Outcome]) -> None:
        for row in mine:
            began = time.perf_counter()
            store.add_outcomes([row]).result()
            took.append(time.perf_counter() - began)

    began = time.perf_counter()
    with ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(caller, [rows[i::CALLERS] for i in range(CALLERS)]))
    rate = len(rows) / (time.perf_counter() - began)
    took.sort()
    return rate, took[len(took) // 2] * 1e3, took[int(len(took) * 0.99)] * 1e3


class Busy:
    """A thread that computes in Python all the time."""

    def __enter__(self) -> None:
        self.on = True
        self.thread = threading.Thread(target=self.spin)
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.on = False
        self.thread.join()

    def spin(self) -> None:
        while self.on:
            sum(i * i for i in range(1000))


def rss() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4 / 1024 if sys.platform == "linux" else 0.0


def main(folder: Path) -> None:
    sys.setswitchinterval(0.0001)  # as the daemon does: a waiting writer gets the interpreter back after 0.1 ms, not 5
    print(f"fdatasync 4 KiB: p50 {probe(folder):.2f} ms")
    rows = [make(n) for n in range(TOTAL)]
    gc.collect()
    gc.freeze()  # the rows are the benchmark's, not the daemon's
    weight = statistics.mean(len(msgspec.json.encode(row)) for row in rows)
    print(f"outcome as JSON: {weight:.0f} bytes")
    began = time.perf_counter()
    outcomes.batch_of(rows[:20_000], "default", 1.0)
    print(f"encoding: {(time.perf_counter() - began) / 20_000 * 1e6:.2f} us a row")
    began = time.perf_counter()
    store = Store.open(folder / "a.db")
    print(f"open, blank: {(time.perf_counter() - began) * 1e3:.0f} ms; RSS {rss():.0f} MB with the rows")
    for ahead in (0, 1, 4):
        rates = []
        spent = time.process_time()
        for n in range(RUNS):
            with Store.open(folder / f"b{ahead}-{n}.db") as other:
                rates.append(batched(other, rows, ahead))
        spent = (time.process_time() - spent) / RUNS / TOTAL * 1e6
        every = " ".join(f"{rate:,.0f}" for rate in rates)
        print(
            f"batches of {BATCH}, {ahead + 1} under way: {max(rates):,.0f} rows/s of {every}; CPU {spent:.0f} us a row"
        )
    print(f"again on the file for the size: {batched(store, rows, 1):,.0f} rows/s")
    print(f"the same again, all duplicates: {batched(store, rows, 1):,.0f} rows/s")
    store.checkpoint()
    print(f"weight: {store.size_bytes() / TOTAL:.0f} bytes an outcome")
    with store.read() as conn:
        began = time.perf_counter()
        seen = store.outcomes_since(conn, 0, 20_000)
        print(f"reading: {len(seen) / (time.perf_counter() - began):,.0f} rows/s")
    fresh = [make(n) for n in range(SINGLES * (RUNS + 1))]
    rate, p50, p99 = max(singly(store, fresh[n * SINGLES :][:SINGLES]) for n in range(RUNS))
    print(f"single rows, {CALLERS} callers: {rate:,.0f} rows/s, p50 {p50:.2f} ms, p99 {p99:.2f} ms")
    with Busy():
        with Store.open(folder / "c.db") as other:
            print(f"beside a busy thread, batches: {batched(other, rows[:50_000], 1):,.0f} rows/s")
        rate, p50, p99 = singly(store, fresh[SINGLES * RUNS :][:2_000])
        print(f"beside a busy thread, single rows: {rate:,.0f} rows/s, p50 {p50:.2f} ms, p99 {p99:.2f} ms")
    store.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as made:
        main(Path(made))

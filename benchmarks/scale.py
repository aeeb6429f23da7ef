"""What a million outcomes and 20,000 templates cost, and what a killed worker loses: `python benchmarks/scale.py [--json]`.

The real store, pipeline and analysis worker in temporary homes:
(a) a cycle per new outcome, at 1 %, 10 % and all of `--outcomes` stored: it must follow what is new, not what is stored;
(b) resident memory of the daemon's side and of the worker after `--templates` distinct templates. With the n-gram embedder:
    MiniLM takes minutes for 20,000, so it is given a tenth of them;
(c) from a new template's outcome being stored to its issue, and to its vector, with MiniLM warm: goal 1 s;
(d) kill -9 of the worker inside a request: nothing lost, restarted, every template embedded, else exit code 1;
(e) the same texts in three orders: pairs of texts that are one issue in one order and two in another;
(f) what one more template costs where all of them have something in common (one beginning, one message with other codes,
    one tool each, …): the same, however many there are, or exit code 1. A tenth of the templates at first, then all.

A short form: `python benchmarks/scale.py --outcomes 20000 --templates 400`. There MiniLM
is left out, and (b) and (c) run beside the others, so its times are not to be quoted. `--only a,d` leaves the others out.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from scale_home import BATCH, Place, Watched, memory, unlike, until, worker
from scale_killed import PLAN, SHORT_PLAN, kills
from scale_texts import SHAPES, Item, distinct, failure, wordings

from rsi.analyze.cluster import Item as Template
from rsi.analyze.grouping import Grouper
from rsi.store import issues

LEVELS = (0.01, 0.1, 1.0)
NEW = 500
"""New outcomes of a measured cycle: some seconds of a busy home."""
CYCLES = 15
FULL_FROM = 100_000
"""Fewer outcomes than this are the short form: fewer first sights and texts."""
LOOK_S = 0.005
"""How often a first sight is looked for: the error of its times."""
SPACING_S = 0.25
"""Seconds of history between two outcomes: a million are three days."""

BEGAN = time.perf_counter()


# --- (a) a cycle


def history(first: int, last: int, total: int, templates: int, began: float) -> Iterator[Item]:
    """Outcomes, one of ten failed, over 5 agents and 20 tasks."""
    for n in range(first, last):
        item: Item = {
            "id": f"a{n}", "source": f"agent-{n % 5}", "task": f"task-{n % 20}", "success": n % 10 > 0,
            "ts": began - max(total - n, 0) * SPACING_S, "duration_ms": 100 + n % 900,
        }  # fmt: skip
        if n % 10 == 0:
            item["error"] = {"message": distinct(n // 10 % templates)}
        yield item


def said(what: str) -> None:
    """Where a long run is."""
    print(f"{time.perf_counter() - BEGAN:6.1f} s  {what}", file=sys.stderr, flush=True)


def took_ms(step: Callable[[], object]) -> float:
    began = time.perf_counter()
    step()
    return (time.perf_counter() - began) * 1e3


def cycles(folder: Path, child: Watched, total: int, templates: int) -> list[dict[str, float]]:
    """What a cycle takes with nothing, one and `NEW` new outcomes of known templates, by what is stored."""
    began, stored, found = time.time(), 0, []
    with Place(folder, child) as place:
        for level in LEVELS:
            target, at = max(int(total * level), stored), time.perf_counter()
            while stored < target:  # in pieces: what waits for the worker would fill a gigabyte otherwise
                step = min(stored + 50 * BATCH, target)
                place.send(history(stored, step, total, templates, began))
                place.settle()
                stored = step
            told: dict[str, float] = {"stored": stored, "fill_s": time.perf_counter() - at}
            told["look_ms"] = took_ms(place.pipeline._correlating.run)  # after it none is due for a minute
            known = min(templates, max(int(total * LEVELS[0]) // 10, 1))  # seen since the first level
            for name, new in (("idle_ms", 0), ("one_ms", 1), ("many_ms", NEW)):
                took = []
                for _ in range(CYCLES):
                    place.send(history(stored, stored + new, total, known, began))
                    stored += new
                    took.append(took_ms(place.cycle))
                told[name] = statistics.median(took)
            told["us_each"] = (told["many_ms"] - told["idle_ms"]) / NEW * 1e3
            told["templates"] = place.one("SELECT count(*) FROM fingerprints")[0]
            found.append(told)
            said(f"(a) {stored:,} stored")
    return found


# --- (b) memory, (c) first sight; in a process of their own, so that nothing else is in it


def part(folder: Path, embedder: str, templates: int, sights: int) -> dict[str, Any]:
    """Memory before and after `templates` templates, then how long `sights` new ones take."""
    gc.collect()
    with worker(embedder) as child, Place(folder, child) as place:
        place.send([failure("w", "the pump exploded in the warm-up")])
        place.settle()
        pid = place.worker.status().pid or 0
        told: dict[str, Any] = {"templates": templates, "daemon_before": memory(os.getpid())}
        told["worker_before"] = memory(pid)
        began = time.perf_counter()
        for first in range(0, templates, BATCH):
            last = min(first + BATCH, templates)
            place.send(failure(f"b{n}", distinct(n)) for n in range(first, last))
            place.settle()
        told["settled_s"] = time.perf_counter() - began
        told["daemon"], told["worker"] = memory(os.getpid()), memory(pid)
        told["model"], told["restarts"] = place.worker.status().model, place.worker.status().restarts
        told["interned"], told["issues"] = place.one(
            "SELECT count(*), count(DISTINCT cluster) FROM fingerprints WHERE model IS NOT NULL"
        )
        if sights:
            told["first_sight"] = first_sight(place, pid, templates, sights)
        return told


def stand_back(pid: int) -> None:
    """As the daemon's worker does: behind everybody else."""
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(pid, os.SCHED_IDLE, os.sched_param(0))


def first_sight(place: Place, pid: int, known: int, count: int) -> dict[str, float]:
    """Seconds from a new template's outcome being durable to its issue and to its vector, in the running loop."""
    stand_back(pid)
    place.pipeline.start()
    rng, to_issue, to_vector = random.Random(3), [], []
    for n in range(count):
        time.sleep(rng.uniform(0.0, 0.1))  # another phase of the loop each time
        ident = f"c{n}"
        place.send([failure(ident, distinct(known + 1_000_000 + n))])
        began = time.perf_counter()
        until(partial(_issue, place, ident), f"the issue of {ident}", LOOK_S)
        to_issue.append(time.perf_counter() - began)
        until(partial(_embedded, place, ident), f"the vector of {ident}", LOOK_S)
        to_vector.append(time.perf_counter() - began)
    return {
        "count": count,
        "issue_median_s": statistics.median(to_issue),
        "issue_max_s": max(to_issue),
        "vector_median_s": statistics.median(to_vector),
        "vector_max_s": max(to_vector),
    }


SIGHT = "SELECT f.cluster, f.model FROM outcomes o JOIN fingerprints f ON f.id = o.fingerprint WHERE o.id = :id"


def _issue(place: Place, ident: str) -> bool:
    row = place.one(SIGHT, id=ident)
    if row is None:
        return False
    with place.store.read() as conn:
        return bool(issues.get_issue(conn, f"i{row.cluster}").title)


def _embedded(place: Place, ident: str) -> bool:
    row = place.one(SIGHT, id=ident)
    return row is not None and row.model is not None


def apart(embedder: str, templates: int, sights: int) -> dict[str, Any]:
    """`part` in a process of its own."""
    command = [sys.executable, __file__, "--part", embedder, "--templates", str(templates), "--sights", str(sights)]
    said(f"(b) {embedder}")
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


# --- (e) order


def ordered(folder: Path, child: Watched, texts: Sequence[str], seed: int, pieces: int) -> dict[str, int]:
    """Outcome id → issue, when these texts arrive shuffled, in so many pieces with a cycle behind each."""
    items = [failure(f"e{n}", text) for n, text in enumerate(texts)]
    random.Random(seed).shuffle(items)
    size = -(-len(items) // pieces)
    with Place(folder, child) as place:
        for first in range(0, len(items), size):
            place.send(items[first : first + size])
            place.settle()
        return place.partition()


def orders(folder: Path, child: Watched, texts: Sequence[str], pieces: int, shuffles: int) -> dict[str, Any]:
    """So many orders, in one batch and in `pieces`: pairs that differ from the first order's."""
    told: dict[str, Any] = {"texts": len(texts), "pairs": len(texts) * (len(texts) - 1) // 2}
    for name, many in (("one_batch", 1), ("batches", pieces)):
        found = [ordered(folder / f"{name}-{seed}", child, texts, seed, many) for seed in range(shuffles)]
        told[name] = {
            "pieces": many,
            "issues": [len(set(one.values())) for one in found],
            "pairs_unlike_the_first": [unlike(found[0], one) for one in found[1:]],
        }
        told.setdefault("reference", found[0])
    reference = told.pop("reference")
    told["pairs_unlike_one_batch"] = unlike(reference, found[0])
    return told


# --- all of it


def shown(told: Mapping[str, Any]) -> None:
    if rows := told.get("a"):
        print("(a) a cycle, medians of", CYCLES, "(worker there, nothing owed)")
        for row in rows:
            print(
                f"    {row['stored']:>9,} stored, {row['templates']:>6,} templates: idle {row['idle_ms']:6.1f} ms, one new"
                f" {row['one_ms']:6.1f} ms, {NEW} new {row['many_ms']:7.1f} ms, {row['us_each']:6.0f} us each;"
                f" a look for what moves together {row['look_ms']:.0f} ms (filled in {row['fill_s']:.0f} s)"
            )
        print(f"    each new outcome, most stored / least stored: {rows[-1]['us_each'] / rows[0]['us_each']:.2f}")
    for key in ("ngram", "minilm"):
        if one := told.get(key):
            print(
                f"(b) memory after {one['templates']:,} templates, {one['model']} ({one['settled_s']:.1f} s):", end=" "
            )
            for who in ("daemon", "worker"):
                before, after = one[f"{who}_before"].get("rss_mb", 0), one[who].get("rss_mb", 0)
                print(f"{who} {before:.0f} -> {after:.0f} MB, peak {one[who].get('peak_mb', 0):.0f};", end=" ")
            print(f"{one['interned']:,} embedded, {one['issues']:,} issues, restarts {one['restarts']}")
    if sight := told.get("minilm", told.get("ngram", {})).get("first_sight"):
        print(
            f"(c) {sight['count']} first sights, worker warm: to the issue median {sight['issue_median_s']:.3f} s, max"
            f" {sight['issue_max_s']:.3f} s; to the vector {sight['vector_median_s']:.3f} s, max"
            f" {sight['vector_max_s']:.3f} s (goal 1 s)"
        )
    if killed := told.get("d"):
        print("(d) kill -9 of the worker:", ", ".join(f"{key} {value}" for key, value in killed.items()))
    if order := told.get("e"):
        print(f"(e) {order['texts']:,} texts, shuffled, {order['pairs']:,} pairs:")
        for one in (order["one_batch"], order["batches"]):
            print(
                f"    in {one['pieces']} batch(es): issues {one['issues']}, pairs unlike the first order's"
                f" {one['pairs_unlike_the_first']}"
            )
        print(f"    several batches against one: {order['pairs_unlike_one_batch']} pairs differ")
    if shapes := told.get("f"):
        print("(f) one more template that has something in common with all others, among a tenth of them and all:")
        for name, one in shapes.items():
            print(f"    {name:<26} {one['first_ms']:6.2f} ms, {one['last_ms']:6.2f} ms; {one['groups']:,} groups")


# --- (f) templates that have something in common


TIMES_SLOWER = 3.0
"""One more template may cost so much more with ten times as many; it was a hundred times and more."""


def alike(templates: int) -> dict[str, dict[str, float]]:
    """Milliseconds for one more template, given one by one, among a tenth of `templates` and among all of them."""
    told: dict[str, dict[str, float]] = {}
    for name, make in SHAPES.items():
        grouper, few = Grouper(), max(templates // 10, 50)
        first = each_ms(grouper, make, 0, few)
        each_ms(grouper, make, few, templates - few)
        last = each_ms(grouper, make, templates - few, templates)
        told[name] = {"first_ms": first, "last_ms": last, "groups": len(grouper.groups())}
        said(f"(f) {name}: {first:.2f} ms, then {last:.2f} ms")
    return told


def each_ms(grouper: Grouper, make: Callable[[int], tuple[str, str, str | None]], first: int, last: int) -> float:
    items = [Template(str(n), *make(n)) for n in range(first, last)]
    began = time.process_time()
    for item in items:
        grouper.add([item])
    return (time.process_time() - began) / max(len(items), 1) * 1e3


def run(folder: Path, outcomes: int, templates: int, only: Sequence[str]) -> dict[str, Any]:
    """Everything that is asked for; in the short form what has a process of its own runs beside the rest."""
    full = outcomes >= FULL_FROM
    told: dict[str, Any] = {"outcomes": outcomes, "templates": templates}
    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(processes, templates, 50 if full else 10, only, full=full)
        if full:
            beside.result()
        if {"a", "d", "e"} & set(only):
            told |= here(folder, outcomes, templates, only)
        if "f" in only:
            told["f"] = alike(min(templates, 3_000) if full else max(templates, 400))
        return told | beside.result()


def processes(templates: int, sights: int, only: Sequence[str], *, full: bool) -> dict[str, Any]:
    """(b) and (c); without MiniLM in the short form, whose start alone takes ten seconds."""
    told: dict[str, Any] = {}
    if "b" in only or ("c" in only and not full):
        told["ngram"] = apart("ngram", templates, 0 if full else sights)
    if full and ("b" in only or "c" in only):
        told["minilm"] = apart("minilm", min(templates // 10, BATCH), sights)
    return told


def here(folder: Path, outcomes: int, templates: int, only: Sequence[str]) -> dict[str, Any]:
    """(a), (d) and (e), with one worker that forgets each home."""
    full = outcomes >= FULL_FROM
    told: dict[str, Any] = {}
    with worker("ngram") as child:
        if "a" in only:
            told["a"] = cycles(folder / "a", child, outcomes, templates)
        if "d" in only:
            said("(d)")
            told["d"] = kills(folder / "d", child, min(templates, BATCH), PLAN if full else SHORT_PLAN)
        if "e" in only:
            said("(e)")
            texts = wordings(2_000 if full else min(templates, 200), 11)
            told["e"] = orders(folder / "e", child, texts, 20 if full else 4, 3 if full else 2)
    return told


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--outcomes", type=int, default=1_000_000)
    asked.add_argument("--templates", type=int, default=20_000)
    asked.add_argument("--only", default="a,b,c,d,e,f", help="parts, with commas")
    asked.add_argument("--json", action="store_true")
    asked.add_argument("--part", default="", help=argparse.SUPPRESS)
    asked.add_argument("--sights", type=int, default=0, help=argparse.SUPPRESS)
    given = asked.parse_args()
    logging.basicConfig(level=logging.ERROR)
    os.environ["RSI_DISABLE"] = "1"
    sys.setswitchinterval(0.0001)  # as the daemon does
    with tempfile.TemporaryDirectory(prefix="rsi-scale-") as made:
        if given.part:
            print(json.dumps(part(Path(made), given.part, given.templates, given.sights)))
            return 0
        began = time.perf_counter()
        told = run(Path(made), given.outcomes, given.templates, given.only.split(","))
    told["took_s"] = time.perf_counter() - began
    if given.json:
        print(json.dumps(told))
    else:
        shown(told)
        print(f"took {told['took_s']:.0f} s")
    if "d" in told and not told["d"]["ok"]:
        print("the killed worker lost something, or was not struck as planned", file=sys.stderr)
        return 1
    slow = [name for name, one in told.get("f", {}).items() if one["last_ms"] > TIMES_SLOWER * one["first_ms"]]
    if slow:
        print(f"one more template costs more the more there are: {', '.join(slow)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

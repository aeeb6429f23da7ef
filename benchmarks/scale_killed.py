"""(d) of `scale.py`: kill -9 of the worker inside a request, and what is there at the end."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scale_home import Place, Watched, unlike, until
from scale_texts import Item, distinct, failure, wordings

PLAN = ("resemble", "nearest", "twice", "idle")
"""Inside a comparison, inside an embedding, inside one and again inside its retry, between two requests."""
SHORT_PLAN = ("nearest", "idle")


class Killer(threading.Thread):
    """Kills the worker once, as `target` of `PLAN` says; stopped first, so that no answer can slip out before it."""

    def __init__(self, worker: Watched, target: str) -> None:
        super().__init__(daemon=True)
        self.worker, self.target = worker, target
        self.kills = 0
        self.given_up = threading.Event()

    def run(self) -> None:
        asked = "nearest" if self.target == "twice" else self.target
        first = self._strike(lambda: self.worker.asking == asked)
        if first and self.target == "twice":
            call, pid = first
            self._strike(lambda: self.worker.call == call and self.worker.status().pid not in {None, pid})

    def _strike(self, ready: Callable[[], bool]) -> tuple[int, int] | None:
        while not self.given_up.is_set():
            if ready() and (pid := self.worker.status().pid):
                call = self.worker.call
                time.sleep(0.005)  # the request is in the pipe by now
                os.kill(pid, signal.SIGSTOP)
                time.sleep(0.02)  # an answer that was under way has been read by now
                inside = self.worker.asking != "" and self.worker.call == call
                os.kill(pid, signal.SIGKILL if inside else signal.SIGCONT)
                if inside:
                    self.kills += 1
                    return call, pid
            time.sleep(0.001)
        return None


def kills(folder: Path, child: Watched, templates: int, plan: Sequence[str] = PLAN) -> dict[str, Any]:
    """Kill the worker while it is asked; what is there at the end, beside an undisturbed home."""
    size = max(templates // len(plan), 20)
    before = child.status().restarts
    rounds = [
        [failure(f"d{turn}-{n}", text) for n, text in enumerate(texts)]
        for turn in range(len(plan))
        for texts in [[*wordings(size // 2, turn), *(distinct(turn * size + n) for n in range(size // 2))]]
    ]
    struck: Counter[str] = Counter()
    with Place(folder / "killed", child) as place:
        place.pipeline.start()
        for target, items in zip(plan, rounds, strict=True):
            struck[target] += kill_once(place, target, items)
        status = place.pipeline.status()
        killed, found = place.partition(), child.status()
        told: dict[str, Any] = {
            "sent": sum(map(len, rounds)),
            "stored": place.one("SELECT count(*) FROM outcomes")[0],
            "in_an_issue": len(killed),
            "without_vector": place.waiting(),
            "counted": place.one("SELECT sum(frequency) FROM issues WHERE merged_into IS NULL")[0],
            "quarantined": place.one("SELECT count(*) FROM rejects")[0],
            "behind": status["behind"],
            "struck": dict(struck),
            "restarts": found.restarts - before,
            "alive": found.alive,
        }
    with Place(folder / "calm", child) as place:
        for items in rounds:
            place.send(items)
            place.settle()
        told["pairs_unlike_undisturbed"] = unlike(killed, place.partition())
    told["ok"] = kept(told, plan)
    return told


def kill_once(place: Place, target: str, items: Sequence[Item]) -> int:
    """Feed a round and strike in it; how many kills struck as planned."""
    if target == "idle":
        until(lambda: not place.worker.asking, "a worker that is idle")
        os.kill(place.worker.status().pid or 0, signal.SIGKILL)
        until(lambda: not place.worker.status().alive, "the end of the worker")
        place.send(items)
        until(lambda: place.waiting() == 0, "every template embedded")
        return 1
    killer = Killer(place.worker, target)
    killer.start()
    place.send(items)
    until(lambda: place.waiting() == 0, "every template embedded")
    killer.given_up.set()
    killer.join()
    return killer.kills


def kept(told: Mapping[str, Any], plan: Sequence[str]) -> bool:
    """Nothing lost, nothing left, the worker up again, and the kills struck where they should."""
    whole = told["stored"] == told["in_an_issue"] == told["counted"] == told["sent"]
    left = told["without_vector"] or told["quarantined"] or told["behind"]
    planned = {target: 2 if target == "twice" else 1 for target in plan}
    struck = told["struck"] == planned and told["restarts"] == sum(planned.values())
    return bool(whole and not left and told["alive"] and struck)

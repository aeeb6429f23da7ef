"""kill -9 while files and POSTs arrive: what was acknowledged is there, once, and every start afterwards is clean.

    python benchmarks/kill.py --kills 200

Prints where the kills struck (a request in flight, a file claimed but not moved, frames of an uncommitted
transaction in the write-ahead log), what was acknowledged, lost and doubled. Exit 1 if anything was lost or doubled,
if a start was not clean, or if fewer than half of the kills struck inside something.
"""

from __future__ import annotations

import argparse
import collections
import http.client
import json
import os
import random
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import uuid
from pathlib import Path

POSTERS = 4
UP_WITHIN_S = 30.0


class Load:
    """Threads that POST and drop files until told to stop; they remember what was acknowledged."""

    def __init__(self, home: Path, seed: int) -> None:
        self.home = home
        self.url: str | None = None
        self.acked: set[str] = set()
        self.dropped: set[str] = set()
        self.in_flight = 0
        self.stop = False
        self._lock = threading.Lock()
        self._random = random.Random(seed)
        self.threads = [threading.Thread(target=self._post, daemon=True) for _ in range(POSTERS)]
        self.threads.append(threading.Thread(target=self._drop, daemon=True))
        for thread in self.threads:
            thread.start()

    def _items(self, count: int) -> list[dict]:
        return [
            {"id": uuid.uuid4().hex, "task": "kill", "source": "campaign", "success": self._random.random() < 0.8,
             "error": None if self._random.random() < 0.8 else f"503 overloaded, request {uuid.uuid4()}"}
            for _ in range(count)
        ]  # fmt: skip

    def _post(self) -> None:
        waiting: list[dict] | None = None
        while not self.stop or waiting:
            url = self.url
            if url is None:
                if self.stop:
                    return
                time.sleep(0.01)
                continue
            waiting = waiting or self._items(self._random.choice([1, 1, 5, 50]))
            if self._send(url, waiting):
                with self._lock:
                    self.acked.update(item["id"] for item in waiting)
                waiting = None

    def _send(self, url: str, items: list[dict]) -> bool:
        at = urllib.parse.urlsplit(url)
        connection = http.client.HTTPConnection(at.hostname, at.port, timeout=10)
        with self._lock:
            self.in_flight += 1
        try:
            connection.request("POST", "/v1/outcomes", json.dumps(items), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            return answer.status == 202
        except (OSError, http.client.HTTPException):
            time.sleep(0.01)
            return False
        finally:
            connection.close()
            with self._lock:
                self.in_flight -= 1

    def _drop(self) -> None:
        while not self.stop:
            items = self._items(self._random.choice([1, 20]))
            name = self.home / "inbox" / f"{uuid.uuid4().hex}.tmp"
            name.write_text("\n".join(json.dumps(item) for item in items))
            name.rename(name.with_suffix(".jsonl"))
            with self._lock:
                self.dropped.update(item["id"] for item in items)
            time.sleep(0.05)


def start(home: Path, log: Path) -> tuple[subprocess.Popen, str]:
    """`rsi up`; returns once /healthz answers."""
    with log.open("ab") as file:
        child = subprocess.Popen(
            [sys.executable, "-m", "rsi", "--home", str(home), "up", "--port", "0"], stdout=file, stderr=file
        )
    deadline = time.monotonic() + UP_WITHIN_S
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise RuntimeError(f"the daemon ended with {child.returncode}: {log.read_text()[-3000:]}")
        try:
            about = json.loads((home / ".rsi" / "daemon.json").read_text())
            if about["pid"] == child.pid:
                at = urllib.parse.urlsplit(about["url"])
                connection = http.client.HTTPConnection(at.hostname, at.port, timeout=5)
                connection.request("GET", "/healthz")
                if connection.getresponse().status == 200:
                    return child, about["url"]
        except (OSError, ValueError, KeyError, http.client.HTTPException):
            pass
        time.sleep(0.02)
    raise RuntimeError(f"the daemon did not come up: {log.read_text()[-3000:]}")


def uncommitted_frames(wal: Path) -> bool:
    """Whether the log ends in valid frames that no commit frame closes (sqlite.org/fileformat2.html#walformat)."""
    try:
        raw = wal.read_bytes()
    except FileNotFoundError:
        return False
    if len(raw) < 32:
        return False
    page = struct.unpack(">I", raw[8:12])[0]
    salts = raw[16:24]
    open_frames = False
    for at in range(32, len(raw) - 24 - page + 1, 24 + page):
        if raw[at + 8 : at + 16] != salts:
            break
        open_frames = struct.unpack(">I", raw[at + 4 : at + 8])[0] == 0
    return open_frames


def main() -> int:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    os.environ["RSI_DISABLE"] = "1"
    pick = random.Random(args.seed)
    with tempfile.TemporaryDirectory(prefix="rsi-kill-") as folder:
        home, log = Path(folder) / "home", Path(folder) / "daemon.log"
        (home / "inbox").mkdir(parents=True)
        (home / "rsi.yaml").write_text("worker: {enabled: false}\n")
        return campaign(args.kills, home, log, pick, Load(home, args.seed))


def campaign(kills: int, home: Path, log: Path, pick: random.Random, load: Load) -> int:
    """Kill, restart, kill …; then stop cleanly and count."""
    struck: collections.Counter[str] = collections.Counter()
    inside = 0
    starts = []
    for _ in range(kills):
        began = time.monotonic()
        child, load.url = start(home, log)
        starts.append(time.monotonic() - began)
        time.sleep(pick.uniform(0.02, 0.6))
        child.send_signal(signal.SIGKILL)
        in_request = load.in_flight > 0
        child.wait()
        load.url = None
        claimed = any(path.name[:1] != "." for path in (home / "inbox" / ".work").iterdir())
        in_commit = uncommitted_frames(home / ".rsi" / "rsi.db-wal")
        for name, hit in (("request in flight", in_request), ("file claimed", claimed), ("inside a commit", in_commit)):
            struck[name] += hit
        struck["idle"] += not (in_request or claimed or in_commit)
        inside += in_request or claimed or in_commit
    child, load.url = start(home, log)
    load.stop = True
    for thread in load.threads:
        thread.join(60)
    drained = wait_drained(home)
    child.send_signal(signal.SIGTERM)
    code = child.wait(30)
    return report(kills, struck, inside, starts, home, log, load, code, drained)


def wait_drained(home: Path) -> bool:
    """Whether the inbox became empty."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        waiting = [*(home / "inbox").glob("*.jsonl"), *(p for p in (home / "inbox" / ".work").iterdir())]
        if not waiting:
            return True
        time.sleep(0.1)
    return False


def report(kills, struck, inside, starts, home, log, load, code, drained) -> int:
    """Print the figures; 0 if all is well."""
    database = sqlite3.connect(home / ".rsi" / "rsi.db")
    stored = collections.Counter(row[0] for row in database.execute("select id from outcomes"))
    integrity = database.execute("pragma integrity_check").fetchone()[0]
    lost = load.acked - stored.keys()
    lost_files = load.dropped - stored.keys()
    doubled = [ident for ident, n in stored.items() if n > 1]
    tracebacks = log.read_text(errors="replace").count("Traceback")
    failed = list((home / "inbox" / "failed").glob("*")) if (home / "inbox" / "failed").exists() else []
    print(f"kills {kills}, inside something {inside} ({inside / max(kills, 1):.0%})")
    for name, count in struck.most_common():
        print(f"  {name:20} {count:4}  {'#' * (60 * count // max(kills, 1))}")
    print(f"starts: median {sorted(starts)[len(starts) // 2]:.2f} s, worst {max(starts):.2f} s")
    print(f"acknowledged {len(load.acked)}, dropped in files {len(load.dropped)}, stored {sum(stored.values())}")
    print(f"lost {len(lost)}, lost from files {len(lost_files)}, doubled {len(doubled)}, integrity {integrity}")
    print(f"tracebacks in the log {tracebacks}, refused files {len(failed)}, drained {drained}, exit {code}")
    bad = lost or lost_files or doubled or integrity != "ok" or tracebacks or failed or code or not drained
    if bad:
        print(log.read_text(errors="replace")[-3000:])
    return 1 if bad or inside * 2 < kills else 0


if __name__ == "__main__":
    sys.exit(main())

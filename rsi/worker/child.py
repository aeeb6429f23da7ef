"""One analysis worker process, from its start to its end, as the daemon sees it."""

from __future__ import annotations

import logging
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from rsi.errors import WorkerError
from rsi.worker import starving, wire

_LOG = logging.getLogger("rsi.worker")
_PACKAGE_ROOT: Final = str(Path(__file__).resolve().parents[2])
#: Lines of its stderr that are kept for the message when it dies.
_LAST_LINES: Final = 5
#: One thread each: the machine belongs to the agents.
_ENVIRONMENT: Final = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


class Child:
    """Starts a worker process and talks to it, one request at a time.

    The thread that starts the process stays until it ends: Linux sends the parent-death signal when the starting
    *thread* dies, so a short-lived one would take the worker with it.

    Raises:
        WorkerError: it could not be started.
    """

    def __init__(self, *, idle_s: float, env: Mapping[str, str], keep: Path | None = None) -> None:
        self.known: set[str] = set()
        self.seeded = False
        self.timed_out = False
        self._replies: queue.SimpleQueue[wire.Reply | None] = queue.SimpleQueue()
        self._words: deque[str] = deque(maxlen=_LAST_LINES)
        self._process: subprocess.Popen[bytes] | None = None
        self._trouble = ""
        started = threading.Event()
        self._host = threading.Thread(
            target=self._live, args=(idle_s, env, keep, started), name="rsi-worker", daemon=True
        )
        self._host.start()
        started.wait()
        if self._process is None:
            raise WorkerError(f"the analysis worker could not be started: {self._trouble}")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid if self._process else 0

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._host.is_alive() and self._process is not None and self._process.poll() is None

    @property
    def obituary(self) -> str:
        """Why it died; empty while it lives, or if it left because it was idle."""
        code = self._process.poll() if self._process else None
        if self.timed_out:
            return f"the analysis worker (pid {self.pid}) did not answer in time and was killed"
        if self._trouble:
            return f"the analysis worker (pid {self.pid}) was ended: {self._trouble}"
        if not code:
            return ""
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        said = f"; it said: {' / '.join(self._words)}" if self._words else ""
        return f"the analysis worker (pid {self.pid}) died of {how}{said}"

    def ask(self, request: wire.Request, timeout_s: float) -> wire.Reply | None:
        """The reply, or `None` if it is gone: idle, dead, or killed because `timeout_s` passed.

        While it only waits for a processor the time does not pass: killed for that it would begin again, for ever.
        """
        answered = threading.Event()
        limit = threading.Thread(target=self._limit, args=(answered, timeout_s), name="rsi-worker-limit", daemon=True)
        limit.start()
        try:
            with suppress(OSError, ValueError):  # a broken or closed pipe: the reply below is None then
                if self._process and self._process.stdin:
                    wire.write(self._process.stdin, request)
            return self._replies.get()
        finally:
            answered.set()

    def kill(self) -> None:
        """End it now, and wait until it is gone; it holds nothing that could be lost."""
        if self._process and self._process.poll() is None:
            self._process.kill()
        self._host.join()

    def _limit(self, answered: threading.Event, timeout_s: float) -> None:
        """Kill it if it has not answered in time, by its own clock where it waits for a processor."""
        process = self._process
        worked = starving.worked_s(process.pid) if process else None
        while not answered.wait(timeout_s):
            if process is None or not starving.waits(process.pid, worked, timeout_s):
                self.timed_out = not answered.is_set()
                if process and self.timed_out:
                    process.kill()
                return

    def _live(self, idle_s: float, env: Mapping[str, str], keep: Path | None, started: threading.Event) -> None:
        """The host thread: start it, pass its replies on until it ends, bury it."""
        try:
            self._process = _start(idle_s, env, keep)
        except OSError as error:
            self._trouble = str(error)
            return
        finally:
            started.set()
        listener = threading.Thread(target=self._listen, name="rsi-worker-stderr", daemon=True)
        listener.start()
        with self._process as process:
            try:
                while process.stdout and (reply := wire.read_reply(process.stdout)) is not None:
                    self._replies.put(reply)
            except (WorkerError, msgspec.MsgspecError) as error:
                self._trouble = str(error)
                process.kill()
            process.wait()
            listener.join()
            with suppress(OSError):  # what was written to a dead process cannot be flushed
                if process.stdin:
                    process.stdin.close()
        self._replies.put(None)

    def _listen(self) -> None:
        for line in (self._process and self._process.stderr) or ():
            text = line.decode("utf-8", "replace").rstrip()
            self._words.append(text)
            _LOG.info("worker %s: %s", self.pid, text)


def _start(idle_s: float, env: Mapping[str, str], keep: Path | None) -> subprocess.Popen[bytes]:
    paths = [_PACKAGE_ROOT, *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [sys.executable, "-P", "-m", "rsi.worker", "--idle", str(idle_s), "--parent", str(os.getpid())]
    command += ["--keep", str(keep)] if keep is not None else []
    return subprocess.Popen(  # noqa: S603 - our own module, by our own interpreter; -P: nothing from the working folder
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(paths), **env},
    )

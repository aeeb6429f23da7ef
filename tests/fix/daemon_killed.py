"""A daemon that is killed (SIGKILL) before the n-th system-level step of writing a file or taking an edit out of it.

`python daemon_killed.py HOME STEP COUNT` is `rsi up` with this in it; STEP -1 kills nothing. How many steps there were is
written into the file COUNT.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from targets_killed import STEPS

from rsi.cli import cli
from rsi.pipeline.filing import Filing
from rsi.store import Store


class Steps:
    """Counts the calls of one thread while it settles files."""

    def __init__(self, at: int, count: Path) -> None:
        self.at, self.count = at, count
        self.thread, self.n = 0, 0

    def counted(self, call):
        def wrapped(*args, **kwargs):
            if self.thread == threading.get_ident():
                if self.n == self.at:
                    os.kill(os.getpid(), signal.SIGKILL)
                self.n += 1
            return call(*args, **kwargs)

        return wrapped

    def armed(self, settle):
        def wrapped(filing):
            self.thread = threading.get_ident()
            try:
                return settle(filing)
            finally:
                self.thread = 0
                self.count.write_text(str(self.n))

        return wrapped


def arm(at: int, count: Path) -> None:
    steps = Steps(at, count)
    for name in STEPS:
        if hasattr(os, name):
            setattr(os, name, steps.counted(getattr(os, name)))
    Store.write = steps.counted(Store.write)
    begin, settle = Filing._begin, Filing.settle

    def quietly(filing, acted):
        steps.thread = 0  # only what is decided now counts
        begin(filing, acted)

    Filing._begin, Filing.settle = quietly, steps.armed(settle)


if __name__ == "__main__":
    arm(int(sys.argv[2]), Path(sys.argv[3]))
    cli(["--home", sys.argv[1], "up", "--port", "0"])

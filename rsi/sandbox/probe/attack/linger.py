"""Leave something behind that ignores every polite signal. `sys.argv[3]`: a name to be found by, `[4]`: how.

`leave`: end at once, the child lives on in a session of its own. `stay`: do not end either. `orphan`: end whoever
started us first, if it is not the daemon (`[5]`) or an init: a keeper that can be killed keeps nothing. `look`: which
of them (names, with a comma between them) are left?
"""

from __future__ import annotations

import os
import signal
import sys
import time

#: Long enough to be found, short enough to be forgotten if everything fails.
_LIVES_S = 8


def _ignore() -> None:
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)


def _daemon(ready: int) -> None:
    os.setsid()
    _ignore()
    if os.fork() == 0:
        null = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):
            os.dup2(null, fd)
        os.write(ready, b"x")
        os.close(ready)
        time.sleep(_LIVES_S)  # noqa: TID251 - this program has nothing of rsi
    os._exit(0)


def _look(names: str) -> list[str]:
    mine = {os.getpid(), os.getppid()}
    found = set()
    for pid in os.listdir("/proc"):  # noqa: PTH208
        if pid.isdigit() and int(pid) not in mine:
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123
                    line = file.read()
            except OSError:
                continue
            found |= {each for each in names.split(",") if each.encode() in line}
    return sorted(found)


def main() -> None:
    """Do one of the three."""
    name, how = sys.argv[3:5]
    if how == "look":
        print("left:", *_look(name))  # noqa: T201
        return
    set_up, ready = os.pipe()
    if os.fork() == 0:
        os.close(set_up)
        _daemon(ready)
    os.close(ready)
    os.read(set_up, 1)
    print("ready", flush=True)  # noqa: T201
    keeper = os.getppid()
    if how == "orphan" and keeper not in (1, int(sys.argv[5])):
        os.kill(keeper, signal.SIGKILL)
    if how == "stay":
        _ignore()
        time.sleep(_LIVES_S)  # noqa: TID251


main()

"""The last steps before a process becomes the command."""

from __future__ import annotations

import errno
import os
import resource
import signal

from . import calls
from .broken import BrokenError, Stage
from .order import Order

#: Written just before execve: what ends without it never ran.
READY = b"!"
NOT_FOUND, NOT_RUNNABLE = 127, 126
_CLOSE_ON_EXEC = 4  # close_range(2)
_DEFAULT_PATH = b"/usr/local/bin:/usr/bin:/bin"
IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
#: Python cannot name them (32 and 33 with glibc), and whoever started rsi may have had them ignored.
KEPT_BY_THE_LIBRARY = tuple(sorted({*range(1, signal.NSIG)} - signal.valid_signals()))
_NOTHING_BELOW = (errno.ENOENT, errno.ENOTDIR)


def become(order: Order, status: int, standard: tuple[int, int, int]) -> None:
    """Never returns. A program that is not there, or may not be run, is an ordinary end with 127 or 126."""
    try:
        _prepare(order, standard)
    except BrokenError as error:
        os.write(status, error.encode())
        os._exit(NOT_RUNNABLE)
    os.write(status, READY)
    number = _execute(order)
    os.close(status)
    os.write(2, b"rsi: %s: %s\n" % (order.argv[0], os.strerror(number).encode()))
    os._exit(NOT_FOUND if number in _NOTHING_BELOW else NOT_RUNNABLE)


def _prepare(order: Order, standard: tuple[int, int, int]) -> None:
    with Stage("exec", "prepare the process"):
        calls.prctl(calls.PR_SET_PDEATHSIG, signal.SIGKILL)
        for ignored in IGNORED_BY_PYTHON:
            signal.signal(ignored, signal.SIG_DFL)
        for kept in KEPT_BY_THE_LIBRARY:
            calls.default(kept)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.setsid()
        _take(standard)
        calls.call("close_range", 3, 0xFFFF_FFFF, _CLOSE_ON_EXEC)
    with Stage("exec", "enter the working folder: is it there?"):
        os.chdir(order.cwd)
    with Stage("exec", "set the limits"):
        for number, value in order.rlimits:
            _, hard = resource.getrlimit(number)
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)  # noqa: PLW2901
            resource.setrlimit(number, (value, value))


def _take(standard: tuple[int, int, int]) -> None:
    """Make these 0, 1 and 2. All of them are above 2: those places were taken when the zygote began."""
    for number, fd in enumerate(standard):
        os.dup2(fd, number)


def _execute(order: Order) -> int:
    """execve, looking along PATH as a shell does; the errno of the failure."""
    found = errno.ENOENT
    for path in _candidates(order.argv[0], order.env.get(b"PATH", _DEFAULT_PATH)):
        try:
            os.execve(path, order.argv, order.env)  # noqa: S606 - that is the job
        except OSError as error:
            if error.errno not in _NOTHING_BELOW:
                found = error.errno or errno.EIO
            if error.errno not in (*_NOTHING_BELOW, errno.EACCES):
                break
    return found


def _candidates(program: bytes, path: bytes) -> list[bytes]:
    return [program] if b"/" in program else [os.path.join(each or b".", program) for each in path.split(b":")]

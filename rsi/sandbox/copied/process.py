"""A child of this process as a `Victim`: reaped once, signalled only while it cannot have been replaced."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from rsi.errors import LaunchError
from rsi.sandbox.launch import Ended

#: ru_maxrss is in KiB on Linux, in bytes on macOS.
_RSS_UNIT = 1 if os.uname().sysname == "Darwin" else 1024


class Process:
    """A started child and what it used; `kill` may be called at any time."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self._child = child
        self._ended: Ended | None = None

    @classmethod
    def start(
        cls,
        argv: Sequence[str],
        streams: tuple[int, int, int],
        *,
        env: Mapping[str, str],
        cwd: Path,
        keep: Sequence[int] = (),
        uid: int | None = None,
    ) -> Self:
        """Start it in a session of its own.

        Args:
            argv: the program and its arguments.
            streams: stdin, stdout and stderr.
            env: all of its environment.
            cwd: where it starts; entered before the uid changes.
            keep: more descriptors to hand over, under their own numbers.
            uid: the uid and gid to become, without any other group.

        Raises:
            LaunchError: it could not be executed.
        """
        stdin, stdout, stderr = streams
        try:
            child = subprocess.Popen(  # noqa: S603 - running what we are asked to run is what a sandbox is for
                argv,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env=dict(env),
                cwd=cwd,
                pass_fds=keep,
                start_new_session=True,
                user=uid,
                group=uid,
                extra_groups=None if uid is None else [],
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise LaunchError(f"exec: {argv[0]}: {error}") from error
        return cls(child)

    @property
    def pid(self) -> int:
        """Of the child."""
        return self._child.pid

    def kill(self) -> None:
        """End the child; what it started is its caller's business."""
        if self._ended is None:
            os.kill(self._child.pid, signal.SIGKILL)

    def wait(self) -> Ended:
        """Reap it."""
        if self._ended is None:
            _, status, used = os.wait4(self._child.pid, 0)
            code = os.waitstatus_to_exitcode(status)
            self._child.returncode = code
            self._ended = Ended(
                status=code if code >= 0 else 128 - code,
                cpu_s=used.ru_utime + used.ru_stime,
                max_rss=used.ru_maxrss * _RSS_UNIT,
            )
        return self._ended

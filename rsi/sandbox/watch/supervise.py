"""The one place where a command is waited for: pipes, limits, the end, and what ended it. No threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from rsi import clock
from rsi.sandbox.launch import Ended
from rsi.sandbox.model import Command, ExecResult, Killer, Limits
from rsi.sandbox.watch.death import Death
from rsi.sandbox.watch.gauges import LATEST_S, Counted, Gauge, Usage, View, gauges
from rsi.sandbox.watch.streams import Streams

#: Once a minute we wake up for nothing when there is no limit and nothing to look at.
_IDLE_S: Final = 60.0


class Victim(Protocol):
    """A command that has been started, with everything below it."""

    @property
    def pid(self) -> int:
        """The host pid of the root of its processes; when that one has ended, all have."""

    def kill(self) -> None:
        """End all of it, whatever it ignores. May be called again, and after the end; never blocks."""

    def wait(self) -> Ended:
        """How it ended; blocks until then."""


def supervise(
    start: Callable[[int, int, int], Victim],
    command: Command,
    *,
    usage: Callable[[], Usage] | None = None,
    cgroup: Counted | None = None,
    closed: Callable[[], bool] | None = None,
    parked: Callable[[], int] | None = None,
) -> ExecResult:
    """Start a command and stay until it and everything it started has ended, by itself or by a limit.

    Args:
        start: called once with stdin, stdout and stderr to hand over; they are closed here when it returns.
        command: its `input` and `limits` are what is used of it; argv and env are the business of `start`.
        usage: what is in the view; asked every 5 to 50 ms, and once after the end.
        cgroup: counts memory and processes; without it the processes are counted from outside.
        closed: says that the box was closed meanwhile.
        parked: bytes of memory that no process holds; asked as often as the processes are counted.

    Raises:
        LaunchError: from `start`; nothing ran.
    """
    begun = clock.monotonic()
    with Streams(command.input, command.limits.keep) as streams:
        victim = start(*streams.theirs)
        try:
            streams.started()
            begun_s = cgroup.cpu_s if cgroup is not None else 0.0
            watched = gauges(victim.pid, command.limits, usage, cgroup, parked)
            vigil = _Vigil(victim, streams, command.limits, watched, cgroup)
            vigil.closed = closed
            vigil.keep()
        except BaseException:
            _end(victim, cgroup)
            victim.wait()
            raise
        ended = victim.wait()
        spent = [gauge.cpu_s() for gauge in watched] + [cgroup.cpu_s - begun_s if cgroup is not None else 0.0]
        ended = msgspec.structs.replace(ended, cpu_s=max(ended.cpu_s, *spent))
        streams.drain()
        killed_by = vigil.killed_by or _late(ended, command.limits, streams, usage, cgroup)
        if killed_by is None and closed is not None and closed():
            killed_by = "closed"
        # What memory ended was killed before it could be counted: then it is what the last look saw of all together.
        seen = max((gauge.memory() for gauge in watched), default=0) if killed_by == "memory" else 0
        peak = max(cgroup.peak if cgroup is not None else 0, seen)
        return _result(ended, streams, killed_by, wall_s=clock.monotonic() - begun, peak=peak)


class _Vigil:
    """From the start of one command to the end of its root process."""

    def __init__(
        self, victim: Victim, streams: Streams, limits: Limits, watched: list[Gauge], cgroup: Counted | None
    ) -> None:
        self.killed_by: Killer | None = None
        self.closed: Callable[[], bool] | None = None
        self._victim, self._streams, self._limits = victim, streams, limits
        self._gauges, self._cgroup = watched, cgroup
        self._deadline = clock.monotonic() + (limits.wall_s if limits.wall_s is not None else float("inf"))

    def keep(self) -> None:
        """Move bytes and look after the limits until the root process has ended."""
        death = Death(self._victim.pid)
        try:
            if death.fd is not None:
                self._streams.poll.register(death.fd)
                while not self._turn(death.fd):
                    pass
        finally:
            death.close()

    def kill(self) -> None:
        """End the command; again until it has ended, for a fork bomb may outrun one round."""
        _end(self._victim, self._cgroup)

    def _turn(self, death: int) -> bool:
        ready = self._streams.poll.poll(self._pause_s() * 1000)
        for fd, _ in ready:
            self._streams.ready(fd)
        if any(fd == death for fd, _ in ready):
            return True
        if self.killed_by is None:
            self.killed_by = self._exceeded()
        if self.killed_by is not None:
            self.kill()
        return False

    def _exceeded(self) -> Killer | None:
        if self._streams.written > self._limits.output:
            return "output"
        now = clock.monotonic()
        if now >= self._deadline:
            return "timeout"
        if self.closed is not None and self.closed():
            return "closed"
        return next((killer for gauge in self._gauges if (killer := gauge.check(now))), None)

    def _pause_s(self) -> float:
        if self.killed_by is not None:
            return LATEST_S
        due = min((self._deadline, *(gauge.due for gauge in self._gauges)))
        return max(0.0, min(due - clock.monotonic(), LATEST_S if self.closed is not None else _IDLE_S))


def _end(victim: Victim, cgroup: Counted | None) -> None:
    victim.kill()
    if cgroup is not None:
        cgroup.kill()


def _late(
    ended: Ended,
    limits: Limits,
    streams: Streams,
    usage: Callable[[], Usage] | None,
    cgroup: Counted | None,
) -> Killer | None:
    """What was exceeded between the last look and the end, or ended it without us."""
    if streams.written > limits.output:
        return "output"
    if cgroup is not None and (killer := cgroup.exceeded()):
        return killer
    if limits.cpu_s is not None and ended.cpu_s >= limits.cpu_s:  # whatever its first process made of it
        return "cpu"
    return View(usage, limits).look().killer if usage is not None else None


def _result(ended: Ended, streams: Streams, killed_by: Killer | None, *, wall_s: float, peak: int) -> ExecResult:
    stdout, stderr = streams.stdout.content(), streams.stderr.content()
    return ExecResult(
        returncode=ended.status,
        stdout=stdout.decode("utf-8", "replace"),
        stderr=stderr.decode("utf-8", "replace"),
        stdout_total=streams.stdout.total,
        stderr_total=streams.stderr.total,
        killed_by=killed_by,
        wall_ms=wall_s * 1000,
        cpu_s=ended.cpu_s,
        max_rss=max(ended.max_rss, peak),
        stdout_bytes=stdout,
        stderr_bytes=stderr,
    )

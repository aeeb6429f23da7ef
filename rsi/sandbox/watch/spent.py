"""CPU time of a tree of processes, also of those whose end nobody waited for."""

from __future__ import annotations

from rsi.sandbox.watch import tree
from rsi.sandbox.watch.tree import Life


class Spent:
    """What has been seen of the CPU time below `root` since this was made, in seconds.

    The kernel adds the time of a process to its parent's when that one waits for it. A parent that ignores SIGCHLD does
    not, and the time is lost: then it is what was last seen of each. What ends between two looks, unwaited for, only a
    control group counts.
    """

    def __init__(self, root: int) -> None:
        self._own: dict[Life, float] = {}
        self._before = sum(times.own for times in tree.times([root]).values())
        self.seconds = 0.0

    def look(self, found: list[int]) -> float:
        """One look at these processes: never too much, and never less than before."""
        times = tree.times(found)
        self._own.update((life, each.own) for life, each in times.items())
        waited = sum(each.own + each.waited for each in times.values())
        self.seconds = max(self.seconds, max(waited, sum(self._own.values())) - self._before)
        return self.seconds

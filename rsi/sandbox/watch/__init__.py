"""Running a command under its limits: `supervise` waits for it, feeds it, keeps its output and says what ended it."""

from rsi.sandbox.watch.cgroup import Cgroup
from rsi.sandbox.watch.gauges import Counted, Usage
from rsi.sandbox.watch.rlimits import NO_CORE, NPROC_SLACK, rlimits
from rsi.sandbox.watch.supervise import Victim, supervise

__all__ = ["NO_CORE", "NPROC_SLACK", "Cgroup", "Counted", "Usage", "Victim", "rlimits", "supervise"]

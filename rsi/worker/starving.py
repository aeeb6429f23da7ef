"""Whether a process that does not answer has had no processor: the worker stands back behind everybody (proc(5))."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

#: Behind the name in brackets: the state, and times in user and kernel mode, in ticks.
_STATE: Final = 0
_TIMES: Final = slice(11, 13)
_RUNNABLE: Final = "R"


def worked_s(pid: int) -> float | None:
    """Seconds of processor that a process has had; `None` where nobody says (no Linux, or it is gone)."""
    found = _read(pid)
    return None if found is None else sum(map(int, found[_TIMES])) / os.sysconf("SC_CLK_TCK")


def waits(pid: int, before: float | None, limit_s: float) -> bool:
    """Whether it wants to run and has had less than `limit_s` seconds of processor since it had had `before`."""
    found, now = _read(pid), worked_s(pid)
    if found is None or now is None or before is None:
        return False
    return found[_STATE] == _RUNNABLE and now - before < limit_s


def _read(pid: int) -> list[str] | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None

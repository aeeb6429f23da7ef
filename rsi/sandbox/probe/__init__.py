"""What a back end isolates, found by attacking it: `capabilities(backend)`, and `report(backend)` with every attack.

A prober process plants targets outside (a listener, sockets, secrets in files, in its environment and in its memory,
processes), runs a program of attacks in a box of the back end, and the same program outside as the control. A flag is
true only if every attack of its kind failed inside and every needed control succeeded outside: what cannot fail shows
nothing.
"""

from __future__ import annotations

from rsi.sandbox.probe.found import FLAGS, Report, Tried
from rsi.sandbox.probe.run import capabilities, report

__all__ = ["FLAGS", "Report", "Tried", "capabilities", "report"]

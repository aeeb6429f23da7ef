"""The one truth: outcomes, counters, issues, fixes and the journal, in one SQLite file.

`Store` opens it, writes through one thread and reads in snapshots. SQL lives here, one module per noun, as functions
that take a `Connection` first.
"""

from __future__ import annotations

from rsi.store.store import Store

__all__ = ["Store"]

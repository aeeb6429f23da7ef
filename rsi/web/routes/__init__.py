"""Our routes, one module per topic; doors bring theirs."""

from __future__ import annotations

from typing import Final

from rsi.web.routes import about, approvals, control, events, fixes, health, incidents, issues, metrics, policy
from rsi.web.table import Entry

ENTRIES: Final[tuple[Entry, ...]] = (
    *health.ENTRIES,
    *issues.ENTRIES,
    *incidents.ENTRIES,
    *fixes.ENTRIES,
    *approvals.ENTRIES,
    *policy.ENTRIES,
    *events.ENTRIES,
    *control.ENTRIES,
    *metrics.ENTRIES,
    *about.ENTRIES,
)

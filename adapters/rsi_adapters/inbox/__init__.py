"""The watched folder: a file put into `inbox/` becomes outcomes (contract §3)."""

from __future__ import annotations

from rsi_adapters.inbox.intake import InboxIntake

__all__ = ["InboxIntake"]

"""What lives in the agent's process: queue, background sender, spool, policy. Never raises, never blocks the caller."""

from rsi.client.context import Run, current_run, enter_run, leave_run
from rsi.client.core import Client
from rsi.client.default import configure, default_client, flush, record, status
from rsi.client.settings import Settings, settle
from rsi.client.wire import Item

__all__ = [
    "Client",
    "Item",
    "Run",
    "Settings",
    "configure",
    "current_run",
    "default_client",
    "enter_run",
    "flush",
    "leave_run",
    "record",
    "settle",
    "status",
]

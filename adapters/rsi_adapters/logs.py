"""`RSILogHandler`: what a program logs as an error becomes a failed step.

    logging.getLogger("my_agent").addHandler(RSILogHandler())

Inside an open run (`@rsi.guard`, `rsi.step`, a framework's adapter) it is a step of that run. Outside it is a failed
step with no task: a log line says that something went wrong, not how the work ended.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from rsi.client import Client, default_client
from rsi.client.facts import ErrorFacts, facts_of

#: Our own logger: a report about reporting would not end.
OWN: Final = "rsi"


class RSILogHandler(logging.Handler):
    """Records of `level` and above; text and exception are kept, arguments and extra fields are not.

    Args:
        level: the lowest level that is a failure.
        source: which agent; default the client's.
        client: instead of the process's own.
    """

    def __init__(
        self, level: int | str = logging.ERROR, *, source: str | None = None, client: Client | None = None
    ) -> None:
        super().__init__(level)
        self._source = source
        self._client = client

    def emit(self, record: logging.LogRecord) -> None:
        """Queue one failed step. Never raises; what cannot be read goes to `handleError`, as logging has it."""
        if record.name == OWN or record.name.startswith(f"{OWN}."):
            return
        try:
            client = self._client or default_client()
            client.record(
                record.name,
                success=False,
                source=self._source,
                error=_error(record),
                kind="step",
                ts=record.created,
                metadata={"level": record.levelname, "where": f"{record.module}:{record.lineno}"},
            )
        except Exception:  # noqa: BLE001 - the border into the host: logging decides what is done about it
            self.handleError(record)


def _error(record: logging.LogRecord) -> dict[str, Any]:
    """The record's message, and its exception's class, stack and status where it has one."""
    message = record.getMessage()
    raised = record.exc_info[1] if record.exc_info else None
    if raised is None:
        return ErrorFacts(message).item()
    facts = facts_of(raised)
    return facts.item() | {"message": f"{message}: {facts.message}" if facts.message else message}

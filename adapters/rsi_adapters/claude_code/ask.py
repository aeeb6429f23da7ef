"""A question to the daemon from a hook: answered within its budget, or not at all."""

from __future__ import annotations

import threading
from typing import Any, Final

import msgspec

from rsi.client import Settings
from rsi.client.discovery import RefusedError
from rsi.client.link import Link
from rsi.client.tally import Tally
from rsi.client.transport import UnreachableError

#: All questions of one hook together: a session waits for its start.
BUDGET_S: Final = 1.0
_JSON: Final = {"Content-Type": "application/json"}


class Asking:
    """Questions to the daemon of these settings, together within the budget. A daemon that hangs is left hanging."""

    def __init__(self, settings: Settings) -> None:
        self._link = Link(settings, settings.client_id, Tally())

    def all(self, *asked: tuple[str, str, Any]) -> list[Any]:
        """(method, path, body) each → its answer decoded; `None` for what was not answered, or not with 200."""
        answers: list[Any] = [None] * len(asked)
        thread = threading.Thread(target=self._ask, args=(asked, answers), daemon=True)
        thread.start()
        thread.join(BUDGET_S)
        return list(answers)

    def _ask(self, asked: tuple[tuple[str, str, Any], ...], answers: list[Any]) -> None:
        try:
            for number, (method, path, body) in enumerate(asked):
                payload = None if body is None else msgspec.json.encode(body)
                answer = self._link.request(method, path, payload, _JSON, timeout_s=BUDGET_S)
                if answer.status == 200:  # noqa: PLR2004 - HTTP's own number
                    answers[number] = answer.json()
        except (UnreachableError, RefusedError):
            return
        finally:
            self._link.close()

"""Which conversation a kickoff belongs to."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, NamedTuple


class _Kickoff(NamedTuple):
    session: str
    outer: _Kickoff | None


class Kickoffs:
    """The kickoff under way in this context. CrewAI's own scopes are no help: what fails inside may close them early.

    Args:
        session_input: the kickoff input that names the conversation; default: each kickoff is one.
    """

    def __init__(self, session_input: str | None) -> None:
        self._session_input = session_input
        self._current: ContextVar[_Kickoff | None] = ContextVar("rsi_crewai_kickoff", default=None)

    def session(self) -> str | None:
        """The conversation, if a crew was kicked off in this context."""
        kickoff = self._current.get()
        return kickoff.session if kickoff is not None else None

    def began(self, _: Any, event: Any) -> None:
        """A crew was kicked off here."""
        named = (event.inputs or {}).get(self._session_input) if self._session_input is not None else None
        session = event.event_id if named in (None, "") else str(named)
        self._current.set(_Kickoff(session, self._current.get()))

    def ended(self, _: Any, __: Any) -> None:
        """It ended."""
        kickoff = self._current.get()
        if kickoff is not None:
            self._current.set(kickoff.outer)

"""CrewAI: `from rsi_adapters.crewai import listen; listen()` before the first kickoff.

Every crew task becomes one task outcome, from its Task events only; failures of models and tools become steps of it.
Lessons of the policy reach the model through CrewAI's own `before_llm_call` hook; retries, timeouts and fallbacks
through a model that stands before the agent's own while it works. `uninstall()` takes all of it back.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rsi_adapters.crewai.hooks import Hooks

from rsi.client import Client

EXTRA: Final = "crewai"
_lock: Final = threading.Lock()
_hooks: Hooks | None = None


def listen(
    *,
    source: str | None = None,
    session_input: str | None = None,
    fallbacks: Mapping[str, Any] | None = None,
    inner_retries: int | None = None,
    client: Client | None = None,
) -> str:
    """Hook CrewAI in this process; calling it again changes nothing.

    Args:
        source: which agent; default the client's.
        session_input: the kickoff input that names the conversation, which then is the unit of a canary. Default: each
            kickoff is a unit.
        fallbacks: models that a policy may turn to, by name: a model name or a CrewAI LLM.
        inner_retries: tries that an agent's model client makes of one call. Default: one more than its `max_retries`.
        client: instead of the process's own.

    Returns:
        A sentence that says what was hooked.

    Raises:
        ImportError: CrewAI is not installed; names the extra.
    """
    global _hooks  # noqa: PLW0603 - one per process is the point
    with _lock:
        if _hooks is None:
            _need()
            from rsi_adapters.crewai.hooks import Hooks

            _hooks = Hooks(
                source=source,
                session_input=session_input,
                fallbacks=fallbacks or {},
                inner_retries=inner_retries,
                client=client,
            )
            _hooks.put()
        return _hooks.said


def uninstall() -> None:
    """Take everything back; tasks under way are reported no more."""
    global _hooks  # noqa: PLW0603
    with _lock:
        if _hooks is not None:
            _hooks.take_back()
            _hooks = None


def _need() -> None:
    if importlib.util.find_spec("crewai") is None:
        raise ImportError(f"CrewAI is not installed: pip install 'rsi[{EXTRA}]', or crewai")


class _Adapter:
    name = "crewai"

    def available(self) -> bool:
        """Whether CrewAI can be imported here."""
        return importlib.util.find_spec("crewai") is not None

    def install(self) -> str:
        """Hook it with what the environment says."""
        return listen()

    def uninstall(self) -> None:
        """Take it back."""
        uninstall()


adapter: Final = _Adapter()
install: Final = listen
__all__ = ["adapter", "install", "listen", "uninstall"]

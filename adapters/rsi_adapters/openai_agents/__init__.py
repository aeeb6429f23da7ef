"""OpenAI Agents SDK: `from rsi_adapters.openai_agents import install; install()` before the first run.

Every outermost `Runner.run`, `run_sync` or `run_streamed` becomes one task, its tool and model calls become steps of it
(a trace processor), and what the policy says is merged into the run's `RunConfig`: a retry policy for model calls,
lessons, the output limit, a declared fallback model. `uninstall()` takes all of it back.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rsi_adapters.openai_agents.hooks import Hooks

from rsi.client import Client

EXTRA: Final = "openai-agents"
_lock: Final = threading.Lock()
_hooks: Hooks | None = None


def install(
    *,
    source: str | None = None,
    fallbacks: Mapping[str, Any] | None = None,
    inner_retries: int | None = None,
    client: Client | None = None,
) -> str:
    """Hook the SDK in this process; calling it again changes nothing.

    Args:
        source: which agent; default the client's.
        fallbacks: models that a policy may turn to, by name: a model name or a `Model`. A run is made again with one of
            them only if no tool has been called in it.
        inner_retries: tries that the model client below makes of one call. Default: 2, the OpenAI client's own.
        client: instead of the process's own.

    Returns:
        A sentence that says what was hooked.

    Raises:
        ImportError: the SDK is not installed; names the extra.
    """
    global _hooks  # noqa: PLW0603 - one per process is the point
    with _lock:
        if _hooks is None:
            _need()
            from rsi_adapters.openai_agents.hooks import Hooks

            _hooks = Hooks(source=source, fallbacks=fallbacks or {}, inner_retries=inner_retries, client=client)
            _hooks.put()
        return _hooks.said


def uninstall() -> None:
    """Take everything back; runs under way end as they began."""
    global _hooks  # noqa: PLW0603
    with _lock:
        if _hooks is not None:
            _hooks.take_back()
            _hooks = None


def _there() -> bool:
    """Whether `agents` is the SDK: many a project has a package of that name itself. Imports nothing of it."""
    try:
        spec = importlib.util.find_spec("agents")
    except (ImportError, ValueError):
        return False
    places = (spec.submodule_search_locations or ()) if spec is not None else ()
    return any((Path(place) / "tracing" / "processor_interface.py").is_file() for place in places)


def _need() -> None:
    if not _there():
        raise ImportError(f"the OpenAI Agents SDK is not installed: pip install 'rsi[{EXTRA}]', or openai-agents")


class _Adapter:
    name = "openai-agents"

    def available(self) -> bool:
        """Whether the SDK can be imported here."""
        return _there()

    def install(self) -> str:
        """Hook it with what the environment says."""
        return install()

    def uninstall(self) -> None:
        """Take it back."""
        uninstall()


adapter: Final = _Adapter()
__all__ = ["adapter", "install", "uninstall"]

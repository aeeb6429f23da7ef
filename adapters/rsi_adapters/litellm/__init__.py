"""LiteLLM: `from rsi_adapters.litellm import install; install()` before the first call.

A `CustomLogger` turns every model call into one `llm` outcome, whoever made it. Calls of a Router, and those of
`litellm.completion` inside an open run, also take the policy of their unit (retries, timeouts, declared models,
lessons, output limits), call by call, so that both arms of an experiment are real in one process. `uninstall()` takes
all of it back.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rsi_adapters.litellm.hooks import Hooks

from rsi.client import Client

EXTRA: Final = "litellm"
_lock: Final = threading.Lock()
_hooks: Hooks | None = None


def install(
    *,
    source: str | None = None,
    fallbacks: Mapping[str, str | Mapping[str, Any]] | None = None,
    inner_retries: int | None = None,
    client: Client | None = None,
) -> str:
    """Hook LiteLLM in this process; calling it again changes nothing.

    Args:
        source: which agent; default the client's.
        fallbacks: models that a policy may turn to, by name: a model (of a Router: a model group), or arguments of the
            call, one of them `model`.
        inner_retries: tries that LiteLLM makes of one call. Default: what the call, the Router or LiteLLM is told.
        client: instead of the process's own.

    Returns:
        A sentence that says what was hooked.

    Raises:
        ImportError: LiteLLM is not installed; names the extra.
        ValueError: a fallback has no model.
    """
    global _hooks  # noqa: PLW0603 - one per process is the point
    with _lock:
        if _hooks is None:
            if importlib.util.find_spec("litellm") is None:
                raise ImportError(f"LiteLLM is not installed: pip install 'rsi[{EXTRA}]', or litellm")
            from rsi_adapters.litellm.hooks import Hooks

            hooks = Hooks(source=source, fallbacks=fallbacks or {}, inner_retries=inner_retries, client=client)
            hooks.put()
            _hooks = hooks
        return _hooks.said


def uninstall() -> None:
    """Take everything back; calls under way are reported no more."""
    global _hooks  # noqa: PLW0603
    with _lock:
        if _hooks is not None:
            _hooks.take_back()
            _hooks = None


class _Adapter:
    name = "litellm"

    def available(self) -> bool:
        """Whether LiteLLM can be imported here."""
        return importlib.util.find_spec("litellm") is not None

    def install(self) -> str:
        """Hook it with what the environment says."""
        return install()

    def uninstall(self) -> None:
        """Take it back."""
        uninstall()


adapter: Final = _Adapter()
__all__ = ["adapter", "install", "uninstall"]

"""One handler for every graph, chain and agent of this process, in every thread and task."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Final

from langchain_core.tracers.context import register_configure_hook

from rsi.client import default_client
from rsi_adapters.langgraph.handler import RSICallbackHandler


class _Everywhere(RSICallbackHandler):
    """The one that LangChain adds by itself; LangChain has no way to take it back, so it can be made deaf."""

    def __init__(self) -> None:
        super().__init__()
        self.installed = False

    @property
    def off(self) -> bool:
        """Whether nothing is to be heard."""
        return not self.installed or super().off

    ignore_chain = ignore_llm = ignore_chat_model = ignore_agent = ignore_retriever = off


_HANDLER: Final = _Everywhere()
#: A default reaches every thread and task, whatever context it began with.
_VAR: Final[ContextVar[Any]] = ContextVar("rsi_langchain", default=_HANDLER)
_registered: list[bool] = []


def install() -> bool:
    """Observe everything from now on; whether that is so. Safe to call twice, undone by `uninstall`.

    `RSI_DISABLE=1` hooks nothing.
    """
    if not default_client().enabled:
        return False
    if not _registered:
        register_configure_hook(_VAR, inheritable=True)
        _registered.append(True)
    _HANDLER.installed = True
    return True


def uninstall() -> None:
    """Hear nothing more, but from handlers that were passed to a call."""
    _HANDLER.installed = False

"""LangGraph and LangChain: `RSICallbackHandler` sees, `RSIMiddleware` and `apply_to_graph` act.

Nothing of the framework is loaded before one of these names is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from rsi.errors import RSIError

if TYPE_CHECKING:
    from rsi_adapters.langgraph.everywhere import install as install
    from rsi_adapters.langgraph.everywhere import uninstall as uninstall
    from rsi_adapters.langgraph.graph import Applied as Applied
    from rsi_adapters.langgraph.graph import apply_to_graph as apply_to_graph
    from rsi_adapters.langgraph.handler import RSICallbackHandler as RSICallbackHandler
    from rsi_adapters.langgraph.middleware import RSIMiddleware as RSIMiddleware

_HOMES: Final = {
    "Applied": "graph",
    "RSICallbackHandler": "handler",
    "RSIMiddleware": "middleware",
    "apply_to_graph": "graph",
    "install": "everywhere",
    "uninstall": "everywhere",
}
_FRAMEWORKS: Final = frozenset({"langchain", "langchain_core", "langgraph"})

__all__ = [  # noqa: PLE0604 - the names of _HOMES, which are strings
    *_HOMES,
]


class MissingFrameworkError(RSIError, ImportError):
    """LangGraph or LangChain is not installed. The message names the extra."""


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        found = getattr(import_module(f"{__name__}.{home}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _FRAMEWORKS:
            raise
        raise MissingFrameworkError(
            f"{name} needs {error.name}, which is not installed: pip install 'rsi[langgraph]'"
        ) from error
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})

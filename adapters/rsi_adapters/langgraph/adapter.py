"""The entry point `rsi.adapters`: what `import rsi.auto` hooks."""

from __future__ import annotations

from importlib.util import find_spec


class LangGraphAdapter:
    """Observes every graph, chain and agent of the process. Acting needs `RSIMiddleware` or `apply_to_graph`."""

    name = "langgraph"

    def available(self) -> bool:
        """Whether LangChain's core, on which LangGraph stands, can be imported."""
        return find_spec("langchain_core") is not None

    def install(self) -> str:
        """Hook it, once."""
        from rsi_adapters.langgraph.everywhere import install  # noqa: PLC0415 - loads the framework

        return "langgraph: every graph, chain and agent is observed" if install() else "langgraph: rsi is switched off"

    def uninstall(self) -> None:
        """Hear nothing more."""
        from rsi_adapters.langgraph.everywhere import uninstall  # noqa: PLC0415 - loads the framework

        uninstall()

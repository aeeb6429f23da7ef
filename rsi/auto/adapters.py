"""The adapters of the agent's process: built-in ones by dotted name, others by entry point."""

from __future__ import annotations

import importlib
import importlib.util
from importlib import metadata
from typing import Final

import msgspec

from rsi.model import Adapter

GROUP: Final = "rsi.adapters"


class Known(msgspec.Struct, frozen=True):
    """An adapter that may be hooked.

    Attributes:
        name: as in `rsi doctor`.
        target: `module:object` of the adapter.
        trigger: the framework's module, after whose import the adapter is installed; without one it is asked at once.
        distribution: the framework's name on the package index.
    """

    name: str
    target: str
    trigger: str | None = None
    distribution: str | None = None

    def load(self) -> Adapter:
        """The adapter.

        Raises:
            ImportError, AttributeError, TypeError: it is not there, or is none.
        """
        module, _, name = self.target.partition(":")
        loaded = getattr(importlib.import_module(module), name)
        found = loaded() if isinstance(loaded, type) else loaded
        if not isinstance(found, Adapter):
            raise TypeError("it has no name, available() and install(): not an adapter")
        return found

    def present(self) -> bool:
        """Whether the framework can be imported here. Imports nothing of it."""
        if self.trigger is None:
            return True
        try:
            return importlib.util.find_spec(self.trigger) is not None
        except (ImportError, ValueError):  # a broken parent package, or a module without a spec
            return False

    def title(self) -> str:
        """The framework, with its version where it says one."""
        try:
            return f"{self.distribution} {metadata.version(self.distribution)}" if self.distribution else self.name
        except metadata.PackageNotFoundError:
            return str(self.distribution)


#: Adapters of this distribution, so that nothing depends on its entry points being installed.
BUILT_IN: Final = (
    Known("langgraph", "rsi_adapters.langgraph.adapter:LangGraphAdapter", "langchain_core", "langchain-core"),
    Known("crewai", "rsi_adapters.crewai:adapter", "crewai", "crewai"),
    Known("openai-agents", "rsi_adapters.openai_agents:adapter", "agents", "openai-agents"),
    Known("litellm", "rsi_adapters.litellm:adapter", "litellm", "litellm"),
    Known("claude-code", "rsi_adapters.claude_code.adapter:ClaudeCodeAdapter", "claude_agent_sdk", "claude-agent-sdk"),
)


def known() -> list[Known]:
    """Built-in adapters, then those of other packages (`name = "package.module:adapter"` in `rsi.adapters`)."""
    found = {each.name: each for each in BUILT_IN if _there(each)}
    targets = {each.target for each in BUILT_IN}
    for entry in metadata.entry_points(group=GROUP):
        if entry.name not in found and entry.value not in targets:
            found[entry.name] = Known(entry.name, entry.value)
    return list(found.values())


def _there(each: Known) -> bool:
    """A build of rsi may lack an adapter."""
    return importlib.util.find_spec(each.target.partition(":")[0]) is not None

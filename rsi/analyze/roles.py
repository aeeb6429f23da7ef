"""Which words say that the name beside them is *what failed*: `Tool 'x'`, `x model`, `function x()`, `server "x"`.

Failures of two tools are two faults, however many tools there are; failures of two users are one. General English of
machines, no format of any one source.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rsi.analyze.words import INSTANCES

#: Nouns whose names tell faults apart. Singular only: `available tools: 'a', 'b'` is a list, and a list is a value.
ROLES: Final = frozenset({
    # what an agent works with
    "agent", "assistant", "deployment", "engine", "llm", "model", "plugin", "provider", "skill", "subagent", "tool",
    # what it calls
    "api", "backend", "broker", "database", "db", "endpoint", "gateway", "host", "hostname", "microservice", "route",
    "server", "service", "upstream",
    # where things lie
    "bucket", "collection", "column", "constraint", "exchange", "index", "queue", "relation", "schema", "stream",
    "table", "topic", "view",
    # what programs are made of
    "action", "class", "component", "connector", "dependency", "driver", "event", "extension", "function", "graph",
    "handler", "import", "job", "library", "method", "module", "node", "operation", "package", "pipeline", "procedure",
    "property", "setting", "stage", "step", "task", "type", "variable", "workflow",
    # what one may or may not
    "permission", "policy", "privilege", "role", "scope", "secret",
    # codes
    "code", "error", "errorcode", "exception", "kind", "reason", "status",
})  # fmt: skip
#: What may stand between such a noun and the name: `tool name: 'x'`, `model called x`, `"function": {"name": "x"}`.
_BETWEEN: Final = frozenset({"'", '"', "`", "(", "{", ":", "=", "called", "id", "name", "named", "the"})
#: What may stand between the name and the noun behind it: `'x' tool`.
_BEHIND: Final = frozenset({"'", '"', "`"})
_CALLED: Final = ("(", ")")
#: So many words before a name, and behind it, are read.
BEFORE: Final = 9
BEHIND: Final = 3


def is_role(word: str) -> bool:
    """Whether the name beside this word is what failed: also the last part of `tool_name`, `queue_id`."""
    lower = word.lower()
    if lower in ROLES:
        return True
    parts = [part for part in lower.split("_") if part not in _BETWEEN] if "_" in lower else []
    return bool(parts) and parts[-1] in ROLES


def names_what_failed(before: Sequence[str], behind: Sequence[str]) -> bool:
    """Whether a name is that of what failed, by the words before it and behind it, nearest first."""
    noun = next((word for word in before if word.lower() not in _BETWEEN), "")
    if is_role(noun):
        return True
    if noun.lower() in INSTANCES:
        return False  # `user 'alice' service`: whose, not what
    said = [word for word in behind if word not in _BEHIND]
    return tuple(said[:2]) == _CALLED or (bool(said) and is_role(said[0]))


def beside(before: str, behind: str) -> bool:
    """The same for a plain word, of which prose has many: by the very next words only."""
    return before.lower() in ROLES or behind.lower() in ROLES

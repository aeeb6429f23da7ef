"""What issues that move together are likely to have in common: the pairs that the taxonomy names, and words for it.

A row names categories whose issues have a reason to move together where they share what the row says. Nothing here
decides that they do: `correlate` does, with a lower bar for named pairs. The words say what is likely, never what is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

Shared: TypeAlias = Literal["provider", "source"]


class Named(NamedTuple):
    """Categories of which any two move together for one reason (`leads` with one of `follows`, if given)."""

    leads: frozenset[str]
    follows: frozenset[str]
    shared: Shared
    cause: str
    why: str


class About(NamedTuple):
    """What is known of an issue of late: where it struck, whom its tasks called, in which releases."""

    issue: int
    category: str
    sources: frozenset[str]
    providers: frozenset[str]
    releases: frozenset[str]


_PROVIDER: Final = frozenset({"overloaded", "provider_5xx", "timeout_model", "connection"})
_KEYS: Final = frozenset({"auth", "permission"})
_PARSING: Final = frozenset({"output_parse", "schema_validation", "empty_response"})
_TOOLS: Final = frozenset({"mcp_transport", "timeout_tool", "tool_execution", "tool_unknown"})
_LOST: Final = frozenset({"context_lost", "chat_history_invalid", "no_progress", "budget_exceeded"})
_FULL: Final = frozenset({"timeout_tool", "mcp_transport", "tool_execution", "connection", "state_conflict"})


def _one(*names: str) -> frozenset[str]:
    return frozenset(names)


#: The first row that holds says the likely cause.
TABLE: Final[tuple[Named, ...]] = (
    Named(_PROVIDER, _PROVIDER, "provider", "outage",
          "a provider in trouble sheds load, fails, answers late and drops connections at the same time"),
    Named(_one("rate_limit"), _PROVIDER | {"rate_limit"}, "provider", "rate limit, and the retries that it brings",
          "what is refused is tried again; the tries fill the limit and queue until they time out"),
    Named(_one("quota_exhausted"), _KEYS | {"quota_exhausted", "rate_limit"}, "provider", "account without quota",
          "an account that ran dry is refused in several ways"),
    Named(_KEYS, _KEYS | {"model_not_found"}, "provider", "credentials or access that changed",
          "a key that was rotated or restricted is refused everywhere it is used"),
    Named(_one("model_not_found"), _one("model_not_found", "invalid_request"), "provider", "model that was changed",
          "a model that was retired takes other parameters, or none"),
    Named(_one("context_overflow"), _PARSING | {"output_truncated"}, "source", "contexts that have grown too long",
          "a context near its limit leaves no room for the answer, which is cut and cannot be parsed"),
    Named(_one("output_truncated"), _PARSING, "source", "answers that are cut",
          "what is cut cannot be parsed"),
    Named(_one("resource_exhausted"), _FULL, "source", "machine out of memory, disk or processor time",
          "tools die, stall and lose their connections where the machine is full"),
    Named(_TOOLS, _TOOLS, "source", "tools that are away",
          "a tool server that went away times out, breaks off and leaves its tools unknown"),
    Named(_LOST, _LOST, "source", "lost context",
          "an agent that has lost its context repeats itself until a limit stops it"),
    Named(_one("code_bug", "missing_resource"),
          _one("code_bug", "missing_resource", "tool_args", "schema_validation", "tool_execution"), "source",
          "change of the code", "one change can break several things at once"),
)  # fmt: skip


def named(one: About, other: About) -> Named | None:
    """The row that expects two issues to move together, if there is one."""
    return next((row for row in TABLE if _fits(row, one, other) or _fits(row, other, one)), None)


def _fits(row: Named, one: About, other: About) -> bool:
    if one.category not in row.leads or other.category not in row.follows:
        return False
    if row.shared == "source":
        return bool(one.sources & other.sources)
    # who does not say whom it calls may call the same one
    return not one.providers or not other.providers or bool(one.providers & other.providers)


def likely(pairs: Sequence[tuple[About, About]]) -> str:
    """The likely common cause of pairs that move together, in words."""
    members = {about.issue: about for pair in pairs for about in pair}.values()
    rows = [row for row in (named(*pair) for pair in pairs) if row is not None]
    if not rows:
        return _only_shared(members)
    row = Counter(rows).most_common(1)[0][0]
    if row.shared == "source":
        return f"{row.cause} ({_words(_common(about.sources for about in members))})"
    providers = _common(about.providers for about in members)
    if row.cause == "outage":
        return f"provider outage: {_words(providers)}" if providers else "provider outage (nobody said which provider)"
    return f"{row.cause}: {_words(providers)}" if providers else row.cause


def _only_shared(members: Collection[About]) -> str:
    """Nothing that the taxonomy names: what all of them share."""
    for name, sets in (
        ("provider", [about.providers for about in members]),
        ("release", [about.releases for about in members]),
        ("source", [about.sources for about in members]),
    ):
        shared = frozenset.intersection(*sets) if sets else frozenset()
        if shared:
            return f"something about {name} {_words(shared)}, which they share"
    return "not known: they share no provider, release or source"


def _common(sets: Iterable[frozenset[str]]) -> list[str]:
    """What most of those that say anything have in common."""
    counted = Counter(name for found in sets for name in found)
    most = max(counted.values(), default=0)
    return sorted(name for name, n in counted.items() if n == most)


def _words(names: Iterable[str]) -> str:
    listed = sorted(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more


_SHOWN: Final = 3


def as_markdown() -> str:
    """The table as `docs/reference/issues.md` shows it."""
    lines = ["| these | with these | of one | likely cause | because |", "|---|---|---|---|---|"]
    for row in TABLE:
        leads, follows = (", ".join(sorted(names)) for names in (row.leads, row.follows))
        lines.append(f"| {leads} | {follows} | {row.shared} | {row.cause} | {row.why} |")
    return "\n".join(lines) + "\n"

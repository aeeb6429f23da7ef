"""What may be tried again, and when."""

from __future__ import annotations

import random
import sys
from typing import Any, Final

import msgspec

from rsi.client.facts import ErrorFacts
from rsi.enforce.budget import RATIO, RESERVE

MAX_ATTEMPTS: Final = 3  # LangGraph's and most SDKs' default, for a policy that does not say
INITIAL_S: Final = 0.5
MULTIPLIER: Final = 2.0
MAX_S: Final = 30.0
JITTER: Final = 0.5
#: What a foreign client in the process is assumed to make of one call, unless `inner_retries=` says it.
ASSUMED_INNER: Final = 2
#: Tries of clients that repeat by themselves unless told not to (research, adapters §7). Where it was seen or their
#: documentation says so: 3, a first one and two retries. urllib3, requests and httpx do not repeat.
_REPEATING_CLIENTS: Final = {
    "openai": 3,
    "anthropic": 3,
    "litellm": 3,
    "groq": 3,
    "google.genai": ASSUMED_INNER,
    "cohere": ASSUMED_INNER,
    "mistralai": ASSUMED_INNER,
    "botocore": ASSUMED_INNER,
    "langchain_core": ASSUMED_INNER,
}
#: A 4xx is our mistake, and stays one however often it is made; but for these.
_PASSING_4XX: Final = frozenset({408, 409, 429})
_CLIENT_ERRORS: Final = range(400, 500)
#: The other side's trouble: what is repeated where a policy does not say `on`.
TRANSIENT: Final = frozenset(
    {"rate_limit", "overloaded", "provider_5xx", "timeout_model", "timeout_tool", "connection", "mcp_transport"}
)
#: All that can go better the second time. The rest (auth, quota, context too long, a bug …) needs a change first.
RETRYABLE: Final = TRANSIENT | {
    "empty_response",
    "output_parse",
    "schema_validation",
    "state_conflict",
    "tool_execution",
    "resource_exhausted",
}
#: What another callable cannot answer better either, because the request is at fault, or nothing failed.
NOT_FOR_OTHERS: Final = frozenset({"invalid_request", "tool_args", "code_bug", "not_a_failure", "budget_exceeded"})


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """The knob `retry`, complete. Times are seconds, `jitter` is the share of a wait that is random."""

    max_attempts: int = MAX_ATTEMPTS
    initial_s: float = INITIAL_S
    multiplier: float = MULTIPLIER
    max_s: float = MAX_S
    jitter: float = JITTER
    on: frozenset[str] = TRANSIENT
    honour_retry_after: bool = True
    ratio: float = RATIO
    reserve: float = RESERVE

    @classmethod
    def of(cls, knob: dict[str, Any]) -> Retry:
        """From a knob within its bounds (`rsi.policy.clean`)."""
        fields = {key: value for key, value in knob.items() if key not in ("on", "budget")}
        if "on" in knob:
            fields["on"] = frozenset(knob["on"])
        return cls(**fields, **knob.get("budget", {}))

    def wait_s(self, tries: int, retry_after: float | None) -> float:
        """Seconds before the next try after `tries` failed ones.

        Exponential with jitter. A Retry-After is a lower bound, with a little jitter on top so that all who were told
        the same do not come back together; `max_s` caps both, even where the other side asked for more.
        """
        backoff = min(self.max_s, self.initial_s * self.multiplier ** (tries - 1))
        wait = backoff * (1 - self.jitter * random.random())  # noqa: S311 - not a secret
        if retry_after is not None and self.honour_retry_after:
            wait = max(wait, retry_after + self.initial_s * self.jitter * random.random())  # noqa: S311 - not a secret
        return min(wait, self.max_s)


def may_repeat(facts: ErrorFacts, category: str, on: frozenset[str]) -> bool:
    """Whether a failure of this category may be tried again at all."""
    if facts.status in _CLIENT_ERRORS and facts.status not in _PASSING_4XX:
        return False
    return category in on and category in RETRYABLE


def inner_tries(named: int | None) -> int:
    """How many tries the layer below makes of one call: named, else those of the loaded clients that repeat, else 1."""
    if named is not None:
        return max(1, named)
    return max((tries for name, tries in _REPEATING_CLIENTS.items() if name in sys.modules), default=1)

"""What an error is, by rules alone: pure, cached, light enough for the agent's process (msgspec and PyYAML only)."""

from __future__ import annotations

import os
import threading
from collections.abc import Hashable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec

from rsi.config import STATE_DIR
from rsi.model import Category, Severity
from rsi.rules import ClassifyRule, Matcher, load
from rsi.rules.alike import Alike
from rsi.rules.signals import examined
from rsi.rules.unread import named, unread

CACHE_SIZE: Final = 4096  # verdicts kept per classifier: the distinct errors of a busy hour
CACHED_TEXT: Final = 2048  # longer texts are not kept, so that the cache stays below 40 MB whatever comes
UNKNOWN: Final = Category("unknown", 0.0, "none")


class Classifier:
    """A rule set as a function; safe to share between threads.

    Args:
        rules: `rsi.rules.load("classify", …).rules`, highest precedence first.
    """

    def __init__(self, rules: Sequence[ClassifyRule]) -> None:
        self._matcher = Matcher(rules)
        self._cached = lru_cache(maxsize=CACHE_SIZE)(self._decide)
        self._confidence = {f"rule:{rule.id}": rule.confidence for rule in rules}
        self._rules = tuple(rules)
        self._named = named(rules)
        self._alike: Alike | None = None
        self._severity = {rule.id: rule.severity for rule in rules if rule.severity}

    def __call__(
        self, text: str, error_type: str | None = None, status: int | None = None, provider: str | None = None
    ) -> Category:
        """The category of an error; `unknown` with confidence 0 where no rule decides. Never raises on any text."""
        text = unread(examined(text), self._named)
        decide = self._cached if len(text) <= CACHED_TEXT else self._decide
        return decide(text, error_type, status, provider)

    def key(self, text: str) -> Hashable | None:
        """Equal only for texts of one category, their types, statuses and providers being equal.

        For those who classify many texts in one thread; `None`: ask for this text.
        """
        if self._alike is None:
            self._alike = Alike(self._rules)
        return self._alike.key(unread(examined(text), self._named))

    def severity(self, category: Category) -> Severity:
        """How bad: the deciding rule's own word, else its category's."""
        return self._severity.get(category.by.removeprefix("rule:")) or severity(category.name)

    def weaker_than(self, sure: float) -> frozenset[str]:
        """The `by` of the rules whose confidence is below `sure`: others may know better."""
        return frozenset(by for by, confidence in self._confidence.items() if confidence < sure)

    def _decide(self, text: str, error_type: str | None, status: int | None, provider: str | None) -> Category:
        rule = self._matcher.decide(text, error_type, status, provider)
        return Category(rule.category, rule.confidence, f"rule:{rule.id}") if rule else UNKNOWN


#: What most first failures look like: their regular expressions are then made before they are needed.
COMMON: Final = (
    "RateLimitError: Error code: 429 - Rate limit reached, please try again in 20s",
    "APIConnectionError: Connection error.",
    "ReadTimeout: the request to the model timed out",
    "InternalServerError: 503 Service Unavailable: the server is overloaded",
    "AuthenticationError: Error code: 401 - incorrect API key provided",
)


class _BuiltIn:
    """The built-in rules, loaded by the first thread that asks (0.1 to 0.7 s of CPU) while the others wait for it."""

    def __init__(self) -> None:
        self._held: Classifier | None = None
        self.renew()

    def renew(self) -> None:
        """A forked child must not wait for a thread that only its parent has."""
        self._loading = threading.Lock()

    def get(self, keep: Path | None = None) -> Classifier:
        """Them; `keep` is where they wait for the next process."""
        if self._held is None:
            with self._loading:
                if self._held is None:
                    self._held = Classifier(load("classify", keep=keep).rules)
        return self._held


_BUILT_IN: Final = _BuiltIn()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_BUILT_IN.renew)


def warm(keep: Path | None = None) -> None:
    """Load the built-in rules now, in a thread that nobody waits for, and meet the commonest failures once.

    Args:
        keep: a private folder for what was worked out; without it every process works it out again.
    """
    decide = _BUILT_IN.get(keep)
    for text in COMMON:
        decide(text)


def for_home(home: Path) -> Classifier:
    """The built-in rules together with those of a home (`<home>/rules/classify`)."""
    state = home / STATE_DIR
    return Classifier(load("classify", [home / "rules"], keep=state if state.is_dir() else None).rules)


def classify(
    text: str, error_type: str | None = None, status: int | None = None, provider: str | None = None
) -> Category:
    """What an error text is, by the built-in rules.

    Args:
        text: as it stands in a log: a message, a repr, a traceback, a JSON body, prose. Its first and last 4,096
            characters are looked at.
        error_type: exception class, with or without module; several (a class and its bases) may be given, separated
            by blanks or commas.
        status: HTTP status; replaces what the text says.
        provider: `openai`, `bedrock`, …

    Returns:
        Category whose `by` is `rule:<id>`; `Category("unknown", 0.0, "none")` where no rule decides.
    """
    return _BUILT_IN.get()(text, error_type, status, provider)


class Meaning(msgspec.Struct, frozen=True):
    """What a category means to people: title words, how bad it is, what to do, and whether a repetition may help."""

    title: str
    severity: Severity
    action: str
    retryable: bool = False


MEANINGS: Final[dict[str, Meaning]] = {
    "rate_limit": Meaning("Rate limit", "medium", "Back off with jitter, honour Retry-After, lower concurrency.", True),
    "quota_exhausted": Meaning(
        "Quota or credit used up", "critical", "Stop retrying; top up or raise the plan's limit, then resume."
    ),
    "overloaded": Meaning("Provider overloaded", "medium", "Back off and retry; fall back to a declared model.", True),
    "provider_5xx": Meaning("Provider error", "medium", "Retry within the budget; watch the provider's status.", True),
    "timeout_model": Meaning("Model timed out", "medium", "Retry; raise the timeout or shorten the request.", True),
    "timeout_tool": Meaning("Tool timed out", "medium", "Retry if repeatable; raise that tool's timeout.", True),
    "connection": Meaning("Connection failed", "medium", "Retry with backoff; check network, DNS and TLS.", True),
    "auth": Meaning("Not authenticated", "critical", "Rotate or set the key; check the environment it is read from."),
    "permission": Meaning("Not permitted", "high", "Grant the access it names, or take the step out of the task."),
    "model_not_found": Meaning("Model not found", "high", "Name a model that exists and that this key may use."),
    "context_overflow": Meaning("Context too long", "high", "Trim or compact the conversation before the call."),
    "output_truncated": Meaning("Answer cut off", "medium", "Raise the output token limit, or ask for less."),
    "empty_response": Meaning("Empty answer", "medium", "Ask once more; then check prompt and stop sequences."),
    "refusal": Meaning("Refused or filtered", "high", "Read the prompt and the policy it met; never work around it."),
    "invalid_request": Meaning("Invalid request", "high", "Correct the parameter that the message names."),
    "output_parse": Meaning("Unreadable answer", "medium", "Ask again once with the parser's complaint."),
    "schema_validation": Meaning("Answer off schema", "medium", "Ask again once with the complaint."),
    "tool_args": Meaning("Wrong tool arguments", "medium", "Return the error to the model; sharpen its schema."),
    "tool_unknown": Meaning("Unknown tool", "medium", "List the tools in the prompt; alias the wrong name."),
    "tool_execution": Meaning("Tool failed", "medium", "Read the tool's error; put a breaker before it."),
    "no_progress": Meaning("No progress", "high", "Stop the run and keep what it has; never raise the limit."),
    "budget_exceeded": Meaning("Budget exceeded", "high", "Pause and ask; find the step that spends."),
    "chat_history_invalid": Meaning("Invalid chat history", "high", "Repair the order of messages and tool results."),
    "context_lost": Meaning("Context lost", "high", "Save state before compaction or reset, and load it again."),
    "state_conflict": Meaning("State conflict", "medium", "Read again, then write; retry shortly if it is a lock."),
    "missing_resource": Meaning("Something is missing", "high", "Create, restore or point to what it names."),
    "code_bug": Meaning("Fault in the code", "high", "Mend the frame that the traceback names."),
    "resource_exhausted": Meaning("Machine out of resources", "critical", "Free or add what ran out; run fewer."),
    "mcp_transport": Meaning("MCP connection broke", "medium", "Reconnect with a breaker; read its log.", True),
    "quality": Meaning("Wrong or unsafe result", "high", "Quarantine the result and have a person look."),
    "not_a_failure": Meaning("Not a failure", "low", "Nothing to mend: somebody stopped it or was asked."),
    "unknown": Meaning("Unclassified", "medium", "Read the samples; a rule of your own can name it."),
}  # fmt: skip

#: What another try cannot help, and must never be advised for.
NEVER_RETRIED: Final = frozenset({"quota_exhausted", "auth", "permission", "refusal"})

#: The 22 issue words of the older package (contract §2, `issues`) → category. Words about how an agent behaves say that
#: the result was not what was wanted, which is `quality`.
LEGACY: Final[dict[str, str]] = {
    "rate_limit": "rate_limit",
    "model_fallback": "model_not_found",
    "wrong_model_tier": "quality",
    "cost_overrun": "budget_exceeded",
    "bad_routing": "quality",
    "slow_response": "timeout_model",
    "tool_error": "tool_execution",
    "empty_response": "empty_response",
    "missing_tool": "tool_unknown",
    "incomplete_task": "quality",
    "wrong_output": "quality",
    "context_loss": "context_overflow",
    "memory_miss": "context_lost",
    "compaction_lost_context": "context_lost",
    "session_reset": "context_lost",
    "hydration_fail": "context_lost",
    "over_confirmation": "quality",
    "repeated_mistake": "no_progress",
    "skill_gap": "quality",
    "wal_miss": "context_lost",
    "timeout": "timeout_model",
    "other": "unknown",
}


def meaning(category: str) -> Meaning:
    """What a category means; an unknown word means what `unknown` means."""
    return MEANINGS.get(category, MEANINGS["unknown"])


def title(category: str) -> str:
    """Two or three words for a heading."""
    return meaning(category).title


def severity(category: str) -> Severity:
    """How bad a category is where no rule says otherwise."""
    return meaning(category).severity


def suggested_action(category: str) -> str:
    """One sentence: what a person should do."""
    return meaning(category).action


def retryable(category: str) -> bool:
    """Whether the same call may work a moment later. Never for quota, auth, permission, refusal or invalid requests."""
    return meaning(category).retryable


def legacy(word: str) -> str:
    """The category of an older issue word, of a category itself, else `unknown`."""
    return word if word in MEANINGS else LEGACY.get(word, "unknown")

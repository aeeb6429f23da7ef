"""What the framework's outputs say: tokens, models, tools that failed without raising. Read by shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from rsi.client.facts import ErrorFacts
from rsi.client.recorded import StepFields

#: Parts of a node's output that are looked at: a thousand tool calls in one step are none of an agent's.
MAX_PARTS: Final = 1_000


def usage_of(response: Any) -> StepFields:
    """Tokens and the model that really answered, of an `LLMResult`."""
    fields: StepFields = {}
    generations = getattr(response, "generations", None)
    first = generations[0][0] if generations and generations[0] else None
    message = getattr(first, "message", None)
    usage = getattr(message, "usage_metadata", None)
    if isinstance(usage, Mapping):
        fields["tokens_in"] = usage.get("input_tokens") or 0
        fields["tokens_out"] = usage.get("output_tokens") or 0
    said = getattr(message, "response_metadata", None)
    model = (said.get("model_name") or said.get("model")) if isinstance(said, Mapping) else None
    if isinstance(model, str) and model:
        fields["model"] = model
    return fields


def refused_tools(outputs: Any) -> Iterator[Any]:
    """Tool messages with `status="error"`, of a node that gives out nothing but tool messages.

    A node that repeats its whole history tells old errors again; these are not looked at.
    """
    if type(outputs) is dict and "messages" not in outputs:  # most of them, at once
        return
    messages = _messages(outputs)
    if messages and all(getattr(message, "type", None) == "tool" for message in messages):
        yield from (message for message in messages if getattr(message, "status", None) == "error")


def failure_of(output: Any) -> ErrorFacts | None:
    """What a tool's result says if it says that the tool failed."""
    if getattr(output, "status", None) != "error":
        return None
    return ErrorFacts(str(getattr(output, "content", "")))


def resumes(inputs: Any) -> bool:
    """Whether a run's input is the answer of a person who was asked (`Command(resume=…)`)."""
    return type(inputs).__name__ == "Command" and getattr(inputs, "resume", None) is not None


def _messages(outputs: Any) -> list[Any]:
    found: list[Any] = []
    parts = outputs if isinstance(outputs, list | tuple) else [outputs]
    for part in parts[:MAX_PARTS]:
        update = getattr(part, "update", None) if not isinstance(part, Mapping) else part  # a Command's, or a state's
        if isinstance(update, Mapping):
            inside = update.get("messages")
            found += inside if isinstance(inside, list | tuple) else [inside] if inside is not None else []
        elif hasattr(part, "type") and hasattr(part, "content"):
            found.append(part)
    return found

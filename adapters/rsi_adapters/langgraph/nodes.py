"""A graph's nodes: which runs they are, and what is known of them when they end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from rsi.client import Run
from rsi.client.facts import ErrorFacts
from rsi.client.recorded import StepFields
from rsi_adapters.langgraph.place import MARK, PLACES
from rsi_adapters.langgraph.seen import Seen

_AGENT: Final = "langchain_create_agent"
_MODEL_NODE: Final = "model"


def slot_of(kind: str, name: str, metadata: Mapping[str, Any], up: Seen | None) -> str:
    """The task of the graph whose try this is, if it is a node (or a `@task`), else nothing.

    What is inside a node inherits its metadata, so the task must be another than that of the node around it.
    """
    if kind != "chain" or up is None or metadata.get("langgraph_node") != name:
        return ""
    slot = str(metadata.get("langgraph_checkpoint_ns") or "")
    around = up if up.slot else up.home
    return "" if around is not None and around.slot == slot else slot


def node_began(seen: Seen, up: Seen, metadata: Mapping[str, Any], run: Run) -> None:
    """A node of the graph `up` began in `run`."""
    seen.answers = seen.name == _MODEL_NODE and metadata.get("ls_integration") == _AGENT
    mark = metadata.get(MARK)
    place = PLACES.get(mark) if mark is not None else None
    if place is not None and place.node == seen.name:
        seen.place = place
        place.began(seen, run, up.calls)


def node_ended(seen: Seen, up: Seen, error: BaseException | ErrorFacts | None) -> None:
    """It ended."""
    if seen.answers:
        up.answerless = seen.model_error if error is None else None
    if seen.place is not None:
        if error is None:
            up.calls.pop(seen.slot, None)
        seen.place.ended(seen, error if isinstance(error, BaseException) else None)


def heard(seen: Seen, error: BaseException | ErrorFacts | None, fields: StepFields) -> None:
    """What a model or tool came to."""
    if seen.kind == "llm" and "tokens_in" in fields:
        seen.used.append((fields["tokens_in"], fields["tokens_out"]))
    if seen.home is None:
        return
    if seen.kind == "llm":
        seen.home.model_error = error if isinstance(error, BaseException) else None
    elif seen.kind == "tool" and error is not None:
        seen.home.failed_tools[seen.name] = True

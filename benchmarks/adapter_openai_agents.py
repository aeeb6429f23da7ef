"""What our trace processor for the OpenAI Agents SDK costs per callback, beside an empty one, in one run.

    python benchmarks/adapter_openai_agents.py [--json] [--runs N] [--repeats R] [--limit-us 20]

Needs openai-agents. An agent with a scripted model and one tool runs with each processor in turn, inside an open run as
`Runner.run_sync` has one with us; figures are µs of CPU time of the calling thread inside the processor's callbacks.
Exits 1 if our mean is above the limit.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from functools import partial
from typing import Any

os.environ |= {"XDG_STATE_HOME": tempfile.mkdtemp()}

from adapter_timing import LIMIT_US, NOBODY, in_turns, report, timed
from agents import Agent, Model, ModelResponse, Runner, Usage, function_tool, set_trace_processors
from agents.tracing import TracingProcessor
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

import rsi.client
from rsi.client import Run, enter_run, leave_run
from rsi_adapters.openai_agents.observing import Processor

NAMES = ("on_trace_start", "on_trace_end", "on_span_start", "on_span_end")


class Empty(TracingProcessor):
    """Does nothing."""

    def on_trace_start(self, trace: Any) -> None: ...

    def on_trace_end(self, trace: Any) -> None: ...

    def on_span_start(self, span: Any) -> None: ...

    def on_span_end(self, span: Any) -> None: ...

    def shutdown(self) -> None: ...

    def force_flush(self) -> None: ...


class Scripted(Model):
    """Calls the tool, then answers."""

    async def get_response(self, *args: Any, **more: Any) -> ModelResponse:
        asked = more.get("input", args[1] if len(args) > 1 else "")
        if isinstance(asked, list) and any(isinstance(each, dict) and "output" in each for each in asked):
            text = ResponseOutputText(text="42", type="output_text", annotations=[])
            said: Any = ResponseOutputMessage(
                id="m", content=[text], role="assistant", status="completed", type="message"
            )
        else:
            said = ResponseFunctionToolCall(arguments="{}", call_id="c", name="look", type="function_call")
        return ModelResponse(output=[said], usage=Usage(), response_id=None)

    def stream_response(self, *args: Any, **more: Any) -> Any:
        raise NotImplementedError


@function_tool
def look() -> str:
    """Look."""
    return "found"


def measured(kind: type, given: dict[str, Any], runs: int) -> list[int]:
    spent: list[int] = []
    set_trace_processors([timed(kind, NAMES, spent)(**given)])
    agent = Agent(name="a", model=Scripted(), tools=[look])
    for n in range(runs):
        token = enter_run(Run(f"r{n}", "answer"))
        try:
            Runner.run_sync(agent, "hi")
        finally:
            leave_run(token)
    set_trace_processors([])
    return spent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--limit-us", type=float, default=LIMIT_US)
    options = parser.parse_args()
    client = rsi.client.configure(url=NOBODY, source="benchmark", enabled=True)
    measures = {
        "empty": partial(measured, Empty, {}, options.runs),
        "rsi": partial(measured, Processor, {"source": None, "client": client}, options.runs),
    }
    found = in_turns(measures, options.repeats)
    rsi.client.configure(enabled=False)
    return report(found, as_json=options.json, limit_us=options.limit_us)


if __name__ == "__main__":
    sys.exit(main())

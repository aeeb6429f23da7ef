"""What our CrewAI adapter costs per event, beside an empty listener, in one run.

    python benchmarks/adapter_crewai.py [--json] [--tasks N] [--repeats R] [--limit-us 20]

Needs crewai. The events of a task with one model call and one tool are emitted through CrewAI's own bus, again and
again, with each listener in turn; nobody answers on the daemon's port. Figures are µs of the calling thread's CPU time
per event inside the listener, without what taking the time takes. Agent events, at which a stand-in for the model is
put and taken back, are among them, as in a kickoff. Exits 1 if our mean is above the limit.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ |= {"CREWAI_DISABLE_TELEMETRY": "true", "CREWAI_TRACING_ENABLED": "false", "CREWAI_TESTING": "true"}
os.environ |= {"CREWAI_STORAGE_DIR": tempfile.mkdtemp(), "XDG_STATE_HOME": tempfile.mkdtemp()}

from adapter_timing import LIMIT_US, NOBODY, in_turns, report
from crewai import Agent, BaseLLM, Task
from crewai.events import crewai_event_bus
from crewai.events.types.agent_events import AgentExecutionCompletedEvent, AgentExecutionStartedEvent
from crewai.events.types.llm_events import LLMCallCompletedEvent, LLMCallStartedEvent, LLMCallType
from crewai.events.types.task_events import TaskCompletedEvent, TaskStartedEvent
from crewai.events.types.tool_usage_events import ToolUsageFinishedEvent, ToolUsageStartedEvent
from crewai.tasks.task_output import TaskOutput

import rsi.client
from rsi_adapters.crewai.hooks import Hooks
from rsi_adapters.crewai.tap import Tap

USAGE = {"prompt_tokens": 10, "completion_tokens": 3}


class Model(BaseLLM):  # type: ignore[misc]
    """Never asked."""

    def call(self, *args: Any, **kwargs: Any) -> str:
        return "42"


def events(agent: Agent, task: Task, now: Any) -> list[Any]:
    """Those of one task, in their order."""
    around = {"from_task": task, "from_agent": agent}
    call = {"call_id": "c", "model": "m", **around}
    tool = {"tool_name": "lookup", "tool_args": {}, "agent_key": "a", **around}
    done = TaskOutput(description="d", raw="42", agent="R")
    return [
        TaskStartedEvent(context="", task=task),
        AgentExecutionStartedEvent(agent=agent, task=task, tools=[], task_prompt="p"),
        LLMCallStartedEvent(messages=[], **call),
        LLMCallCompletedEvent(messages=[], response="42", call_type=LLMCallType.LLM_CALL, usage=USAGE, **call),
        ToolUsageStartedEvent(**tool),
        ToolUsageFinishedEvent(started_at=now, finished_at=now, output="x", **tool),
        AgentExecutionCompletedEvent(agent=agent, task=task, output="42"),
        TaskCompletedEvent(output=done, task=task),
    ]


def measured(hear: Callable[[Any, Any], None], tasks: int) -> list[int]:
    """One listener: ns of each event."""
    agent = Agent(role="R", goal="g", backstory="b", llm=Model(model="m"))
    task = Task(description="d", expected_output="x", agent=agent, name="find")
    inside: list[int] = []

    def timed(source: Any, event: Any) -> None:
        began = time.thread_time_ns()
        hear(source, event)
        inside.append(time.thread_time_ns() - began)

    tap = Tap(crewai_event_bus, timed)
    tap.put()
    for _ in range(tasks):
        for event in events(agent, task, dt.datetime.now(dt.UTC)):
            crewai_event_bus.emit(task, event)
    tap.take_back()
    crewai_event_bus.flush(timeout=30)
    return inside


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--limit-us", type=float, default=LIMIT_US)
    options = parser.parse_args()
    client = rsi.client.configure(url=NOBODY, source="benchmark", enabled=True)
    hooks = Hooks(source=None, session_input=None, fallbacks={}, inner_retries=None, client=client)
    listeners: dict[str, Callable[[Any, Any], None]] = {"empty": lambda *_: None, "rsi": hooks._hear}
    measures = {name: partial(measured, hear, options.tasks) for name, hear in listeners.items()}
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):  # CrewAI prints each task
        found = in_turns(measures, options.repeats)
    rsi.client.configure(enabled=False)
    return report(found, as_json=options.json, limit_us=options.limit_us)


if __name__ == "__main__":
    sys.exit(main())

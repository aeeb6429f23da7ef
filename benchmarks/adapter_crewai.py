"""What our CrewAI adapter costs per event, beside an empty listener, in one run.

    python benchmarks/adapter_crewai.py [--json] [--tasks N] [--limit-us 20]

Needs crewai. The events of a task with one model call and one tool are emitted through CrewAI's own bus, again and
again, with each listener in turn; nobody answers on the daemon's port. Figures are µs of the calling thread's CPU time
per event: `inside` the listener (median and mean), and `emit`, the whole of the bus's `emit` (mean). Flow and agent
events, which our adapter passes over, are among them, as in a kickoff. Exits 1 if our mean `inside` is above the limit.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ |= {"CREWAI_DISABLE_TELEMETRY": "true", "CREWAI_TRACING_ENABLED": "false", "CREWAI_TESTING": "true"}
os.environ |= {"CREWAI_STORAGE_DIR": tempfile.mkdtemp(), "XDG_STATE_HOME": tempfile.mkdtemp()}

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

LIMIT_US = 20.0
NOBODY = "http://127.0.0.1:9"
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


def measured(hear: Callable[[Any, Any], None], tasks: int) -> dict[str, float]:
    """One listener."""
    agent = Agent(role="R", goal="g", backstory="b", llm=Model(model="m"))
    task = Task(description="d", expected_output="x", agent=agent, name="find")
    inside: list[int] = []

    def timed(source: Any, event: Any) -> None:
        began = time.thread_time_ns()
        hear(source, event)
        inside.append(time.thread_time_ns() - began)

    tap = Tap(crewai_event_bus, timed)
    tap.put()
    whole = 0
    for _ in range(tasks):
        for event in events(agent, task, dt.datetime.now(dt.UTC)):
            began = time.thread_time_ns()
            crewai_event_bus.emit(task, event)
            whole += time.thread_time_ns() - began
    tap.take_back()
    crewai_event_bus.flush(timeout=30)
    return {
        "inside_median": round(statistics.median(inside) / 1000, 2),
        "inside_mean": round(statistics.fmean(inside) / 1000, 2),
        "emit_mean": round(whole / len(inside) / 1000, 2),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--tasks", type=int, default=400)
    parser.add_argument("--limit-us", type=float, default=LIMIT_US)
    options = parser.parse_args()
    client = rsi.client.configure(url=NOBODY, source="benchmark", enabled=True)
    hooks = Hooks(source=None, session_input=None, fallbacks={}, inner_retries=None, client=client)
    listeners: dict[str, Callable[[Any, Any], None]] = {"empty": lambda *_: None, "rsi": hooks._hear}
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):  # CrewAI prints each task
        for hear in listeners.values():
            measured(hear, 20)  # caches are warm
        found = {name: measured(hear, options.tasks) for name, hear in listeners.items()}
    rsi.client.configure(enabled=False)
    if options.json:
        print(json.dumps(found))
    else:
        for name, figures in found.items():
            print(f"{name:6}", "  ".join(f"{key} {value:7.2f} µs" for key, value in figures.items()))
    return int(found["rsi"]["inside_mean"] > options.limit_us)


if __name__ == "__main__":
    sys.exit(main())

"""CrewAI's events become outcomes: tasks from Task events only, steps from failures of models and tools only.

One bad task is told by eight failure events. Flow and agent events frame it; a crew's failure is its task's. Calls
that worked are no outcomes here: what they used is summed up in their task. Scopes get mixed up (a failed call is told
twice, which may close the task around it), so calls have keys that no event of another kind can end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from rsi.client import Client, Run, current_run
from rsi.client.facts import ErrorFacts
from rsi.enforce.watched import Watched
from rsi_adapters.crewai.kickoffs import Kickoffs
from rsi_adapters.crewai.naming import MAX_CHAIN, error_of, role_of, task_name
from rsi_adapters.crewai.seen import Seen
from rsi_adapters.crewai.toolfacts import answered_failure, tool_name, unusable

_LONGEST: Final = 128


class Observer:
    """Hears every event in the context that emitted it.

    Args:
        source: which agent; default the client's.
        client: instead of the process's own.
        session_input: the kickoff input that names the conversation.
    """

    def __init__(self, *, source: str | None, client: Client | None, session_input: str | None) -> None:
        self.watched = Watched(source=source, client=client)
        self._kickoffs = Kickoffs(session_input)
        self._tasks: dict[str, Seen] = {}  # by id of the run
        self._hears: dict[str, Callable[[Any, Any], None]] = {
            "crew_kickoff_started": self._kickoffs.began,
            "crew_kickoff_completed": self._kickoffs.ended,
            "crew_kickoff_failed": self._kickoffs.ended,
            "task_started": self._task,
            "task_completed": self._task_ok,
            "task_failed": self._task_failed,
            "lite_agent_execution_started": self._agent,
            "lite_agent_execution_completed": self._task_ok,
            "lite_agent_execution_error": self._task_failed,
            "llm_call_started": self._asked,
            "llm_call_completed": self._answered,
            "llm_call_failed": self._not_answered,
            "tool_usage_started": self._tool,
            "tool_usage_finished": self._tool_ended,
            "tool_usage_error": self._tool_failed,
            "tool_selection_error": self._tool_unusable,
            "tool_validate_input_error": self._tool_unusable,
            "tool_failure_detected": self._tool_unusable,
        }

    def hear(self, source: Any, event: Any) -> None:
        """An event was emitted. Never raises."""
        heard = self._hears.get(getattr(event, "type", None))  # type: ignore[arg-type]
        if heard is None:
            return
        try:
            heard(source, event)
        except Exception as error:  # noqa: BLE001 - the border into the host
            tally = self.watched.client.tally
            tally.count("adapter_errors")
            tally.say_once(f"crewai: an event {event.type} was not understood: {type(error).__name__}: {error}")

    def _task(self, source: Any, event: Any) -> None:
        task = event.task if event.task is not None else source
        self._begin(event, task_name(task), quiet=False, task=task)

    def _agent(self, source: Any, event: Any) -> None:
        """An agent that is kicked off alone has no Task events. Inside a task (a guardrail) only its failure counts."""
        name = role_of(source) or str(event.agent_info.get("role") or "agent")
        self._begin(event, name, quiet=current_run() is not None)

    def _begin(self, event: Any, name: str, *, quiet: bool, task: Any = None) -> None:
        self._end_the_left()
        session = self._kickoffs.session() or event.parent_event_id
        run = self.watched.begin(
            event.event_id, name, session=session[:_LONGEST] if session else None, quiet=quiet, enter=True
        )
        if run is None:
            return
        seen = self._tasks[run.id] = Seen(event.event_id, str(getattr(task, "id", "")) or None)
        if not seen.watch(lambda: self._end(run, asyncio.CancelledError())) and task is not None:
            seen.stands_on_stack()

    def _end_the_left(self) -> None:
        """A task that was left by Ctrl-C tells nothing of its end, and what follows would pass for a part of it."""
        while (run := current_run()) is not None and (seen := self._seen(run)) is not None and seen.left():
            self._end(run, KeyboardInterrupt())

    def forget(self) -> None:
        """Tasks under way are reported no more, and what begins from now on is no part of them."""
        for seen in list(self._tasks.values()):
            seen.unwatch()
            run = self.watched.run_of(seen.key)
            if run is not None:
                run.over = True
        self._tasks.clear()

    def _task_ok(self, _: Any, event: Any) -> None:
        run = self._run_of(event)
        if run is not None:
            self._end(run, None)

    def _task_failed(self, _: Any, event: Any) -> None:
        run = self._run_of(event)
        if run is None:
            return
        error = error_of(event)
        self._end(run, error)
        outer = self._seen(current_run())
        if outer is not None and isinstance(error, BaseException):
            outer.below = error

    def _run_of(self, event: Any) -> Run | None:
        """The run of the task that an event ends. Scopes that were mixed up inside name another event as its begin."""
        run = self.watched.run_of(event.started_event_id)
        if run is not None and run.id in self._tasks:
            return run
        task_id = getattr(event, "task_id", None)
        for seen in reversed(list(self._tasks.values())):
            if task_id is not None and seen.task_id == task_id:
                return self.watched.run_of(seen.key)
        return None

    def _end(self, run: Run, error: BaseException | ErrorFacts | None) -> None:
        seen = self._tasks.pop(run.id, None)
        if seen is not None:
            seen.unwatch()
            self.watched.end(seen.key, error, **seen.fields)

    def _asked(self, _: Any, event: Any) -> None:
        seen = self._seen(current_run())
        if seen is not None:
            seen.asked()
        name = str(event.model or "model call")
        self.watched.begin(("llm", event.event_id), name, kind="llm", alone=True, quiet=True, model=name)

    def _answered(self, _: Any, event: Any) -> None:
        seen = self._seen(current_run())
        if seen is not None:
            seen.answered(event.model, event.usage)
        self.watched.end(("llm", event.started_event_id))

    def _not_answered(self, _: Any, event: Any) -> None:
        seen = self._seen(current_run())
        if seen is not None and seen.last_error is not None and event.error == seen.last_error:
            self.watched.end(("llm", event.started_event_id))  # the tool failed, which is told already
            return
        self.watched.end(("llm", event.started_event_id), error_of(event))

    def _tool(self, _: Any, event: Any) -> None:
        self.watched.begin(("tool", event.event_id), tool_name(event), kind="tool", alone=True, quiet=True)

    def _tool_ended(self, _: Any, event: Any) -> None:
        """It may have answered that it did not do what it was asked."""
        failure = answered_failure(event)
        if failure is not None:
            self._told(tool_name(event))
        self.watched.end(("tool", event.started_event_id), failure)

    def _tool_failed(self, _: Any, event: Any) -> None:
        seen, error = self._seen(current_run()), error_of(event)
        self._told(tool_name(event))
        if seen is not None:
            seen.last_error = str(event.error)
        below = seen is not None and seen.below is not None and _caused(error, seen.below)
        self.watched.end(("tool", event.started_event_id), None if below else error)  # a crew inside told of it

    def _tool_unusable(self, _: Any, event: Any) -> None:
        """A tool that does not exist, arguments it cannot take: nothing ever began. Told many times for one answer."""
        run, name = current_run(), tool_name(event)
        if run is None or not self._told(name):
            return
        self.watched.failed_inside_run(run, name, unusable(event))

    def _told(self, name: str) -> bool:
        """Whether this is the first that is told of this tool since the model last spoke."""
        seen = self._seen(current_run())
        if seen is None:
            return True
        first = name not in seen.failed_tools
        seen.failed_tools.add(name)
        return first

    def _seen(self, run: Run | None) -> Seen | None:
        return self._tasks.get(run.id) if run is not None else None


def _caused(error: Any, below: BaseException) -> bool:
    for _ in range(MAX_CHAIN):
        if error is below:
            return True
        if not isinstance(error, BaseException):
            return False
        error = error.__cause__ or error.__context__
    return False

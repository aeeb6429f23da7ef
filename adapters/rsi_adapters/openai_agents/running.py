"""One `Runner.run`: its task, and what the policy changes in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final

from agents import Agent, RunConfig, RunState
from agents.exceptions import AgentsException
from agents.tracing import gen_trace_id, get_current_trace

from rsi.client import Client, Run, enter_run, leave_run
from rsi.enforce.call import Call
from rsi.enforce.layer import Layer, attempt_of
from rsi_adapters.openai_agents.merging import Turns, merged
from rsi_adapters.openai_agents.observing import Processor

_LONGEST: Final = 128


class Runs:
    """Begins runs.

    Args:
        processor: reports what happens in them.
        fallbacks: declared models.
        inner_retries: of the model client.
    """

    def __init__(self, processor: Processor, *, fallbacks: Mapping[str, Any], inner_retries: int | None) -> None:
        self.processor = processor
        self.fallbacks = dict(fallbacks)
        client: Client | None = processor.watched._client  # noqa: SLF001 - as it was given, not as it is now
        common: dict[str, Any] = {"source": processor.watched._source, "client": client}  # noqa: SLF001
        knobs = ("retry", "lessons", "max_output_tokens")
        self.turns = Layer("model call", knobs=knobs, inner_retries=inner_retries, **common)
        self.owned = Layer("model call", knobs=knobs[1:], inner_retries=inner_retries, **common)
        self.whole = Layer("agent run", knobs=(), fallbacks=self.fallbacks, inner_retries=1, **common)

    def begin(self, agent: Any, given: Any, options: dict[str, Any]) -> Begun | None:
        """The run about to be made, or `None` where nothing is to be hooked."""
        if self.processor.off or not self.processor.watched.client.enabled:
            return None
        return Begun(self, agent, given, options)


class Begun:
    """A run that has begun: a task, or a step of what is around it."""

    def __init__(self, runs: Runs, agent: Any, given: Any, options: dict[str, Any]) -> None:
        self._runs = runs
        self._agent = agent
        self._options = options
        self._key = object()
        config = _config(options.get("run_config"))
        around = get_current_trace()
        trace = around.trace_id if around is not None else (config.trace_id or _trace_of(given) or gen_trace_id())
        self._config = config if around is not None else dataclasses.replace(config, trace_id=trace)
        self._trace = trace
        self.run_: Run | None = runs.processor.watched.begin(
            self._key,
            around.name if around is not None else config.workflow_name,
            session=_session(config, options, trace),
        )

    def run(self, make: Callable[..., Any]) -> Any:
        """Make it."""
        call, token = self._whole(), enter_run(self.run_)
        try:
            while True:
                try:
                    result = make(**self._merged(call))
                except BaseException as error:
                    if not self._again(call, error):
                        self._end(error)
                        raise
                else:
                    self._end(None, result)
                    return result
        finally:
            leave_run(token)

    async def arun(self, make: Callable[..., Any]) -> Any:
        """Make it, in a task."""
        call, token = self._whole(), enter_run(self.run_)
        try:
            while True:
                try:
                    result = await make(**self._merged(call))
                except BaseException as error:
                    if not self._again(call, error):
                        self._end(error)
                        raise
                else:
                    self._end(None, result)
                    return result
        finally:
            leave_run(token)

    def stream(self, make: Callable[..., Any]) -> Any:
        """Begin it; its task is over when the SDK's own is. A stream is never made again."""
        token = enter_run(self.run_)
        try:
            result = make(**self._merged(None))
        except BaseException as error:
            self._end(error)
            raise
        finally:
            leave_run(token)
        task = result.run_loop_task
        if task is None:
            self._end(None, result)
        else:
            task.add_done_callback(lambda done: self._end(_error_of(done, result), result))
        return result

    def _whole(self) -> Call | None:
        usable = self._runs.fallbacks and not self._config.tracing_disabled  # without spans nobody knows of its tools
        return self._runs.whole.begin(self.run_) if usable else None

    def _merged(self, call: Call | None) -> dict[str, Any]:
        runs, config = self._runs, self._config
        fallback = attempt_of(call).fallback if call is not None and not call.plain else None
        if fallback is not None:
            config = dataclasses.replace(config, model=runs.fallbacks[fallback])
        layer = runs.owned if _retries(self._agent, config) else runs.turns
        return {**self._options, "run_config": merged(config, Turns(layer, self.run_, runs.processor))}

    def _again(self, call: Call | None, error: BaseException) -> bool:
        """Whether the whole run may be made again with a declared model: the model failed, and nothing was done yet."""
        if call is None or call.plain or isinstance(error, AgentsException) or self.run_ is None:
            return False
        return self.run_.id not in self._runs.processor.acted and call.failed(error) is not None

    def _end(self, error: BaseException | None, result: Any = None) -> None:
        paused = error is None and bool(getattr(result, "interruptions", None))
        processor = self._runs.processor
        if self.run_ is not None:
            processor.settle(self.run_.id, error)
        processor.watched.end(self._key, error, status="paused" if paused else None)
        processor.ended_in(self._trace, error)
        if self.run_ is not None:
            processor.acted.discard(self.run_.id)


def _config(given: Any) -> RunConfig:
    if given is None:
        return RunConfig()
    return RunConfig(**given) if isinstance(given, dict) else given


def _session(config: RunConfig, options: Mapping[str, Any], trace: str) -> str:
    """The conversation: group, the SDK's session, the server's conversation; else the trace, which outlives a pause."""
    kept = getattr(options.get("session"), "session_id", None)
    return str(config.group_id or kept or options.get("conversation_id") or trace)[:_LONGEST]


def _trace_of(given: Any) -> str | None:
    """A state that goes on is the same unit as the run that was interrupted."""
    if not isinstance(given, RunState):
        return None
    return getattr(getattr(given, "_trace_state", None), "trace_id", None)


def _retries(agent: Any, config: RunConfig) -> bool:
    """Whether the host has a retry policy of its own, in the run or in any agent that it can reach."""
    if getattr(config.model_settings, "retry", None) is not None:
        return True
    seen: set[int] = set()
    todo = [agent]
    while todo:
        this = todo.pop()
        if not isinstance(this, Agent) or id(this) in seen:
            continue
        seen.add(id(this))
        if getattr(this.model_settings, "retry", None) is not None:
            return True
        todo += this.handoffs
    return False


def _error_of(task: Any, result: Any) -> BaseException | None:
    """How a streamed run ended: the SDK keeps what it will raise from the stream."""
    if task.cancelled():
        import asyncio  # noqa: PLC0415

        return asyncio.CancelledError()
    error: BaseException | None = getattr(result, "_stored_exception", None) or task.exception()
    return error

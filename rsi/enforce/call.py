"""One guarded call: its run, its tries, its end. Knows no sync or async; the wrappers wait and call."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Token
from functools import partial
from typing import Any, Final

from rsi import clock
from rsi.client import Run, enter_run, leave_run
from rsi.client.facts import ErrorFacts, facts_of
from rsi.client.tally import log
from rsi.enforce.arguments import Arguments
from rsi.enforce.breaker import BREAKING, CircuitOpenError
from rsi.enforce.ending import ended, tried
from rsi.enforce.gate import Gate
from rsi.enforce.naming import category_of, ended_without_failing
from rsi.enforce.planning import Plan
from rsi.enforce.repeating import NOT_FOR_OTHERS, Retry, inner_tries, may_repeat
from rsi.enforce.state import State
from rsi.model import Status

_MS: Final = 1000.0


class Call:
    """From the first try to the one outcome.

    `target`, `args` and `kwargs` are what the next try calls; `failed` says how long to wait before it, or that there
    is none.
    """

    __slots__ = (
        "_attempt",
        "_began",
        "_fallen",
        "_outer",
        "_plan",
        "_reasked",
        "_run",
        "_state",
        "_tried",
        "_version",
        "args",
        "kwargs",
        "target",
    )

    def __init__(
        self, state: State, outer: Run | None, run: Run, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._state = state
        self._outer = outer
        self._run = run
        self._began = self._tried = began = clock.monotonic()
        self._attempt = 1
        self._reasked = self._fallen = 0
        self._plan: Plan | None = None
        self._version: int | None = None
        self.target: Callable[..., Any] = state.options.function
        self.args = args
        self.kwargs = kwargs
        if state.enforces and not run.owned:  # an outer enforcer owns the tries: then this one observes
            self._plan, self._version = state.plan(run)
            run.root.version = self._version
            if state.recalls:
                run.owned = True
                state.budget.call(began)
            if self._plan is not None:
                self.args, self.kwargs = self._arguments(self._plan, args, kwargs)

    def enter(self) -> Token[Run | None]:
        """Open the run in this context; give the token to `leave`."""
        return enter_run(self._run)

    leave = staticmethod(leave_run)

    @property
    def plain(self) -> bool:
        """Whether there is nothing to enforce."""
        return self._plan is None

    @property
    def owns(self) -> bool:
        """Whether this call, or one around it, decides about tries: what is inside only observes."""
        return self._run.owned

    @property
    def attempt(self) -> int:
        """The number of the try under way, 1 for the first."""
        return self._attempt

    @property
    def repeats(self) -> frozenset[str]:
        """The categories of failure that this call repeats: where a framework repeats them itself, one must not."""
        plan = self._plan
        return plan.retry.on if plan is not None and plan.retry is not None else frozenset()

    @property
    def timeout_s(self) -> float | None:
        """How long a try may take where the wrapper has to see to it."""
        plan = self._plan
        return plan.timeout_s if plan is not None and self._state.options.timeout is None else None

    def admit(self) -> int | None:
        """Ask the breaker; returns how many calls may be under way, `None` for any number.

        Raises:
            CircuitOpenError: the breaker is open.
        """
        plan = self._plan
        if plan is None:
            return None
        self._tried = clock.monotonic()
        if plan.breaker is not None and self._fallen == 0:
            try:
                self._state.breaker.admit(self._run.task, *plan.breaker)
            except CircuitOpenError:
                self._log("breaker open", "breaker")
                raise
        if plan.max_concurrency is None or id(self._state) in self._run.slots:
            return None  # one that is inside already would wait for itself
        return plan.max_concurrency

    @property
    def gate(self) -> Gate:
        """Where calls of this guard wait for room."""
        return self._state.gate

    def inside(self) -> None:
        """A slot of the gate is taken: calls of the same guard further in need none."""
        self._run.slots |= {id(self._state)}

    def waits(self, limit: int) -> None:
        """There is no room: say so."""
        self._log(f"max_concurrency {limit}", "max_concurrency")

    def timed_out(self, seconds: float) -> TimeoutError:
        """The wrapper cut a try; the error to raise."""
        self._log(f"timeout_s {seconds:g}", "timeout_s")
        return TimeoutError(f"{self._run.task} timed out after {seconds:g} s (timeout_s of the rsi policy)")

    def ok(self) -> None:
        """The call worked."""
        if self._plan is not None and self._plan.breaker is not None and self._fallen == 0:
            self._state.breaker.worked()
        self._end("ok")

    def cancelled(self) -> None:
        """The caller went away."""
        self._end("cancelled")

    def failed(self, error: BaseException, *, final: bool = False) -> float | None:
        """A try raised. Seconds to wait before the next one, or `None`: it is over, raise on.

        Args:
            error: what was raised.
            final: nothing may be tried again (a stream has already given something).
        """
        status = ended_without_failing(error)
        facts = None if status == "ok" else facts_of(error)
        if status is not None or facts is None:
            self._say_left()
            self._end(status or "ok", None if status == "paused" else facts)
            return None
        plan = self._plan
        wait = None if plan is None else self._next(plan, facts, error, final=final)
        if wait is None:
            self._end("failed", facts)
            return None
        if self._state.options.reports:
            self._say_tried(facts)
            self._run.root.repeats += 1  # else the observer of the same call counts it
        self._attempt += 1
        return wait

    def _say_tried(self, facts: ErrorFacts) -> None:
        state, now = self._state, clock.monotonic()
        state.client.put(
            tried(
                self._run,
                facts,
                own_id=state.client.new_id(),
                source=state.source,
                attempt=self._attempt,
                ms=(now - self._tried) * _MS,
                version=self._version,
            )
        )

    def _next(self, plan: Plan, facts: ErrorFacts, error: BaseException, *, final: bool) -> float | None:
        category = category_of(facts, self._state.options.provider, self._state.client.tally)
        if plan.breaker is not None and self._fallen == 0 and not isinstance(error, CircuitOpenError):
            if category in BREAKING:
                self._state.breaker.failed()
            else:
                self._say_left()
        if final:
            return None
        for choose in (self._by_asking, self._by_retry, self._by_fallback):
            wait = choose(plan, facts, category, error)
            if wait is not None:
                return wait
        return None

    def _by_asking(self, plan: Plan, _: ErrorFacts, category: str, error: BaseException) -> float | None:
        """Ask again, told what was wrong: the declared callable, in place of the function."""
        reask = self._state.options.reask
        if reask is None or category not in plan.reask_on or self._reasked >= plan.reask_max or self._fallen:
            return None
        if self._attempt >= self._most(plan.reask_max + 1) or not self._affordable(Retry()):
            return None
        self._reasked += 1
        self._log(f"reask {self._reasked}/{plan.reask_max}", "reask")
        self.target = partial(reask, error)
        return 0.0

    def _by_retry(self, plan: Plan, facts: ErrorFacts, category: str, error: BaseException) -> float | None:
        retry = plan.retry
        if retry is None or self._fallen or isinstance(error, CircuitOpenError):
            return None
        most = self._most(retry.max_attempts)
        if self._attempt >= most or not may_repeat(facts, category, retry.on) or not self._affordable(retry):
            return None
        self._log(f"retry {self._attempt + 1}/{most}", "retry")
        self._state.client.tally.count("retries")
        return retry.wait_s(self._attempt, facts.retry_after)

    def _by_fallback(self, plan: Plan, _: ErrorFacts, category: str, __: BaseException) -> float | None:
        if self._fallen >= len(plan.fallbacks) or category in NOT_FOR_OTHERS:
            return None
        name, self.target = plan.fallbacks[self._fallen]
        self._fallen += 1
        self._log(f"fallback {name}", "fallbacks")
        return 0.0

    def _most(self, planned: int) -> int:
        """Tries that are allowed: what is planned, times what the layer below makes of each, within the bounds."""
        return max(1, min(planned, self._state.bounds.max_attempts // inner_tries(self._state.options.inner_retries)))

    def _affordable(self, retry: Retry) -> bool:
        if self._state.budget.take(retry.ratio, retry.reserve):
            return True
        self._state.client.tally.count("retries_refused")
        self._log("retry refused: budget spent", "retry")
        return False

    def _arguments(self, plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        options = self._state.options
        for argument, knob, value in (
            (options.timeout, "timeout_s", plan.timeout_s),
            (options.tokens, "max_output_tokens", plan.max_output_tokens),
            (options.lessons, "lessons", plan.lessons),
        ):
            if argument is not None and value is not None:
                args, kwargs = argument.put(args, kwargs, value)
                self._log(f"{knob} {len(value) if isinstance(value, list) else f'{value:g}'}", knob)
        return args, kwargs

    def _say_left(self) -> None:
        if self._plan is not None and self._plan.breaker is not None and self._fallen == 0:
            self._state.breaker.left()

    def _log(self, what: str, knob: str) -> None:
        label = self._plan.label(knob) if self._plan is not None else "rsi"
        log.info("%s %s (%s)", what, self._run.task, label)

    def _end(self, status: Status, facts: ErrorFacts | None = None) -> None:
        state = self._state
        options = state.options
        if not options.reports:
            return
        item = ended(
            self._run,
            self._outer,
            source=state.source,
            kind=options.kind,
            status=status,
            ms=(clock.monotonic() - self._began) * _MS,
            version=self._version,
            facts=facts,
        )
        if self._attempt > 1 and self._outer is not None:
            item.attempt = self._attempt
        if options.provider is not None:
            item.provider = options.provider
        item.model = options.model
        state.client.put(item)

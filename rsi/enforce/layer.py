"""An enforcer inside a framework: acts on the policy for the unit at hand and reports nothing.

The framework's observer (`rsi.enforce.watched`) already reports the same calls. A layer sits where one call of the
framework can be made again: a model call, a tool call, a whole agent run. It brings its own way of making one attempt
and is told, attempt by attempt, with what.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, TypeVar

import msgspec

from rsi.client import Client, Run, current_run, default_client
from rsi.enforce.call import Call
from rsi.enforce.guarded import Guarded
from rsi.enforce.options import Options
from rsi.enforce.wrapping import apause, aslot, pause, slot
from rsi.model import Kind

T = TypeVar("T")

#: Knobs that a layer hands on with the attempt.
_GIVEN: Final = ("timeout_s", "max_output_tokens", "lessons")


class Attempt(msgspec.Struct, frozen=True):
    """One attempt of a layer's call. What is `None` is left as the host has it.

    Attributes:
        number: 1 for the first.
        fallback: the name of the declared model to use instead of the host's.
        timeout_s: seconds that this attempt may take; set only where the layer's owner said that he can see to it.
        max_output_tokens: the limit for the answer.
        lessons: texts to be given to the model.
        mistake: the error that the model is to be told of (`reask`).
        repeats: the categories of failure that the layer makes again by itself; empty without a `retry`.
    """

    number: int = 1
    fallback: str | None = None
    timeout_s: float | None = None
    max_output_tokens: int | None = None
    lessons: list[Any] | None = None
    mistake: BaseException | None = None
    repeats: frozenset[str] = frozenset()


#: What the host does when there is nothing to enforce.
PLAIN: Final = Attempt()


class Layer:
    """One place in a framework where calls can be repeated or changed.

    Args:
        task: what kind of work, for calls outside any open run; these are reported, as a guard would.
        knobs: what the owner of this layer can act on. `retry` only where a call may be repeated, `timeout_s` only
            where an attempt can really be cut, `fallbacks` is implied by `fallbacks`.
        fallbacks: names of models that a policy may turn to.
        source: which agent; default the client's.
        kind: of the calls.
        provider: who is called; retries have one budget per provider.
        inner_retries: tries that the layer below makes of one call, as in `rsi.guard`.
        client: instead of the process's own.
    """

    def __init__(
        self,
        task: str,
        *,
        knobs: Iterable[str],
        fallbacks: Iterable[str] = (),
        source: str | None = None,
        kind: Kind = "llm",
        provider: str | None = None,
        inner_retries: int | None = None,
        client: Client | None = None,
    ) -> None:
        wanted, names = frozenset(knobs), tuple(fallbacks)
        self._knobs = wanted | {"fallbacks"} if names else wanted - {"fallbacks"}
        self._marks: Mapping[str, _Fallback] = {name: _Fallback(name) for name in names}
        made = partial(
            _Place,
            task,
            self._knobs,
            self._marks,
            source=source,
            kind=kind,
            provider=provider,
            inner_retries=inner_retries,
            client=client,
        )
        self._inside, self._alone = Guarded(made(reports=False)), Guarded(made(reports=True))

    @property
    def knobs(self) -> frozenset[str]:
        """What this layer offers."""
        return self._knobs

    def begin(self, run: Run | None = None) -> Call | None:
        """A call inside `run` (default: the open one), or `None` where nothing is to be hooked. Never raises."""
        outer = run or current_run()
        if outer is None:
            return self._alone.begin((), {})
        client = self._inside.options.client or default_client()
        # Under the outer run's own id: what happens inside names a run that is reported.
        return self._inside.begin_in(Run(outer.id, outer.task, outer=outer, client_id=client.id), outer, (), {})

    def call(self, make: Callable[[Attempt], T], run: Run | None = None) -> T:
        """Make the call, as often as the policy allows.

        Args:
            make: one attempt; raises what failed.
            run: the run it belongs to, where that is not the open one.
        """
        call = self.begin(run)
        if call is None:
            return make(PLAIN)
        token = call.enter()
        try:
            while True:
                try:
                    if call.plain:
                        result = make(PLAIN)
                    else:
                        with slot(call, call.admit()):
                            result = make(attempt_of(call))
                except BaseException as error:
                    wait = call.failed(error)
                    if wait is None:
                        raise
                else:
                    call.ok()
                    return result
                pause(call, wait)
        finally:
            call.leave(token)

    async def acall(self, make: Callable[[Attempt], Awaitable[T]], run: Run | None = None) -> T:
        """The same for a coroutine function; `timeout_s` is enforced here."""
        call = self.begin(run)
        if call is None:
            return await make(PLAIN)
        token = call.enter()
        try:
            while True:
                try:
                    result = await (make(PLAIN) if call.plain else _attempted(call, make))
                except BaseException as error:
                    wait = call.failed(error)
                    if wait is None:
                        raise
                else:
                    call.ok()
                    return result
                await apause(call, wait)
        finally:
            call.leave(token)


def attempt_of(call: Call) -> Attempt:
    """What the next attempt of a layer's call is to be made with."""
    given, target = call.kwargs, call.target
    return Attempt(
        number=call.attempt,
        fallback=target.name if isinstance(target, _Fallback) else None,
        mistake=target.args[0] if isinstance(target, partial) else None,
        repeats=call.repeats,
        **{knob: given[knob] for knob in _GIVEN if knob in given},
    )


async def _attempted(call: Call, make: Callable[[Attempt], Awaitable[T]]) -> T:
    attempt = attempt_of(call)
    async with aslot(call, call.admit()):
        if attempt.timeout_s is None:
            return await make(attempt)
        try:
            async with asyncio.timeout(attempt.timeout_s) as limit:
                return await make(attempt)
        except TimeoutError as error:
            if limit.expired():
                raise call.timed_out(attempt.timeout_s) from error
            raise


class _Fallback:
    """Stands for a declared model in a plan; never called."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self) -> None:
        raise AssertionError(f"{self.name} stands for a model and is not called")


def _take(*, timeout_s: float | None = None, max_output_tokens: int | None = None, lessons: Any = None) -> None:
    """The parameters that a layer can hand on."""


def _ask(error: BaseException) -> None:
    """Stands for asking again."""


class _Place(Options):
    """A layer's options: what it offers is what its owner said."""

    def __init__(
        self,
        task: str,
        knobs: frozenset[str],
        fallbacks: Mapping[str, _Fallback],
        *,
        source: str | None,
        kind: Kind,
        provider: str | None,
        inner_retries: int | None,
        client: Client | None,
        reports: bool,
    ) -> None:
        given: dict[str, str | None] = {knob: knob if knob in knobs else None for knob in _GIVEN}
        super().__init__(
            _take,
            task,
            idempotent="retry" in knobs,
            source=source,
            kind=kind,
            session=None,
            user=None,
            timeout_arg=given["timeout_s"],
            tokens_arg=given["max_output_tokens"],
            lessons_arg=given["lessons"],
            fallbacks=fallbacks,
            reask=_ask if "reask" in knobs else None,
            inner_retries=inner_retries,
            provider=provider,
            model=None,
            client=client,
            reports=reports,
        )
        self._knobs = knobs

    def enforces(self, *, idempotent: bool) -> frozenset[str]:
        """What the owner can act on; a task that `rsi.yaml` calls idempotent changes nothing here."""
        del idempotent
        return self._knobs

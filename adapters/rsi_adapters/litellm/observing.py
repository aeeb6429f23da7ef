"""LiteLLM's calls become outcomes, each once.

A call begins where it is made, in its caller's context, and fails there. That it worked LiteLLM tells later, in a
thread of its own, when what is around the call may be over already: where we stand around the call ourselves (`Scope`)
it has ended with its answer.
"""

from __future__ import annotations

from collections import OrderedDict
from contextvars import ContextVar
from typing import Any, Final

from rsi.client import Client, current_run
from rsi.client.facts import ErrorFacts
from rsi.client.recorded import StepFields
from rsi.enforce.watched import Watched
from rsi_adapters.litellm.naming import session_of, told_by_another, used, user_of

#: Calls that ended and of which LiteLLM may still tell something.
MAX_ENDED: Final = 4_096


class Scope:
    """The calls that LiteLLM makes of one of the host's."""

    __slots__ = ("failed", "keys")

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.failed = False


class Observer:
    """No method raises into the host.

    Args:
        source: which agent; default the client's.
        client: instead of the process's own.
    """

    def __init__(self, *, source: str | None, client: Client | None) -> None:
        self.watched = Watched(source=source, client=client)
        self.scope: ContextVar[Scope | None] = ContextVar("rsi_litellm_scope", default=None)
        self._ended: OrderedDict[str, None] = OrderedDict()
        self.off = False

    def began(self, kwargs: Any) -> None:
        """A call is about to be made."""
        try:
            if not self.off:
                self._began(kwargs)
        except Exception as error:  # noqa: BLE001 - the border into the host
            self._wrong(error)

    def worked(self, kwargs: Any, response: Any) -> None:
        """A call has its answer, or a stream has ended."""
        try:
            key = _key(kwargs)
            self.watched.end(key, **used(response))
            self._remember(key)
        except Exception as error:  # noqa: BLE001
            self._wrong(error)

    def failed(self, kwargs: Any) -> None:
        """A call failed, perhaps before it was made."""
        try:
            if not self.off:
                self._failed(kwargs)
        except Exception as error:  # noqa: BLE001
            self._wrong(error)

    def _began(self, kwargs: Any) -> str | None:
        if current_run() is not None and told_by_another():
            return None
        key, name = _key(kwargs), str(kwargs.get("model") or "model call")
        params = kwargs.get("litellm_params") or {}
        provider = kwargs.get("custom_llm_provider") or params.get("custom_llm_provider")
        known: StepFields = {"model": name}
        if isinstance(provider, str):
            known["provider"] = provider
        session, user = session_of(params), user_of(kwargs)
        if self.watched.begin(key, name, kind="llm", session=session, user=user, alone=True, **known) is None:
            return None
        self._ended.pop(key, None)  # a gateway gives all tries of a request one id
        scope = self.scope.get()
        if scope is not None:
            scope.keys.append(key)
        return key

    def _failed(self, kwargs: Any) -> None:
        key, error = _key(kwargs), kwargs.get("exception")
        if self.watched.run_of(key) is None and (key in self._ended or self._began(kwargs) is None):
            return
        scope = self.scope.get()
        if scope is not None:
            scope.failed = True
        self.watched.end(key, error if isinstance(error, BaseException) else ErrorFacts(str(error or "failed")))
        self._remember(key)

    def close(self, scope: Scope, response: Any, error: BaseException | None) -> None:
        """What began in this scope is over: LiteLLM tells nothing of a call that was cut."""
        for key in scope.keys:
            if self.watched.run_of(key) is not None:
                scope.failed = scope.failed or error is not None
                self.watched.end(key, error, **used(response))
                self._remember(key)

    def _remember(self, key: str) -> None:
        self._ended[key] = None
        if len(self._ended) > MAX_ENDED:
            self._ended.popitem(last=False)

    def _wrong(self, error: Exception) -> None:
        tally = self.watched.client.tally
        tally.count("adapter_errors")
        tally.say_once(f"litellm: a call was not understood: {type(error).__name__}: {error}")


def _key(kwargs: Any) -> str:
    return str(kwargs.get("litellm_call_id") or id(kwargs))

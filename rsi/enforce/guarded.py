"""A guarded function: begins calls, in whatever client is the right one now."""

from __future__ import annotations

from typing import Any

from rsi.client import Client, Run, current_run, default_client
from rsi.client.tally import Tally
from rsi.enforce.call import Call
from rsi.enforce.options import Options
from rsi.enforce.state import State


class Guarded:
    """What a wrapper needs: `begin` a call."""

    __slots__ = ("_known", "_state", "options")

    def __init__(self, options: Options) -> None:
        self.options = options
        self._state: State | None = None
        self._known: dict[tuple[int, str], State] = {}

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        """A call with these arguments, or `None` where nothing is to be hooked. Never raises."""
        client = self.options.client or default_client()
        if not client.enabled:
            return None
        outer = current_run()
        return self._call(client, outer, self._run(client, outer, args, kwargs), args, kwargs)

    def begin_in(self, run: Run, outer: Run | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        """The same in a run that somebody else has made."""
        client = self.options.client or default_client()
        return self._call(client, outer, run, args, kwargs) if client.enabled else None

    def _call(
        self, client: Client, outer: Run | None, run: Run, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Call | None:
        state = self._state
        if state is None or state.client is not client or state.client_id != client.id:
            state = self._state = self._attach(client)
        try:
            return Call(state, outer, run, args, kwargs)
        except Exception as error:  # noqa: BLE001 - the border into the host: a broken policy must not break its call
            client.tally.count("guard_errors")
            client.tally.say_once(f"{self.options.task}: called without rsi: {type(error).__name__}: {error}")
            return None

    def _attach(self, client: Client) -> State:
        """The one state for this client in this process, also when many threads make their first call at once."""
        return self._known.setdefault((id(client), client.id), State(client, self.options))

    @property
    def state(self) -> State | None:
        """The state of the last call's client."""
        return self._state

    def _run(self, client: Client, outer: Run | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Run:
        options = self.options
        if outer is not None:
            return Run(client.new_id(), options.task, outer=outer, client_id=client.id)
        if options.session is None and options.user is None:
            return Run(client.new_id(), options.task, client_id=client.id)
        session = user = None
        if options.session is not None:
            session = _text(options.session, args, kwargs, client.tally)
        if options.user is not None:
            user = _text(options.user.get, args, kwargs, client.tally)
        return Run(client.new_id(), options.task, session=session, user=user, client_id=client.id)


#: The contract's limit for an id; a session is one.
_LONGEST = 128


def _text(read: Any, args: tuple[Any, ...], kwargs: dict[str, Any], tally: Tally) -> str | None:
    try:
        found = read(args, kwargs)
    except Exception as error:  # noqa: BLE001 - the host's own callable; its mistake must not break its call
        tally.count("session_errors")
        tally.say_once(f"the session of a call could not be read: {type(error).__name__}: {error}")
        return None
    return None if found is None or found == "" else str(found)[:_LONGEST]

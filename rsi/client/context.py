"""The open run: what a call knows about the calls around it."""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import Final

from rsi.model import FixRef

_NO_SLOTS: Final[frozenset[int]] = frozenset()


class Run:
    """One open call or step, or what another process told us about its own.

    Args:
        id: of this call; what happens inside names it as `parent`.
        task: its task.
        session, user: inherited by everything inside.
        outer: the run around it.
        unit: of a canary; default session, else id.
        client_id: whose it is; empty for a run of another process.

    `owned` says whether somebody outside already repeats calls: then inner enforcers only observe. `over` is set by
    whoever cannot promise to leave in the context in which he entered (a framework's callbacks): nothing new begins
    inside a run that is over. `version` is the policy's under which something inside last acted. `repeats`
    counts, in the outermost run, calls inside it that were made again, by whomever; with the first it is the `attempt`.
    `process`, there too, is the id of the client whose own arms are among `entered`.
    """

    __slots__ = (
        "_entered",
        "_held",
        "_root",
        "client_id",
        "id",
        "over",
        "owned",
        "process",
        "repeats",
        "session",
        "slots",
        "task",
        "unit",
        "user",
        "version",
    )

    def __init__(
        self,
        id: str,  # noqa: A002 - the contract's own word
        task: str,
        *,
        session: str | None = None,
        user: str | None = None,
        unit: str | None = None,
        outer: Run | None = None,
        client_id: str = "",
    ) -> None:
        self.id = id
        self.task = task
        self.client_id = client_id
        self._root: Run | None = (
            None if outer is None else outer.root
        )  # not itself: a cycle would wait for the collector
        self.session: str | None = session if outer is None else outer.session
        self.user: str | None = user if outer is None else outer.user
        self.unit: str = (unit or session or id) if outer is None else outer.unit
        self.owned: bool = False if outer is None else outer.owned
        self.slots: frozenset[int] = _NO_SLOTS if outer is None else outer.slots
        self.over = False
        self.version: int | None = None
        self.process: str | None = None
        self.repeats = 0
        self._entered: dict[str, FixRef] | None = None
        self._held: dict[tuple[str, str], FixRef] | None = None

    @property
    def root(self) -> Run:
        """The outermost run."""
        return self._root or self

    @property
    def tasks(self) -> tuple[str, ...]:
        """The outermost task and this one, which is where a policy may speak to it."""
        root = self.root.task
        return (self.task,) if root == self.task else (root, self.task)

    @property
    def entered(self) -> dict[str, FixRef]:
        """Experiments that the outermost run and all inside it have entered, by fix; all of them report these."""
        if self._root is not None:
            return self._root.entered
        if self._entered is None:
            self._entered = {}
        return self._entered

    @property
    def held(self) -> dict[tuple[str, str], FixRef]:
        """The arms this unit is in, by (fix, state). A session outlives its runs and keeps them."""
        if self._root is not None:
            return self._root.held
        if self._held is None:
            self._held = {}
        return self._held

    @held.setter
    def held(self, known: dict[tuple[str, str], FixRef]) -> None:
        if self._root is not None:
            self._root.held = known
        self._held = known

    @property
    def in_trial(self) -> bool:
        """Whether any experiment was entered."""
        return bool(self._entered) if self._root is None else self._root.in_trial

    @property
    def remote(self) -> bool:
        """Whether this run is open in another process."""
        return not self.client_id


_CURRENT: Final[ContextVar[Run | None]] = ContextVar("rsi_run", default=None)


def current_run() -> Run | None:
    """The innermost run that is open in this context."""
    run = _CURRENT.get()
    if run is None or not (run.over or run.root.over):
        return run
    return None if run.root.over else run.root


#: Make a run (or `None`) the open one in this context; give the token to `leave_run`.
enter_run: Final = _CURRENT.set


def leave_run(token: Token[Run | None]) -> None:
    """Go back to the run that was open before. In another context than `enter_run`'s it does nothing."""
    try:
        _CURRENT.reset(token)
    except ValueError:  # a generator that is closed by the collector runs in whatever context that happens to be
        return

"""An observer's half of an adapter: a framework's runs, by the framework's own ids, become outcomes exactly once.

An adapter says what began and what ended, in whatever order and thread the framework says it. Here it becomes runs with
parents, one outcome each: the outermost is the task, what is inside it a step, tool or llm. An error that passes
through several runs on its way up is reported where it began and by the task that it ended, and nowhere between.
"""

from __future__ import annotations

import threading
from contextvars import Token
from typing import Any, Final, Unpack

from rsi import clock
from rsi.client import Client, Item, Run, current_run, default_client, enter_run, leave_run, process
from rsi.client.facts import ErrorFacts, facts_of
from rsi.client.recorded import StepFields
from rsi.enforce.ending import ended, with_fields
from rsi.enforce.naming import ended_without_failing
from rsi.model import Kind, Status
from rsi.policy import mask_task

#: Runs that may be open at once. A framework that forgets to end its runs must not fill the host's memory.
MAX_OPEN: Final = 10_000
#: Errors of one chain that are looked at.
MAX_CHAIN: Final = 100
#: Outcomes that wait for the end of the run around them.
MAX_HELD: Final = 200
#: Errors of children that are remembered beside the last: branches that run side by side fail side by side.
MAX_SIBLINGS: Final = 15
_MS: Final = 1000.0


class _Open:
    """A run that has not ended."""

    __slots__ = (
        "alone",
        "began",
        "errors",
        "failures",
        "fields",
        "held",
        "kind",
        "lane",
        "outer",
        "parent",
        "paused",
        "quiet",
        "run",
        "stumbled",
        "token",
        "verdict",
    )

    def __init__(
        self,
        run: Run,
        outer: Run | None,
        parent: _Open | None,
        *,
        kind: Kind,
        alone: bool,
        quiet: bool,
        lane: str | None = None,
    ) -> None:
        self.run, self.outer, self.parent = run, outer, parent
        self.lane = lane or run.task
        """Whose try it is, if one like it in the same run failed before it began."""
        self.kind: Kind = kind
        self.alone, self.quiet = alone, quiet
        self.began = clock.monotonic()
        self.errors: tuple[BaseException, ...] = ()
        """What ended the last children that failed: if it ends this one, too, it did not begin here."""
        self.failures: dict[str, tuple[int, float]] = {}
        """By lane of a child: how many failed one after the other, and when the last of them ended."""
        self.stumbled: tuple[float, frozenset[str]] | None = None
        """When the last model call inside failed, and which models did; `None` once one answered."""
        self.fields: dict[str, Any] = {}
        self.held: list[Item] = []
        """Outcomes inside that name this as their parent, which has none itself if their error ends it, too."""
        self.paused = False
        self.verdict: ErrorFacts | None = None
        self.token: Token[Run | None] | None = None


class Watched:
    """The open runs of one framework in this process. No method raises into the host, blocks, or does I/O.

    Args:
        source: which agent; default the client's.
        client: instead of the process's own.
        max_open: runs that may be open at once; beyond it the oldest is forgotten and counted (`runs_forgotten`).
    """

    def __init__(self, *, source: str | None = None, client: Client | None = None, max_open: int = MAX_OPEN) -> None:
        self._source = source
        self._client = client
        self._max_open = max_open
        self._open: dict[Any, _Open] = {}
        self._by_run: dict[str, _Open] = {}
        self._lock = threading.Lock()
        process.renew_locks(self)

    def renew_lock(self) -> None:
        """In a forked child: its own lock. Runs that are open are the parent's, which will tell of them."""
        self._lock = threading.Lock()
        self._open.clear()
        self._by_run.clear()

    def __len__(self) -> int:
        """Runs that are open."""
        return len(self._open)

    @property
    def client(self) -> Client:
        """Who sends."""
        return self._client or default_client()

    @property
    def source(self) -> str:
        """Under which name."""
        return self._source or self.client.source

    def run_of(self, key: Any) -> Run | None:
        """The open run with the framework's id `key`."""
        opened = self._open.get(key)
        return opened.run if opened is not None else None

    def begin(
        self,
        key: Any,
        task: str,
        *,
        parent: Any = None,
        kind: Kind = "step",
        session: str | None = None,
        user: str | None = None,
        alone: bool = False,
        quiet: bool = False,
        enter: bool = False,
        lane: str | None = None,
        **fields: Unpack[StepFields],
    ) -> Run | None:
        """A run began; `None` where nothing is to be hooked.

        Args:
            key: the framework's id; hashable. One that is open already is left as it is.
            task: what kind of work.
            parent: the framework's id of the run around it. Without an open one the run around is the one that is open
                in this context (a guard, another framework), and without that it is a task.
            kind: what it is inside another run.
            session: the conversation, the unit of a canary.
            user: for whom.
            alone: it is no task even if nothing is around it (a model call in a bare thread).
            quiet: reported only if an error began here.
            enter: make it the open run of this context until it ends, so that guards called inside know of it.
            lane: where the framework says which runs are tries of the same thing, a name for it; default the task.
            **fields: other fields of its outcome.
        """
        client = self.client
        if not client.enabled:
            return None
        known = self._open.get(key)
        if known is not None:
            return known.run
        around = self._open.get(parent) if parent is not None else None
        outer = around.run if around is not None else current_run()
        if around is None and outer is not None:
            around = self._by_run.get(outer.id)  # ours, though the framework did not say so
        run = Run(client.new_id(), mask_task(task), session=session, user=user, outer=outer, client_id=client.id)
        opened = _Open(run, outer, around, kind=kind, alone=alone, quiet=quiet, lane=lane)
        opened.fields.update(fields)
        if enter:
            opened.token = enter_run(run)
        with self._lock:
            self._open[key] = self._by_run[run.id] = opened
            forgotten = self._open.pop(next(iter(self._open))) if len(self._open) > self._max_open else None
        if forgotten is not None:
            self._by_run.pop(forgotten.run.id, None)
            with self._lock:
                forgotten.run.over = True
            self._release(forgotten)
            client.tally.count("runs_forgotten")
        return run

    def note(self, key: Any, **fields: Unpack[StepFields]) -> None:
        """Add what became known of an open run."""
        opened = self._open.get(key)
        if opened is not None:
            opened.fields.update(fields)

    def condemn(self, key: Any, error: BaseException | ErrorFacts) -> None:
        """The open run has failed, whatever the framework will say when it ends."""
        opened = self._open.get(key)
        if opened is not None:
            opened.verdict = error if isinstance(error, ErrorFacts) else facts_of(error)

    def failed_inside(
        self,
        key: Any,
        task: str,
        error: BaseException | ErrorFacts,
        *,
        kind: Kind = "tool",
        **fields: Unpack[StepFields],
    ) -> None:
        """Something failed inside the open run `key` that the framework never began: a tool that does not exist."""
        around = self._open.get(key)
        if around is not None:
            self._fail(around.run, around, task, error, kind=kind, fields=fields)

    def failed_inside_run(
        self,
        run: Run,
        task: str,
        error: BaseException | ErrorFacts,
        *,
        kind: Kind = "tool",
        **fields: Unpack[StepFields],
    ) -> None:
        """The same inside a run that is known as such."""
        self._fail(run, self._by_run.get(run.id), task, error, kind=kind, fields=fields)

    def _fail(
        self,
        outer: Run,
        around: _Open | None,
        task: str,
        error: BaseException | ErrorFacts,
        *,
        kind: Kind,
        fields: StepFields,
    ) -> None:
        client = self.client
        if not client.enabled:
            return
        run = Run(client.new_id(), mask_task(task), outer=outer, client_id=client.id)
        opened = _Open(run, outer, around, kind=kind, alone=False, quiet=False)
        opened.fields.update(fields)
        self._report(opened, "failed", error if isinstance(error, ErrorFacts) else facts_of(error))

    def end(
        self,
        key: Any,
        error: BaseException | ErrorFacts | None = None,
        *,
        status: Status | None = None,
        ms: float | None = None,
        **fields: Unpack[StepFields],
    ) -> None:
        """A run ended. An id that is not open changes nothing, so that nothing is reported twice.

        Args:
            key: as in `begin`.
            error: what it ended with. Control flow and cancelling are recognised and are no failure.
            status: instead of what `error` says.
            ms: how long it took, if it is told later than it ended.
            **fields: other fields of its outcome.
        """
        with self._lock:
            opened = self._open.pop(key, None)
            if opened is None:
                return
            opened.run.over = True
        self._by_run.pop(opened.run.id, None)
        if opened.token is not None:
            leave_run(opened.token)
        opened.fields.update(fields)
        if ms is not None:
            opened.fields["duration_ms"] = ms
        self._close(opened, error, status)

    def _close(self, opened: _Open, error: BaseException | ErrorFacts | None, status: Status | None) -> None:
        raised = error if isinstance(error, BaseException) else None
        if status is None:
            status = (
                "ok" if error is None else (ended_without_failing(raised) if raised is not None else None) or "failed"
            )
        if status == "paused" and opened.parent is not None:
            _pause(opened.parent)
        if opened.verdict is not None and status == "ok":
            status, error = "failed", opened.verdict
        elif status == "ok" and opened.paused:
            status = "paused"
        if status != "failed":
            if not opened.quiet or opened.outer is None:
                self._report(opened, status, None)
            else:
                _count(opened, status)
                self._release(opened, untold=True)
            return
        began_here = not _came_from_inside(raised, opened.errors)
        if opened.parent is not None and raised is not None:
            opened.parent.errors = (*opened.parent.errors[-MAX_SIBLINGS:], raised)
        if began_here or opened.outer is None or opened.parent is None:
            facts = facts_of(error) if isinstance(error, BaseException) else error
            self._report(opened, status, facts, rises=raised is not None)
        else:
            _count(opened, status)
            self._release(opened, untold=True, rises=True)

    def _report(self, opened: _Open, status: Status, facts: ErrorFacts | None, *, rises: bool = False) -> None:
        self._release(opened)
        run = opened.run
        item = ended(
            run,
            opened.outer,
            source=self.source,
            kind=opened.kind,
            status=status,
            ms=(clock.monotonic() - opened.began) * _MS,
            version=run.root.version,
            facts=facts,
        )
        if opened.outer is None and opened.alone:
            item.kind = opened.kind
        attempt = _attempt(opened)
        _count(opened, status)
        if attempt > 1:
            item.attempt = attempt
        self._hand(opened.parent, with_fields(item, opened.fields), rises=rises)

    def _hand(self, around: _Open | None, item: Item, *, rises: bool) -> None:
        """Report it; later, where it is not known yet whether what is around it will have an outcome.

        Args:
            around: the run around it.
            item: names that, or what is inside it, as its parent.
            rises: its error may go on to end `around`.
        """
        while around is not None and around.parent is not None and (around.quiet or around.run.over):
            if item.parent == around.run.id:
                item.parent = around.parent.run.id
            around = around.parent
        if around is not None and around.parent is not None and (rises or around.held):
            with self._lock:
                if not around.run.over and len(around.held) < MAX_HELD:
                    around.held.append(item)
                    return
        self.client.put(item)

    def _release(self, opened: _Open, *, untold: bool = False, rises: bool = False) -> None:
        """Hand on what waited for the end of a run; `untold`: it has no outcome, and is nobody's parent."""
        held, opened.held = opened.held, []
        for item in held:
            if untold and opened.parent is not None and item.parent == opened.run.id:
                item.parent = opened.parent.run.id
            self._hand(opened.parent, item, rises=rises)


def _pause(opened: _Open | None) -> None:
    """Whoever waits for a person inside makes everything around wait, though it may end without saying so."""
    while opened is not None:
        opened.paused = True
        opened = opened.parent


def _came_from_inside(error: BaseException | None, inner: tuple[BaseException, ...]) -> bool:
    """Whether a run ended with what had ended one of its children: the same object, wrapped, or in a group."""
    if error is None or not inner:
        return False
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo and len(seen) < MAX_CHAIN:
        this = todo.pop()
        if any(_same(this, one) for one in inner):
            return True
        if this is None or id(this) in seen:
            continue
        seen.add(id(this))
        todo += [this.__cause__, None if this.__suppress_context__ else this.__context__]
        todo += this.exceptions if isinstance(this, BaseExceptionGroup) else ()
    return False


def _same(error: BaseException | None, inner: BaseException) -> bool:
    """The same object; asyncio makes a new TimeoutError, with nothing that points to the old, of one from a thread."""
    return error is inner or (type(error) is type(inner) is TimeoutError and error.args == inner.args)


def _attempt(opened: _Open) -> int:
    """Which try this was: one more than the failed ones of the same task that had ended when it began.

    A run inside one of the same task is the same try, seen from closer by.
    """
    while opened.parent is not None and opened.parent.run.task == opened.run.task and opened.parent.parent is not None:
        opened = opened.parent
    return _failed_before(opened) + 1


def _failed_before(opened: _Open) -> int:
    if opened.parent is None:
        return 0
    failed, when = opened.parent.failures.get(opened.lane, (0, 0.0))
    return failed if failed and opened.began >= when else 0


def _count(opened: _Open, status: Status) -> None:
    """Let the run around know how this try ended, whether it is reported or not."""
    if opened.parent is None:
        return
    before, stands_in = _failed_before(opened), _stands_in(opened, status)
    if before or stands_in:
        opened.run.root.repeats += 1
    if status == "failed":
        opened.parent.failures[opened.lane] = (before + 1, clock.monotonic())
    elif before:
        opened.parent.failures.pop(opened.lane, None)


def _stands_in(opened: _Open, status: Status) -> bool:
    """Whether a model call was made because one before it, of whatever model, had failed."""
    around = opened.parent
    if around is None or opened.kind != "llm":
        return False
    when, models = around.stumbled or (0.0, frozenset())
    after_failure = around.stumbled is not None and opened.began >= when
    if status == "failed":
        around.stumbled = clock.monotonic(), models | {opened.run.task}
    elif after_failure:
        around.stumbled = None
        for model in models:
            around.failures.pop(model, None)
    return after_failure

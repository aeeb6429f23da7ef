"""`rsi.step`: a stretch of code as one outcome."""

from __future__ import annotations

from contextvars import Token
from types import TracebackType
from typing import Any, Literal, Self, Unpack

from rsi import clock
from rsi.client import Client, Run, current_run, default_client, enter_run, leave_run
from rsi.client.facts import ErrorFacts, facts_of, text_of
from rsi.client.recorded import StepFields
from rsi.enforce.ending import ended, with_fields
from rsi.enforce.naming import ended_without_failing
from rsi.model import Kind, Status
from rsi.policy import mask_task

_MS = 1000.0


class Step:
    """An open run, as a context manager, sync or async. Outermost it is a task; inside another a `step` of it.

    Exceptions pass through and make it failed; `fail` does so without one.
    """

    def __init__(
        self,
        task: str,
        *,
        session: str | None,
        source: str | None,
        kind: Kind,
        user: str | None,
        client: Client | None,
        fields: StepFields,
    ) -> None:
        self._task = mask_task(task)
        self._session = session
        self._source = source
        self._kind: Kind = kind
        self._user = user
        self._client = client
        self._fields: dict[str, Any] = dict(fields)
        self._run: Run | None = None
        self._outer: Run | None = None
        self._token: Token[Run | None] | None = None
        self._facts: ErrorFacts | None = None
        self._status: Status = "ok"
        self._began = 0.0

    @property
    def id(self) -> str | None:
        """The outcome's id, once it is open; `None` where rsi is switched off."""
        return self._run.id if self._run is not None else None

    def fail(self, error: str | BaseException, *, error_type: str | None = None, status: int | None = None) -> None:
        """It did not work, though nothing was raised.

        Args:
            error: what was wrong, or an exception that was caught.
            error_type: a class name for a text.
            status: the HTTP status, if there was one.
        """
        self._status = "failed"
        if isinstance(error, BaseException):
            self._facts = facts_of(error)
        else:
            self._facts = ErrorFacts(text_of(error), type=error_type, status=status)

    def note(self, **fields: Unpack[StepFields]) -> None:
        """Add what became known meanwhile: `tokens_in`, `cost_usd`, `quality`, `metadata` and the like."""
        self._fields.update(fields)

    def __enter__(self) -> Self:
        client = self._client = self._client or default_client()
        if client.enabled:
            self._outer = current_run()
            self._run = Run(
                client.new_id(),
                self._task,
                session=self._session,
                user=self._user,
                outer=self._outer,
                client_id=client.id,
            )
            self._token = enter_run(self._run)
        self._began = clock.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        run, client = self._run, self._client
        if run is None or client is None:
            return False
        if self._token is not None:
            leave_run(self._token)
        if error is not None:
            self._raised(error)
        item = ended(
            run,
            self._outer,
            source=self._source or client.source,
            kind=self._kind,
            status=self._status,
            ms=(clock.monotonic() - self._began) * _MS,
            version=self._version(client, run),
            facts=self._facts,
        )
        client.put(with_fields(item, self._fields))
        self._run = None
        return False

    def _raised(self, error: BaseException) -> None:
        said = ended_without_failing(error)
        if said is None:
            self.fail(error)
        elif self._status == "ok":
            self._status = said

    def _version(self, client: Client, run: Run) -> int | None:
        """A step works under a policy if something inside it does."""
        policy = client.policies.current(self._source or client.source) if run.in_trial else None
        return policy.version if policy is not None else None

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        return self.__exit__(kind, error, trace)


def step(
    task: str,
    *,
    session: str | None = None,
    source: str | None = None,
    kind: Kind = "step",
    user: str | None = None,
    client: Client | None = None,
    **fields: Unpack[StepFields],
) -> Step:
    """Report a stretch of code: `with rsi.step("plan", session=sid) as s: …`, or `async with`.

    Args:
        task: what kind of work.
        session: the conversation or job it belongs to, the unit of a canary; inside an open run it is inherited.
        source: which agent; default `RSI_SOURCE`, else the project folder's name.
        kind: what it is inside an open run.
        user: for whom.
        client: instead of the process's own.
        **fields: other fields of the outcome (contract §2).
    """
    return Step(task, session=session, source=source, kind=kind, user=user, client=client, fields=fields)

"""The same sandbox for asyncio: every call runs in a thread; a cancelled `exec` kills its command before it ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self, TypeVar, overload

from rsi.sandbox import files
from rsi.sandbox.backend import Backend
from rsi.sandbox.choose import AUTO
from rsi.sandbox.model import FOR_FIXES, Change, Checkpoint, ExecResult, Isolation, Limits
from rsi.sandbox.patch import MAX_BYTES as MAX_PATCH_BYTES
from rsi.sandbox.sandbox import Sandbox

T = TypeVar("T")
#: A command that is just being started cannot be interrupted yet: ask again after this long.
_AGAIN_S: Final = 0.02


class AsyncSandbox:
    """`Sandbox` with coroutines; the same arguments, results and errors. One command at a time."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self._turn = asyncio.Lock()  # so that a cancelled task interrupts its own command, and no other

    @classmethod
    async def create(
        cls,
        workspace: str | Path,
        *,
        backend: str | Backend = AUTO,
        require: Isolation = FOR_FIXES,
        readable: Sequence[str | Path] = (),
        env: Mapping[str, str] | None = None,
        programs: Sequence[str] = (),
    ) -> Self:
        """See `Sandbox.create`."""

        def made() -> Sandbox:
            return Sandbox.create(
                workspace, backend=backend, require=require, readable=readable, env=env, programs=programs
            )

        return cls(await _opened(made))

    @classmethod
    async def reopen(
        cls,
        store: str | Path,
        workspace: str | Path,
        *,
        backend: str | Backend = "overlay",
        require: Isolation = FOR_FIXES,
        readable: Sequence[str | Path] = (),
        env: Mapping[str, str] | None = None,
    ) -> Self:
        """See `Sandbox.reopen`."""

        def made() -> Sandbox:
            return Sandbox.reopen(store, workspace, backend=backend, require=require, readable=readable, env=env)

        return cls(await _opened(made))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.destroy()

    @property
    def workspace(self) -> Path:
        """See `Sandbox.workspace`."""
        return self.sandbox.workspace

    @property
    def store(self) -> Path:
        """See `Sandbox.store`."""
        return self.sandbox.store

    @property
    def backend(self) -> str:
        """See `Sandbox.backend`."""
        return self.sandbox.backend

    def capabilities(self) -> Isolation:
        """See `Sandbox.capabilities`; known since it was created."""
        return self.sandbox.capabilities()

    async def exec(
        self,
        cmd: str | Sequence[str],
        *,
        input: str | bytes | None = None,  # noqa: A002 - the name that subprocess has for it
        cwd: str | Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the command's, which also ends when this is cancelled
        limits: Limits | None = None,
        stdin: int | None = None,
    ) -> ExecResult:
        """See `Sandbox.exec`. Cancelled: the command and all it started are dead before `CancelledError` goes on."""
        return await self._in_turn(
            lambda: self.sandbox.exec(cmd, input=input, cwd=cwd, env=env, timeout=timeout, limits=limits, stdin=stdin)
        )

    @overload
    async def read_file(self, path: str | Path, *, text: Literal[True] = True, max_bytes: int = ...) -> str: ...
    @overload
    async def read_file(self, path: str | Path, *, text: Literal[False], max_bytes: int = ...) -> bytes: ...
    async def read_file(self, path: str | Path, *, text: bool = True, max_bytes: int = files.MAX_BYTES) -> str | bytes:
        """See `Sandbox.read_file`."""
        if text:
            return await self._in_turn(lambda: self.sandbox.read_file(path, max_bytes=max_bytes))
        return await self._in_turn(lambda: self.sandbox.read_file(path, text=False, max_bytes=max_bytes))

    async def write_file(self, path: str | Path, data: str | bytes) -> None:
        """See `Sandbox.write_file`."""
        await self._in_turn(lambda: self.sandbox.write_file(path, data))

    async def checkpoint(self, label: str = "", *, durable: bool = False) -> str:
        """See `Sandbox.checkpoint`."""
        return await self._in_turn(lambda: self.sandbox.checkpoint(label, durable=durable))

    async def checkpoints(self) -> list[Checkpoint]:
        """See `Sandbox.checkpoints`."""
        return await self._in_turn(self.sandbox.checkpoints)

    async def restore(self, checkpoint_id: str) -> None:
        """See `Sandbox.restore`."""
        await self._in_turn(lambda: self.sandbox.restore(checkpoint_id))

    async def fork(self, checkpoint_id: str | None = None) -> Self:
        """See `Sandbox.fork`."""
        return type(self)(await self._in_turn(lambda: self.sandbox.fork(checkpoint_id)))

    async def diff(self, since: str | None = None, until: str | None = None) -> list[Change]:
        """See `Sandbox.diff`."""
        return await self._in_turn(lambda: self.sandbox.diff(since, until))

    async def patch(
        self,
        since: str | None = None,
        until: str | None = None,
        *,
        max_bytes: int = MAX_PATCH_BYTES,
        strict: bool = True,
    ) -> bytes:
        """See `Sandbox.patch`."""
        return await self._in_turn(lambda: self.sandbox.patch(since, until, max_bytes=max_bytes, strict=strict))

    async def destroy(self, *, wait_s: float = 0.0) -> None:
        """See `Sandbox.destroy`; a running command is ended."""
        await asyncio.to_thread(self.sandbox.destroy, wait_s=wait_s)

    async def _in_turn(self, call: Callable[[], T]) -> T:
        async with self._turn:
            work = _in_thread(call)
            try:
                return await asyncio.shield(work)
            except asyncio.CancelledError:
                await self._ended(work)
                raise

    async def _ended(self, work: asyncio.Future[T]) -> None:
        """Wait until the thread is back; a second cancellation does not leave it alone either."""
        while not work.done():
            self.sandbox.interrupt()
            try:
                await asyncio.wait([work], timeout=_AGAIN_S)
            except asyncio.CancelledError:
                continue
        work.exception()  # whatever it was: the caller has been cancelled


def _in_thread(call: Callable[[], T]) -> asyncio.Future[T]:
    """Run it in a thread. A future and no task: the end of the loop cancels all tasks, and the thread would go on."""
    return asyncio.get_running_loop().run_in_executor(None, copy_context().run, call)


class _Opening:
    """A sandbox in the making that nobody may want any more when it is made."""

    def __init__(self, make: Callable[[], Sandbox]) -> None:
        self._make = make
        self._made: Sandbox | None = None
        self._wanted = True
        self._turn = threading.Lock()

    def run(self) -> Sandbox:
        """In a thread."""
        made = self._make()
        with self._turn:
            self._made = made
            if not self._wanted:
                made.destroy()
        return made

    def abandon(self) -> None:
        """Whoever comes last, this or the thread, destroys it."""
        with self._turn:
            self._wanted = False
            if self._made is not None:
                self._made.destroy()


async def _opened(make: Callable[[], Sandbox]) -> Sandbox:
    """Make it in a thread; when this is cancelled meanwhile, what was made is destroyed."""
    opening = _Opening(make)
    work = _in_thread(opening.run)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        opening.abandon()
        work.add_done_callback(asyncio.Future.exception)  # looked at: nobody is left to tell
        raise

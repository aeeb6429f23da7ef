"""A sandbox as people use it: one copy-on-write view of a workspace, with checks around one back end's box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, overload

import msgspec

from rsi.errors import InvalidInputError
from rsi.sandbox import files, given, shown
from rsi.sandbox.backend import Backend, Box
from rsi.sandbox.choose import AUTO, Chosen, choose
from rsi.sandbox.model import FOR_FIXES, Change, Checkpoint, ExecResult, Isolation, Limits
from rsi.sandbox.overlay.place import user_home
from rsi.sandbox.patch import MAX_BYTES as MAX_PATCH_BYTES
from rsi.sandbox.patch import patch
from rsi.sandbox.request import checked_env, command, environment
from rsi.sandbox.toolchain import path_for, readable_for, sources_for


class Sandbox:
    """Run commands against a view of `workspace`; the workspace itself never changes. Use `create`, then `with`.

    Every method raises `SandboxError` after `destroy`.
    """

    def __init__(self, box: Box, chosen: Chosen, env: Mapping[str, str]) -> None:
        self._box = box
        self._chosen = chosen
        self._env = dict(env)

    @classmethod
    def create(
        cls,
        workspace: str | Path,
        *,
        backend: str | Backend = AUTO,
        require: Isolation = FOR_FIXES,
        readable: Sequence[str | Path] = (),
        env: Mapping[str, str] | None = None,
        programs: Sequence[str] = (),
    ) -> Self:
        """A new view.

        Args:
            workspace: an existing folder; shown inside at its own path. Never a home folder, nor what holds one.
            backend: `auto` takes the best that meets `require`; or `overlay`, `bubblewrap`, `docker`, `seatbelt`,
                `subprocess`.
            require: what must be enforced. The default is what a fix may be checked with; `Isolation()` is nothing.
            readable: folders outside to show read-only, beside the toolchain that is found by itself. Never a home
                folder, what holds one, or where sandboxes are kept.
            env: for every command, beside locale, `PATH`, `HOME`, `TMPDIR`, `TERM` and `USER`; nothing is inherited.
            programs: what will be run, by path or by name as the caller's `PATH` finds it: where one lies in a
                toolchain of its own (`/home/me/envs/x/bin/pytest`), that one is shown too.

        Raises:
            IsolationError: no back end isolates what is required; says what each lacks.
            InvalidInputError: names the field.
            SandboxError: the view cannot be made.
        """
        where = Path(given.path(workspace, "workspace"))
        return cls._open(where, backend, require, readable, env, reopen=None, programs=programs)

    @classmethod
    def reopen(
        cls,
        store: str | Path,
        workspace: str | Path,
        *,
        backend: str | Backend = "overlay",
        require: Isolation = FOR_FIXES,
        readable: Sequence[str | Path] = (),
        env: Mapping[str, str] | None = None,
    ) -> Self:
        """The sandbox whose process died: its durable checkpoints are verified and can be restored.

        Args:
            store: its `store`.
            workspace: the one that it was made from.
            backend: the one that it was made by.
            require: as in `create`.
            readable: as in `create`.
            env: as in `create`.
        """
        where, kept = (Path(given.path(each, name)) for each, name in ((workspace, "workspace"), (store, "store")))
        return cls._open(where, backend, require, readable, env, reopen=kept)

    @classmethod
    def _open(
        cls,
        workspace: Path,
        backend: str | Backend,
        require: Isolation,
        readable: Sequence[str | Path],
        env: Mapping[str, str] | None,
        *,
        reopen: Path | None,
        programs: Sequence[str] = (),
    ) -> Self:
        workspace = shown.workspace(workspace)
        own = _env(env)
        home = user_home() or Path("/")  # who has no home has no toolchain there; nothing right below / is one
        named = given.names(programs, "programs")
        outside = tuple(dict.fromkeys([*shown.readable(readable), *readable_for(workspace, named, home=home)]))
        chosen = choose(backend, require)
        imported = sources_for(workspace, named, home=home)
        box = chosen.backend.open(workspace, readable=tuple(dict.fromkeys([*outside, *imported])), reopen=reopen)
        return cls(box, chosen, environment(path_for(workspace, readable=outside), own))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.destroy()

    @property
    def workspace(self) -> Path:
        """The folder that this is a view of, absolute."""
        return self._box.workspace

    @property
    def store(self) -> Path:
        """Where it is kept; `reopen` takes it."""
        return self._box.store

    @property
    def backend(self) -> str:
        """The name of the back end."""
        return self._chosen.backend.name

    def capabilities(self) -> Isolation:
        """What was found to be enforced when the back end was attacked on this machine."""
        return self._chosen.isolation

    def exec(
        self,
        cmd: str | Sequence[str],
        *,
        input: str | bytes | None = None,  # noqa: A002 - the name that subprocess has for it
        cwd: str | Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        limits: Limits | None = None,
        stdin: int | None = None,
    ) -> ExecResult:
        """Run to the end or to a limit; nothing that it started is left when this returns.

        Args:
            cmd: text for `/bin/sh -c`, or the words of a command.
            input: its standard input; text is sent as UTF-8.
            cwd: a folder in the workspace.
            env: more variables, over those of `create`.
            timeout: seconds; over `limits.wall_s`.
            limits: what it may use (default `Limits()`).
            stdin: in place of `input`: a descriptor of this process whose bytes go in as they come; it stays open. The
                command does not get the descriptor itself.

        Raises:
            InvalidInputError: names the field.
            LaunchError: it could not be set up, and never ran.
        """
        if stdin is not None and (input is not None or isinstance(stdin, bool) or not isinstance(stdin, int)):
            raise InvalidInputError("stdin: expected a descriptor, and no input beside it", field="stdin")
        asked = command(
            _words(cmd),
            workspace=self.workspace,
            env={**self._env, **_env(env)},
            input=None if input is None else given.data(input, "input"),
            cwd=None if cwd is None else given.path(cwd, "cwd"),
            timeout=timeout,
            limits=limits,
        )
        return self._box.run(msgspec.structs.replace(asked, stdin=stdin))

    def interrupt(self) -> None:
        """End the command that another thread runs here, if there is one: its result says `killed_by="closed"`."""
        self._box.interrupt()

    @overload
    def read_file(self, path: str | Path, *, text: Literal[True] = True, max_bytes: int = ...) -> str: ...
    @overload
    def read_file(self, path: str | Path, *, text: Literal[False], max_bytes: int = ...) -> bytes: ...
    def read_file(self, path: str | Path, *, text: bool = True, max_bytes: int = files.MAX_BYTES) -> str | bytes:
        """A file as a command inside sees it.

        Args:
            path: relative to the workspace, or absolute inside.
            text: decode as UTF-8, undecodable bytes kept as surrogates; else bytes.
            max_bytes: refuse a larger one.

        Raises:
            FileMissingError, FileIsFolderError, FileDeniedError: each is the built-in error of that meaning too.
            TooLargeError: names the limit.
        """
        words, limits = files.reading(path, self.workspace, max_bytes)
        found = files.contents(path, self.exec(words, limits=limits), max_bytes)
        return found.decode("utf-8", "surrogateescape") if text else found

    def write_file(self, path: str | Path, data: str | bytes) -> None:
        """Write a file inside, with the folders above it; its mode stays as it is.

        Raises:
            FileIsFolderError, FileDeniedError: each is the built-in error of that meaning too.
        """
        raw = given.data(data, "data")
        words, limits = files.writing(path, self.workspace)
        files.done(path, self.exec(words, input=raw, limits=limits), "write")

    def checkpoint(self, label: str = "", *, durable: bool = False) -> str:
        """Name the present state; its id. `durable`: it survives power loss, and this process."""
        return self._box.checkpoint(given.name(label, "label"), durable=durable).id

    def checkpoints(self) -> list[Checkpoint]:
        """Oldest first."""
        return self._box.checkpoints()

    def restore(self, checkpoint_id: str) -> None:
        """Go back to that state. `NotFoundError` if there is none."""
        self._box.restore(checkpoint_id)

    def fork(self, checkpoint_id: str | None = None) -> Self:
        """A second sandbox that starts from a checkpoint, or from the present state."""
        return type(self)(self._box.fork(checkpoint_id), self._chosen, self._env)

    def diff(self, since: str | None = None, until: str | None = None) -> list[Change]:
        """What differs between two checkpoints; `None` is the workspace, and the present state.

        The files that it names are there until the next command, `restore` or `destroy`.
        """
        return self._box.changes(since, until)

    def patch(
        self,
        since: str | None = None,
        until: str | None = None,
        *,
        max_bytes: int = MAX_PATCH_BYTES,
        strict: bool = True,
    ) -> bytes:
        """`diff` as a patch for `git apply` (see `rsi.sandbox.patch`)."""
        return patch(self.diff(since, until), max_bytes=max_bytes, strict=strict)

    def destroy(self, *, wait_s: float = 0.0) -> None:
        """End what runs and give the space back; returns at once. Twice is as good as once.

        Args:
            wait_s: at most so many seconds until what it left is deleted, for a process that ends now: what is not
                deleted then waits for the next sandbox.
        """
        self._box.close()
        if wait_s > 0:
            self._chosen.backend.drain(wait_s)


def _words(cmd: object) -> str | list[str]:
    """Text, or its words; what is in them is looked at by `request.command`."""
    if isinstance(cmd, str):
        return given.name(cmd, "cmd")
    if not isinstance(cmd, Sequence) or isinstance(cmd, (bytes, bytearray)):
        raise InvalidInputError(
            f'cmd: expected text for /bin/sh or a list of words (["pytest", "-q"]), got {cmd!r}', field="cmd"
        )
    return [given.name(word, f"cmd[{number}]") for number, word in enumerate(cmd)]


def _env(env: Mapping[str, str] | None) -> dict[str, str]:
    if env is not None and not isinstance(env, Mapping):
        raise InvalidInputError(f"env: expected names with values, got {env!r}", field="env")
    for name, value in (env or {}).items():
        if isinstance(name, str) and isinstance(value, str):
            given.name(name, "env")
            given.name(value, f"env.{name}")
    return checked_env(env or {})

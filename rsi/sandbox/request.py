"""From what a caller says to a complete `Command`: every field is checked, and an error names it with the way out."""

from __future__ import annotations

import math
import os
import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from rsi.errors import InvalidInputError
from rsi.sandbox.model import Command, Limits

#: Of the caller's environment only how to write dates and numbers goes in; nothing else of a daemon's does.
_LOCALE: Final = ("LANG", "LANGUAGE", "TZ")
#: There is a user's home inside, empty and new for each command.
HOME: Final = "/home/sandbox"
_FIXED: Final = {"HOME": HOME, "TMPDIR": "/tmp", "TERM": "dumb", "USER": "sandbox", "LOGNAME": "sandbox"}  # noqa: S108 - the sandbox's own
#: Linux refuses a longer single argument (MAX_ARG_STRLEN).
_MAX_WORD: Final = 128 << 10


def environment(path: str, given: Mapping[str, str]) -> dict[str, str]:
    """The environment of every command: locale, time zone, the fixed ones, then what the caller gives."""
    locale = {name: value for name, value in os.environ.items() if name in _LOCALE or name.startswith("LC_")}
    return {**locale, "PATH": path, **_FIXED, **checked_env(given)}


def checked_env(env: Mapping[str, str]) -> dict[str, str]:
    """The same, if every name and value can be in an environment.

    Raises:
        InvalidInputError: names the variable.
    """
    for name, value in env.items():
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            raise InvalidInputError(f"env: {name!r} cannot be a variable's name", field="env")
        if not isinstance(value, str) or "\0" in value:
            raise InvalidInputError(f"env.{name}: expected text without NUL, got {value!r}", field=f"env.{name}")
    return dict(env)


def command(
    cmd: str | Sequence[str],
    *,
    workspace: Path,
    env: Mapping[str, str],
    input: str | bytes | None = None,  # noqa: A002 - the name that subprocess has for it
    cwd: str | Path | None = None,
    timeout: float | None = None,
    limits: Limits | None = None,
) -> Command:
    """One command, complete.

    Raises:
        InvalidInputError: names the field.
    """
    return Command(
        argv=_argv(cmd),
        env=dict(env),
        cwd=_cwd(cwd, workspace),
        input=_input(input),
        limits=_limits(limits, timeout),
    )


def _argv(cmd: str | Sequence[str]) -> tuple[str, ...]:
    words = ("/bin/sh", "-c", cmd) if isinstance(cmd, str) else tuple(cmd)
    if not words or not words[0] or (isinstance(cmd, str) and not cmd.strip()):
        raise InvalidInputError(
            'cmd: expected a command, as text for /bin/sh or as a list: ["pytest", "-q"]', field="cmd"
        )
    for number, word in enumerate(words):
        if not isinstance(word, str) or "\0" in word:
            raise InvalidInputError(f"cmd[{number}]: expected text without NUL, got {word!r}", field=f"cmd[{number}]")
        if len(os.fsencode(word)) >= _MAX_WORD:
            raise InvalidInputError(
                f"cmd[{number}]: longer than {_MAX_WORD} bytes; give it as input= instead", field=f"cmd[{number}]"
            )
    return words


def _input(given: str | bytes | None) -> bytes:
    if given is None:
        return b""
    if isinstance(given, str):
        return given.encode("utf-8", "surrogateescape")
    if isinstance(given, bytes):
        return given
    raise InvalidInputError(f"input: expected text or bytes, got {type(given).__name__}", field="input")


def _cwd(given: str | Path | None, workspace: Path) -> str:
    """Relative to the workspace. A link there that leads out leads nowhere: it is followed inside."""
    if given is None:
        return "."
    text, root = os.fspath(given), os.fspath(workspace)
    inside = posixpath.relpath(posixpath.normpath(text), root) if text.startswith("/") else posixpath.normpath(text)
    if "\0" in text or inside == ".." or inside.startswith("../"):
        raise InvalidInputError(f"cwd: {text!r} is outside the workspace {root}; name a folder in it", field="cwd")
    return inside


def _limits(limits: Limits | None, timeout: float | None) -> Limits:
    chosen = limits if limits is not None else Limits()
    if timeout is not None:
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout < math.inf:
            raise InvalidInputError(
                f"timeout: expected a number > 0 (seconds), got {timeout!r}; leave it out for {chosen.wall_s} s",
                field="timeout",
            )
        chosen = msgspec.structs.replace(chosen, wall_s=float(timeout))
    try:
        return msgspec.convert(msgspec.to_builtins(chosen), Limits)
    except msgspec.ValidationError as error:  # `Expected `int` >= 1 - at `$.processes``
        what, _, where = str(error).partition(" - at `$.")
        name = where.rstrip("`")
        raise InvalidInputError(f"limits.{name}: {what}", field=f"limits.{name}") from error

"""Our exceptions, grouped by what the caller can do about them.

A message names the thing and the way out: `outcome[3].duration_ms: expected a number ≥ 0, got "fast"`.
"""

from __future__ import annotations


class RSIError(Exception):
    """Base of everything rsi raises on purpose."""


class InvalidInputError(RSIError):
    """What was given is not what was asked for: change the input.

    Args:
        message: where and what, with the way out.
        field: the field the message is about, as a path (`error.status`), if there is one.
    """

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class TooLargeError(InvalidInputError):
    """The input is over a limit; the message names the limit and the setting that moves it."""


class ConfigError(InvalidInputError):
    """`rsi.yaml`, an environment variable or an option is wrong: names file and key."""


class RuleError(InvalidInputError):
    """A rule file is wrong. The message starts with `file:line: field:`; the rule is skipped, visibly."""


class NotFoundError(RSIError):
    """There is no such issue, fix or source."""


class ConflictError(RSIError):
    """The thing is in a state that does not allow this: the message says which state, and what is allowed."""


class ForbiddenError(RSIError):
    """The caller may not do this: the message says which token or secret is needed."""


class StoreError(RSIError):
    """The store cannot be used."""


class StoreMissingError(NotFoundError, StoreError):
    """There is no database yet: a reading command shows nothing, a daemon or the first outcome makes it."""


class StoreTooNewError(StoreError):
    """The database was written by a newer rsi: upgrade rsi, or point it at another home."""


class StoreBusyError(StoreError):
    """Disk full, locked or read-only: nothing was acknowledged; try again later."""


class HomeLockedError(RSIError):
    """Another process owns this home; the message names its pid and how to stop it."""


class WorkerError(RSIError):
    """The analysis worker died or could not start; the daemon goes on without similarity."""


class SandboxError(RSIError):
    """A sandbox cannot do what was asked; the command did not run."""


class IsolationError(SandboxError):
    """No back end here isolates what `require=` asks for: refused, never run with less. Names what is missing."""


class LaunchError(SandboxError):
    """A namespace, a mount or the filter could not be set up: the command never ran. Names the stage."""


class MergeError(SandboxError):
    """A change may not be written back (a link, `.git`, a path outside, a drifted base); names the path."""

"""Why an edit of a file was refused: file, key, and the way out."""

from __future__ import annotations

from rsi.errors import ConflictError, InvalidInputError


class TargetRefusedError(InvalidInputError):
    """What was asked for may not be edited, or not like that; nothing was written.

    Args:
        file: relative to the home.
        key: the key path, `""` where it is about the file.
        reason: what is wrong, with the way out.
    """

    def __init__(self, file: str, key: str, reason: str) -> None:
        super().__init__(_message(file, key, reason), field=key or file)
        self.file = file
        self.key = key


class TargetChangedError(ConflictError):
    """Somebody changed the file since: nothing was written, what he wrote stays.

    Args:
        file: relative to the home.
        key: the key path, `""` where it is about the file.
        reason: what changed, with the way out.
    """

    def __init__(self, file: str, key: str, reason: str) -> None:
        super().__init__(_message(file, key, reason))
        self.file = file
        self.key = key


def _message(file: str, key: str, reason: str) -> str:
    shown = file if file.isprintable() else ascii(file)
    return f"{shown}#{key}: {reason}" if key else f"{shown}: {reason}"

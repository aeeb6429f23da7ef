"""Room on the disk: given back now and then, and named when there is none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rsi.errors import RSIError, SandboxError

#: Who lives long looks for what dead owners left this often; whoever starts looks at once.
SWEEP_S: Final = 600.0


@contextmanager
def named(store: Path) -> Iterator[None]:
    """What the system says about the store below is said with its name.

    Raises:
        SandboxError: in the place of every bare `OSError`.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, RSIError):
            raise
        what = error.strerror or repr(error)
        where = f" ({error.filename})" if error.filename else ""
        raise SandboxError(
            f"{store}: {what}{where}; make room there, or set RSI_SANDBOX_STORE to a folder on another disk"
        ) from error

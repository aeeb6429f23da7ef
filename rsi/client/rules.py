"""The rules of classification, read where nobody waits for them: in a thread of their own, once per process.

A retry is decided by what a failure is. So a failure that comes before they are read waits for the rest of the reading
(docs/design/020-enforcer.md says why it does not go on without).
"""

from __future__ import annotations

import threading
from pathlib import Path

from rsi.client import process
from rsi.client.tally import Tally


class _Warming:
    """Whether it was begun, in this process."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """A forked child has no thread that would finish what its parent began."""
        self._lock = threading.Lock()
        self._begun = False

    def begin(self, keep: Path | None, tally: Tally) -> None:
        """Start the thread, the first time."""
        with self._lock:
            if self._begun:
                return
            self._begun = True
        try:
            threading.Thread(target=_warm, args=(keep, tally), name="rsi-rules", daemon=True).start()
        except RuntimeError:  # the interpreter is shutting down
            return


_WARMING = _Warming()
process.in_child(_WARMING.renew)


def warm_up(keep: Path | None, tally: Tally) -> None:
    """A policy may ask what a failure is: read the rules now; returns at once.

    Args:
        keep: the private folder of this user's clients, where what was worked out waits for the next process.
        tally: hears of trouble.
    """
    _WARMING.begin(keep, tally)


def _warm(keep: Path | None, tally: Tally) -> None:
    try:
        from rsi.classify import warm  # noqa: PLC0415 - PyYAML and the rules, not at import

        warm(keep)
    except Exception as error:  # noqa: BLE001 - the border of the thread: the first failure will meet it again
        tally.count("classify_errors")
        tally.say_once(f"the rules could not be read: {type(error).__name__}: {error}")

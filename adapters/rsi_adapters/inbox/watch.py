"""Being told early that something changed in a folder; where the system cannot, being told so."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

log = logging.getLogger("rsi.inbox")


class Watch(FileSystemEventHandler):
    """Wakes whoever is in `wait` when the folder changes. Losing events costs time, never a file.

    Args:
        folder: what to watch; its subfolders are not.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bell = threading.Event()
        self._observer: BaseObserver | None = None
        self.trouble: str | None = None

    @property
    def active(self) -> bool:
        """Whether the system tells us of changes."""
        return self._observer is not None and self._observer.is_alive()

    def start(self) -> None:
        """Begin; where it is impossible (no inotify watches left), `trouble` says so."""
        observer = Observer()
        try:
            observer.schedule(self, str(self._folder), recursive=False)
            observer.start()
        except OSError as error:
            self.trouble = f"{self._folder}: cannot be watched: {error.strerror or error}"
            log.warning("%s", self.trouble)
            return
        self._observer = observer

    def stop(self) -> None:
        """End, and wake whoever waits."""
        self._bell.set()
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None

    def wait(self, seconds: float) -> None:
        """Until something changed, at most `seconds`."""
        self._bell.wait(seconds)
        self._bell.clear()

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Called by the observer's thread."""
        if event.event_type not in ("opened", "closed_no_write"):
            self._bell.set()

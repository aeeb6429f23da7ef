"""A connection to *our* daemon: found, asked whose it is, kept open, found again when it is lost."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from rsi.client.discovery import RefusedError, check, locate
from rsi.client.settings import Settings
from rsi.client.tally import Tally
from rsi.client.transport import Answer, Connection, UnreachableError


class Link:
    """One thread's way to the daemon.

    `generation` grows with every other daemon that is found there: what a daemon has to be told once is told again when
    it has changed.
    """

    def __init__(self, settings: Settings, client_id: str, tally: Tally) -> None:
        self._settings = settings
        self._tally = tally
        self._headers = {"X-RSI-Client": client_id, "User-Agent": "rsi-client"}
        if settings.token:
            self._headers["Authorization"] = f"Bearer {settings.token}"
        self._connection: Connection | None = None
        self._aborted = False
        self._daemon: tuple[str, object] | None = None
        self.generation = 0
        self.url = ""
        self.refused: str | None = None

    @property
    def up(self) -> bool:
        """Whether the last request was answered by our daemon."""
        return self._connection is not None

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        """Send to our daemon and return its answer, whatever its status; what is sent must be safe to send twice.

        Raises:
            UnreachableError: nobody there.
            RefusedError: somebody else's daemon is there.
        """
        try:
            return self._once(method, path, body, headers, timeout_s)
        except UnreachableError as error:
            if not error.stale or self._aborted:
                raise
        return self._once(method, path, body, headers, timeout_s)

    def _once(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None, timeout_s: float | None
    ) -> Answer:
        connection = self._connection or self._connect()
        try:
            return connection.request(method, path, body, headers, timeout_s=timeout_s)
        except UnreachableError:
            self.close()
            raise

    def ensure(self) -> None:
        """Find our daemon, if it is not known to be there.

        Raises:
            UnreachableError, RefusedError: as `request`.
        """
        if self._connection is None:
            self._connect()

    def _connect(self) -> Connection:
        connection = Connection(locate(self._settings), self._headers)
        self.url = connection.url
        try:
            daemon = check(connection, self._settings)
        except RefusedError as error:
            connection.close()
            self.refused = str(error)
            self._tally.say_once(str(error), level=logging.WARNING)
            raise
        except UnreachableError:
            connection.close()
            raise
        if daemon != self._daemon:
            self._daemon = daemon
            self.generation += 1
        self.refused = None
        self._connection = connection
        return connection

    def abort(self) -> None:
        """From another thread, for good: wake the one that waits here."""
        self._aborted = True
        connection = self._connection
        if connection is not None:
            connection.abort()

    def close(self) -> None:
        """Forget the daemon; the next request looks for it anew."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

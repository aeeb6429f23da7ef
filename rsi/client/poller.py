"""The long poll: one thread per source waits for its policy to change."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Final

from rsi.client.capabilities import Capabilities, policy_path
from rsi.client.delivery import MAX_ASKED_S
from rsi.client.discovery import RefusedError
from rsi.client.link import Link
from rsi.client.policies import PolicyBook
from rsi.client.tally import Tally
from rsi.client.transport import Answer, UnreachableError

WAIT_S: Final = 30
ANSWER_S: Final = 10.0  # beyond the wait: a daemon that takes longer hangs
FIRST_PAUSE_S: Final = 0.5
MAX_PAUSE_S: Final = 30.0
#: A daemon that answers a long poll at once with what we have does not know long polls: then ask once a second.
SAME_PAUSE_S: Final = 1.0


class Poller:
    """Keeps the policy of one source fresh until `stop`."""

    def __init__(
        self,
        source: str,
        make_link: Callable[[], Link],
        *,
        book: PolicyBook,
        capabilities: Capabilities,
        client_id: str,
        tally: Tally,
    ) -> None:
        self._source = source
        self._make_link = make_link
        self._book = book
        self._capabilities = capabilities
        self._client_id = client_id
        self._tally = tally
        self._stopped = threading.Event()
        self._link: Link | None = None
        self._thread = threading.Thread(target=self._run, name=f"rsi-policy-{source}", daemon=True)

    def start(self) -> None:
        """Begin; raises `RuntimeError` when the interpreter is shutting down."""
        self._thread.start()

    def stop(self, timeout_s: float = 0.0) -> None:
        """End, waiting at most `timeout_s` for it."""
        self._stopped.set()
        if self._link is not None:
            self._link.abort()
        if timeout_s and self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        link = self._link = self._make_link()
        pause, wait = 0.0, 0
        while not self._stopped.is_set():
            try:
                good = self._poll(link, wait)
            except (UnreachableError, RefusedError):
                good = False
            except Exception as error:  # noqa: BLE001 - the border of the thread: an end of it would be silence
                good = False
                self._tally.say_once(f"the policy poll failed and goes on: {type(error).__name__}: {error}")
            pause = 0.0 if good else min(MAX_PAUSE_S, pause * 2 or FIRST_PAUSE_S)
            wait = WAIT_S if good else 0  # after an outage we want to know, not to wait
            if pause:
                self._tally.count("poll_failures")
                self._stopped.wait(pause * random.uniform(0.8, 1.2))  # noqa: S311 - not a secret
        link.close()

    def _poll(self, link: Link, wait: int) -> bool:
        held = self._book.held(self._source)
        path = policy_path(self._source, self._capabilities.common(self._source), self._client_id, wait=wait)
        tag = {"If-None-Match": held.etag} if held is not None and held.etag else {}
        answer = link.request("GET", path, headers=tag, timeout_s=wait + ANSWER_S)
        self._tally.count("polls")
        if answer.status == 304 and held is not None:  # noqa: PLR2004 - HTTP's own number
            self._book.still(self._source)
            return True
        return answer.status == 200 and self._take(answer)  # noqa: PLR2004 - HTTP's own number

    def _take(self, answer: Answer) -> bool:
        before = self._book.held(self._source)
        if not self._book.take(self._source, answer.json(), answer.headers.get("etag")):
            return False
        after = self._book.held(self._source)
        if before is not None and after is not None and before.policy.version == after.policy.version:
            self._stopped.wait(min(SAME_PAUSE_S, MAX_ASKED_S))
        return True

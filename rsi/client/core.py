"""`Client`: one agent's connection to its daemon."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from functools import cached_property
from itertools import count
from os import PathLike
from pathlib import Path
from typing import Any, Final, Unpack
from uuid import uuid4

from rsi import config as configuration
from rsi.client import process, spans
from rsi.client.capabilities import Capabilities
from rsi.client.discovery import locate
from rsi.client.encode import Encoder, Pending
from rsi.client.link import Link
from rsi.client.policies import PolicyBook
from rsi.client.poller import Poller
from rsi.client.recorded import OutcomeFields, Recorded
from rsi.client.rules import warm_up
from rsi.client.sender import QUEUE_SIZE, Sender
from rsi.client.settings import Settings, settle
from rsi.client.spool import Spool, key
from rsi.client.tally import Tally, log
from rsi.client.wire import Item
from rsi.errors import ConfigError
from rsi.policy import mask_config
from rsi.redact import Redactor

#: A flush waits no longer than this for a daemon, unless told to.
EXIT_S: Final = process.EXIT_S


class Client:
    """Reports outcomes and keeps policies. Nothing here raises into the host or makes it wait.

    Args:
        url, home, token, source, client_id, enabled: as in `configure`.
        queue_size: outcomes that may wait for the sender.
    """

    def __init__(
        self,
        *,
        url: str | None = None,
        home: str | PathLike[str] | None = None,
        token: str | None = None,
        source: str | None = None,
        client_id: str | None = None,
        enabled: bool | None = None,
        queue_size: int = QUEUE_SIZE,
    ) -> None:
        self.settings: Settings = settle(
            url=url, home=home, token=token, source=source, client_id=client_id, enabled=enabled
        )
        self.enabled = self.settings.enabled
        self.enforcing = self.settings.enabled and not self.settings.observe_only
        self._queue_size = queue_size
        self.tally = Tally()
        #: Under a policy file (`RSI_POLICY_FILE`) nothing leaves this process.
        self._reports = self.enabled and self.settings.policy_file is None
        self.policies = PolicyBook(
            self._policy_folder,
            self.tally,
            lambda: warm_up(self.settings.state, self.tally),
            self.settings.policy_file,
        )
        self._begin(self.settings.client_id)
        process.track(self)

    def _begin(self, client_id: str) -> None:
        """Everything that must not be shared between processes."""
        self.id = client_id
        self._prefix = f"{uuid4().hex[:16]}-"
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._closed = False
        #: What enforcers of this client share, by name; begins anew in a forked child.
        self.shared: dict[str, Any] = {}
        self._pollers: dict[str, Poller] = {}
        self._capabilities = Capabilities(lambda: self.id, self._follow, self.tally)
        folder = self._folder("spool")
        self._spool = Spool(folder, uuid4().hex[:16]) if folder is not None else None
        self._sender = Sender(
            self._link,
            self._encoder,
            spool=self._spool,
            capabilities=self._capabilities,
            tally=self.tally,
            size=self._queue_size,
            at_turn=self._look_for_spans,
        )
        self.put: Callable[[Pending], None] = self._sender.put if self._reports else _nothing
        self._look_for_spans()

    def reset_after_fork(self) -> None:
        """In the child: a new queue, sender and client id; policies stay. What the parent queued is the parent's."""
        self.tally.counts.clear()
        self._begin(uuid4().hex)

    @property
    def source(self) -> str:
        """Who reports where a call does not say."""
        return self.settings.source

    def new_id(self) -> str:
        """An id that no other process makes; 16 random hex digits and a number."""
        return f"{self._prefix}{next(self._numbers):x}"

    def record(
        self,
        task: str,
        success: bool | None = None,
        *,
        error: str | dict[str, Any] | BaseException | None = None,
        source: str | None = None,
        **fields: Unpack[OutcomeFields],
    ) -> None:
        """Queue one outcome; `rsi.record` says more."""
        if self._reports:
            self.put(Recorded(self.new_id(), task, success, error=error, source=source or self.source, fields=fields))

    def want(self, source: str, task: str, enforces: Iterable[str]) -> None:
        """Begin to keep the policy of `source`, telling the daemon what this process can act on for `task`."""
        if not self.enforcing or self._closed:
            return
        if not self._reports:
            self.policies.load(source)
            return
        with self._lock:
            news = self._capabilities.offer(source, task, enforces)
        self.policies.load(source)
        if news:
            self._sender.wake()

    def _follow(self, source: str) -> None:
        with self._lock:
            if source in self._pollers or self._closed:
                return
            poller = Poller(
                source,
                self._link,
                book=self.policies,
                capabilities=self._capabilities,
                client_id=self.id,
                tally=self.tally,
            )
            try:
                poller.start()
            except RuntimeError:  # the interpreter is shutting down
                return
            self._pollers[source] = poller

    def flush(self, timeout: float = EXIT_S) -> bool:
        """Wait until everything recorded so far is sent or spooled; whether that was done within `timeout` seconds."""
        if not self._reports or self._closed:
            return True
        return self._sender.flush(timeout)

    def stop(self) -> None:
        """Take nothing more and let the threads end; `finish` waits for them."""
        with self._lock:
            self._closed = True
            pollers = list(self._pollers.values())
        for poller in pollers:
            poller.stop()
        self._sender.stop()

    def finish(self, timeout: float = EXIT_S) -> None:
        """Wait for the end at most `timeout` seconds; what is unsent is spooled, or lies in the home's inbox."""
        self._sender.finish(timeout)
        self._hand_over()

    def close(self, timeout: float = EXIT_S) -> None:
        """Send or spool what is queued and end the threads. Safe to call twice; what is recorded later is dropped."""
        self.stop()
        self.finish(timeout)
        for poller in self._pollers.values():
            poller.stop(timeout)

    def _hand_over(self) -> None:
        """A declared home without a daemon: its inbox is where `rsi up --once` looks."""
        home, link = self.settings.home, self._sender.link
        if home is None or self._spool is None or self.settings.url or (link is not None and link.generation):
            return
        inbox = home / "inbox"
        try:
            if inbox.is_dir():
                self.tally.count("handed_over", self._spool.hand_over(inbox))
        except OSError as error:
            log.warning("the spool could not be handed to %s: %s", inbox, error)

    def status(self) -> dict[str, Any]:
        """Counters and troubles, for people and tests."""
        link = self._sender.link
        return {
            "enabled": self.enabled,
            "enforcing": self.enforcing,
            "client": self.id,
            "source": self.source,
            "home": str(self.settings.home) if self.settings.home else None,
            "url": locate(self.settings),
            "connected": link is not None and link.up,
            "refused": link.refused if link is not None else None,
            "queued": len(self._sender),
            "policies": {source: _policy_line(self.policies, source) for source in self.policies.sources()},
            **{name: self.tally.counts[name] for name in _COUNTERS},
            **self.tally.counts,
        }

    @cached_property
    def config(self) -> configuration.Config:
        """The home's `rsi.yaml`, for what the agent's side needs of it; the default where it is missing or wrong."""
        if self.settings.home is None:
            return configuration.Config()
        try:
            return mask_config(configuration.load(self.settings.home))
        except ConfigError as error:
            log.warning("%s; the agent goes on with the defaults", error)
            return configuration.Config()

    def _look_for_spans(self) -> None:
        """From now on tell the host's SDK, too, if it has one."""
        try:
            if self._reports and spans.wanted():
                self.put = self._put_and_tell
        except Exception as error:  # noqa: BLE001 - the border to somebody else's SDK
            self._no_span(error)

    def _put_and_tell(self, pending: Pending) -> None:
        if isinstance(pending, Item):  # before the sender redacts it
            try:
                spans.tell(pending)
            except Exception as error:  # noqa: BLE001 - as above
                self._no_span(error)
        self._sender.put(pending)

    def _no_span(self, error: Exception) -> None:
        self.tally.count("span_errors")
        self.tally.say_once(f"OpenTelemetry did not take a span of ours: {type(error).__name__}: {error}")

    def _folder(self, kind: str) -> Path | None:
        settings = self.settings
        if settings.state is None or settings.policy_file is not None:
            return None
        return settings.state / kind / key(settings.url or str(settings.home or locate(settings)))

    def _policy_folder(self) -> Path | None:
        return self._folder("policy")

    def _link(self) -> Link:
        return Link(self.settings, self.id, self.tally)

    def _encoder(self) -> Encoder:
        try:
            redactor = Redactor(self.config.redact.extra)
        except ConfigError as error:
            self.tally.say_once(f"{error}; only the built-in kinds are redacted", level=logging.ERROR)
            redactor = Redactor()
        return Encoder(redactor, self.tally)


_COUNTERS: Final = ("sent", "spooled", "resent", "rejected", "dropped", "unencodable", "failures", "retries")


def _nothing(_: Pending) -> None:
    """A client that is disabled, or under a policy file, takes nothing."""


def _policy_line(book: PolicyBook, source: str) -> dict[str, Any]:
    held, now = book.held(source), book.current(source)
    if held is None or now is None:
        return {}
    return {"version": now.version, "decayed": now is not held.policy, "problems": list(held.problems)}

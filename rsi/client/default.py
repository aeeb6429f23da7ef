"""The process's own client, made when it is first needed, and `rsi.record`."""

from __future__ import annotations

import threading
from os import PathLike
from typing import Any, Unpack

from rsi.client import process
from rsi.client.core import EXIT_S, Client
from rsi.client.recorded import OutcomeFields

_client: Client | None = None
_making = threading.Lock()


def _renew_lock() -> None:
    global _making  # noqa: PLW0603 - the parent's lock may be held by a thread that does not exist here
    _making = threading.Lock()


process.in_child(_renew_lock)


def default_client() -> Client:
    """The client that `record`, `guard` and `step` use where none is named."""
    return _client if _client is not None else _make()


def _make() -> Client:
    global _client  # noqa: PLW0603 - one per process is the point
    with _making:
        if _client is None:
            _client = Client()
        return _client


def configure(
    *,
    url: str | None = None,
    home: str | PathLike[str] | None = None,
    token: str | None = None,
    source: str | None = None,
    client_id: str | None = None,
    enabled: bool | None = None,
) -> Client:
    """Replace the process's client; what is not said comes from environment and folders.

    Args:
        url: the daemon's address, instead of `RSI_URL` and the home's `daemon.json`.
        home: the project's folder; a daemon of another home is refused.
        token: a bearer token, instead of `RSI_TOKEN`.
        source: who reports where a call does not say, instead of `RSI_SOURCE` and the folder's name.
        client_id: instead of a random one per process.
        enabled: `True` also under pytest; `False` hooks, sends and writes nothing. `RSI_DISABLE=1` wins.
    """
    global _client
    made = Client(url=url, home=home, token=token, source=source, client_id=client_id, enabled=enabled)
    with _making:
        before, _client = _client, made
    if before is not None:
        before.close()
    return made


def record(
    task: str,
    success: bool | None = None,
    *,
    error: str | dict[str, Any] | BaseException | None = None,
    source: str | None = None,
    **fields: Unpack[OutcomeFields],
) -> None:
    """Report one thing an agent tried. Queued: it never raises and never waits.

    Args:
        task: what kind of work.
        success: true or false; may be left out with `status="started"`.
        error: text, `{type, message, stack, status}`, or the exception itself.
        source: which agent; default `RSI_SOURCE`, else the project folder's name.
        **fields: the other fields of an outcome (contract §2); unknown ones are kept under `metadata`.
    """
    default_client().record(task, success, error=error, source=source, **fields)


def flush(timeout: float = EXIT_S) -> bool:
    """Wait until everything recorded so far is sent or spooled; whether that was done within `timeout` seconds."""
    return default_client().flush(timeout)


def status() -> dict[str, Any]:
    """The process's client: address, policies, counters, troubles."""
    return default_client().status()

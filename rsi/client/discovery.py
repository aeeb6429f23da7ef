"""Which daemon is ours: where it should be, and whether the one that answers there is it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from rsi.client.settings import DEFAULT_URL, Settings
from rsi.client.transport import Connection, UnreachableError
from rsi.config import STATE_DIR

_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - what a daemon may listen on, not we


class RefusedError(Exception):
    """A daemon answers, but it is not ours; the message says whose it is and what to do."""


def locate(settings: Settings) -> str:
    """`RSI_URL` or the argument, else `.rsi/daemon.json` of the home, else the default port.

    A file in a folder may send outcomes to this machine only: another host has to be named by a person.
    """
    if settings.url:
        return settings.url.rstrip("/")
    found = _announced(settings.home) if settings.home is not None else None
    return found or DEFAULT_URL


def _announced(home: Path) -> str | None:
    try:
        said = json.loads((home / STATE_DIR / "daemon.json").read_bytes())
        url = str(said["url"]).rstrip("/")
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 80
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if host in _LOOPBACK:
        return url
    if host in _EVERYWHERE:
        return urlunsplit((parts.scheme, f"{_EVERYWHERE[host]}:{port}", parts.path.rstrip("/"), "", ""))
    return None


def is_local(url: str) -> bool:
    """Whether the address is on this machine."""
    return (urlsplit(url if "//" in url else f"//{url}").hostname or "") in _LOOPBACK


def check(connection: Connection, settings: Settings) -> tuple[str, object]:
    """Ask `/healthz` whose daemon this is, and which one: its home and pid.

    Paths are compared where they mean the same: on this machine, or where somebody said which home is meant.

    Raises:
        UnreachableError: nobody there, or nobody who speaks as a daemon does.
        RefusedError: it belongs to another home.
    """
    answer = connection.request("GET", "/healthz")
    said = answer.json()
    home = said.get("home") if isinstance(said, dict) else None
    if answer.status != 200 or not isinstance(said, dict) or not isinstance(home, str):  # noqa: PLR2004 - HTTP's own number
        raise UnreachableError(f"{connection.url}: /healthz answered {answer.status} and names no home: not rsi")
    ours = settings.home
    if ours is None or not (is_local(connection.url) or settings.home_said):
        return home, said.get("pid")
    if Path(home).resolve() != ours:
        raise RefusedError(
            f"the daemon at {connection.url} serves {home}, this process belongs to {ours}: nothing is sent to it. "
            f"Start `rsi up --home {ours}`, or set RSI_HOME={home}, or RSI_URL to the right daemon"
        )
    return home, said.get("pid")

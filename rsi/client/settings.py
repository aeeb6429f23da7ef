"""How a client finds its daemon, its home, its source and its switches: arguments, then environment, then folders."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

import msgspec

from rsi.config import DEFAULT_HOST, DEFAULT_PORT, find_declared_home

DEFAULT_URL = f"http://{DEFAULT_HOST}:{DEFAULT_PORT}"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a client is told from outside.

    Attributes:
        url: a daemon's address somebody named; `None`: the home's `daemon.json`, else the default port.
        home: the declared home, `None` if nobody declared one; `home_said`: by argument or `RSI_HOME`, not by a folder.
        source: who reports where a call does not say.
        enabled: false means that nothing at all is hooked, sent or written.
        observe_only: report, and enforce nothing.
        state: `$XDG_STATE_HOME/rsi`, where spool and policy lie; `None` where there is no such place.
        policy_file: the one policy to work under, instead of a daemon's: then nothing is reported, sent or kept.
    """

    url: str | None
    token: str | None
    home: Path | None
    home_said: bool
    source: str
    client_id: str
    enabled: bool
    observe_only: bool
    state: Path | None
    policy_file: Path | None = None


def settle(
    *,
    url: str | None = None,
    home: str | os.PathLike[str] | None = None,
    token: str | None = None,
    source: str | None = None,
    client_id: str | None = None,
    enabled: bool | None = None,
    env: Mapping[str, str] | None = None,
) -> Settings:
    """Arguments over environment over folders. `RSI_DISABLE=1` wins over everything. Never raises."""
    env = os.environ if env is None else env
    declared = _declared_home(home, env)
    return Settings(
        url=url or env.get("RSI_URL") or None,
        token=token or env.get("RSI_TOKEN") or None,
        home=declared,
        home_said=bool(home or env.get("RSI_HOME")),
        source=source or env.get("RSI_SOURCE") or _folder(declared),
        client_id=client_id or uuid4().hex,
        enabled=_enabled(enabled, env),
        observe_only=_is_on(env, "RSI_OBSERVE_ONLY"),
        state=_state(env),
        policy_file=Path(env["RSI_POLICY_FILE"]) if env.get("RSI_POLICY_FILE") else None,
    )


def _is_on(env: Mapping[str, str], name: str) -> bool:
    return env.get(name, "").strip().lower() not in ("", "0", "false", "no", "off")


def _enabled(asked: bool | None, env: Mapping[str, str]) -> bool:
    if _is_on(env, "RSI_DISABLE"):
        return False
    if asked is not None:
        return asked
    under_pytest = "pytest" in sys.modules or "PYTEST_CURRENT_TEST" in env
    return not under_pytest or _is_on(env, "RSI_ENABLE") or bool(env.get("RSI_POLICY_FILE"))


def _declared_home(home: str | os.PathLike[str] | None, env: Mapping[str, str]) -> Path | None:
    try:
        return find_declared_home(home, env=env)
    except (OSError, RuntimeError):  # the working folder is gone, or there is no user to expand ~ for
        return None


def _folder(home: Path | None) -> str:
    try:
        return (home or Path.cwd()).name or "root"
    except OSError:
        return "agent"


def _state(env: Mapping[str, str]) -> Path | None:
    said = env.get("XDG_STATE_HOME") or (env.get("LOCALAPPDATA") if os.name == "nt" else None)
    try:
        return (Path(said) if said else Path.home() / ".local" / "state") / "rsi"
    except RuntimeError:
        return None

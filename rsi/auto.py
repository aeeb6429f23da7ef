"""`import rsi.auto` hooks the agent frameworks that are installed, by the adapters of entry points `rsi.adapters`."""

from __future__ import annotations

import logging
import warnings
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from rsi.client import default_client
from rsi.model import Adapter

GROUP: Final = "rsi.adapters"
log: Final = logging.getLogger("rsi")
_report: dict[str, str] = {}


def install() -> dict[str, str]:
    """Hook every adapter whose framework is there; safe to call twice. Returns `report()`."""
    if not default_client().settings.enabled:
        return report()
    for point in entry_points(group=GROUP):
        if not _report.get(point.name, "").startswith("hooked"):
            _report[point.name] = _hook(point)
    return report()


def report() -> dict[str, str]:
    """Per adapter what happened: `hooked: …`, `not installed`, or `failed: …`. Empty where rsi is switched off."""
    return dict(_report)


def _hook(point: EntryPoint) -> str:
    """One adapter; its failure is a warning, never the host's."""
    try:
        adapter = _made(point.load())
        if not adapter.available():
            return "not installed"
        said = adapter.install()
    except Exception as error:  # noqa: BLE001 - the border to third-party code at import time
        warnings.warn(f"rsi.auto: adapter {point.name} ({point.value}) failed: {error!r}", RuntimeWarning, stacklevel=2)
        return f"failed: {type(error).__name__}: {error}"
    log.info("rsi.auto: %s", said)
    return f"hooked: {said}"


def _made(loaded: object) -> Adapter:
    found = loaded() if isinstance(loaded, type) else loaded
    if not isinstance(found, Adapter):
        raise TypeError("it has no name, available() and install(): not an adapter")
    return found


install()

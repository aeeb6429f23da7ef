"""Installs adapters when their frameworks come in, and remembers what became of each."""

from __future__ import annotations

import logging
import threading
from functools import partial
from typing import Final

from rsi.auto.adapters import Known, known
from rsi.auto.importing import Watcher
from rsi.client import default_client

log: Final = logging.getLogger("rsi")
HOOKED: Final = "hooked"

_watcher: Final = Watcher()
_report: Final[dict[str, str]] = {}
_done: Final[dict[str, Known]] = {}
_lock: Final = threading.RLock()


def install() -> dict[str, str]:
    """Hook every known framework that is loaded, and each other one as soon as it is. Safe to call again.

    Returns:
        `report()`.
    """
    if not default_client().settings.enabled:
        return report()
    for each in known():
        if each.name in _done:
            continue
        if not each.present():
            _report[each.name] = "not installed"
        elif each.trigger is None:
            _hook(each)
        else:
            _report[each.name] = f"{each.title()} will be hooked when it is imported"
            _watcher.after(each.trigger, partial(_hook, each))
    return report()


def report() -> dict[str, str]:
    """Per adapter: `hooked: …`, `… will be hooked when it is imported`, `not installed`, or `failed: …`.

    Empty where rsi is switched off.
    """
    return dict(_report)


def uninstall() -> None:
    """Undo what was hooked, as far as an adapter offers `uninstall`, and wait for no more frameworks."""
    _watcher.forget()
    with _lock:
        for name, each in list(_done.items()):
            undo = getattr(each.load(), "uninstall", None)
            if undo is not None:
                undo()
            del _done[name]
        _report.clear()


def _hook(each: Known) -> None:
    """One adapter; its failure is a line in the log, never the host's."""
    with _lock:
        if each.name in _done:
            return
        try:
            adapter = each.load()
            if not adapter.available():
                _report[each.name] = "not installed"
                return
            said = adapter.install()
        except Exception as error:  # noqa: BLE001 - the border to third-party code at import time
            _report[each.name] = f"failed: {type(error).__name__}: {error}"
            log.warning("rsi.auto: adapter %s (%s) failed: %r", each.name, each.target, error)
            return
        _done[each.name] = each
        _report[each.name] = f"{HOOKED}: {said}"
    log.info("rsi.auto: %s", said)

"""Our own spans and metrics, where the process has OpenTelemetry; nothing at all where it has not.

Nothing is configured here: who runs the daemon under `opentelemetry-instrument`, or embeds the loop in a program with
an SDK, has loaded the API, and its providers are used. The package is never imported for the first time by us.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from rsi import clock

log = logging.getLogger("rsi.telemetry")

_API: Final = "opentelemetry.trace"
_NAME: Final = "rsi"
_NANO: Final = 1e9
_MS: Final = 1000.0
#: Of a cycle's report: what makes it worth a span. Idle cycles come every second.
_DONE: Final = ("outcomes", "new_issues", "planned", "applied", "verdicts", "rolled_back", "merged", "proposals")


def cycle(report: Mapping[str, Any]) -> None:
    """A cycle has ended.

    Args:
        report: its counts; `ms` is how long it took, `failed` names the stages that could not do their work.
    """
    if _API in sys.modules:
        _guarded(_cycle, report)


def event(name: str, data: dict[str, Any]) -> None:
    """Something happened that `Pipeline.subscribe` tells; only `verdict` is told on."""
    if name == "verdict" and _API in sys.modules:
        _guarded(_verdict, data)


def _guarded(tell: Any, data: Mapping[str, Any]) -> None:
    try:
        tell(data)
    except Exception as error:  # noqa: BLE001 - the border to somebody else's SDK
        log.warning("OpenTelemetry did not take a span of ours: %s: %s", type(error).__name__, error)


def _cycle(report: Mapping[str, Any]) -> None:
    told = _instruments()
    ms, failed = float(report["ms"]), list(report["failed"])
    done = {name: int(report[name]) for name in _DONE if report.get(name)}
    told["duration"].record(ms / _MS)
    if "outcomes" in done:
        told["outcomes"].add(done["outcomes"])
    if "new_issues" in done:
        told["issues"].add(done["new_issues"])
    if not done and not failed:
        return
    end = clock.now()
    span = _tracer().start_span(
        "rsi.cycle",
        start_time=int((end - ms / _MS) * _NANO),
        attributes={f"rsi.cycle.{name}": count for name, count in done.items()},
    )
    if failed:
        span.set_attribute("rsi.cycle.failed", failed)
        trace = importlib.import_module(_API)
        span.set_status(trace.Status(trace.StatusCode.ERROR, f"failed: {', '.join(failed)}"))
    span.end(int(end * _NANO))


def _verdict(data: Mapping[str, Any]) -> None:
    outcome = str(data.get("outcome"))
    _instruments()["verdicts"].add(1, {"rsi.verdict.outcome": outcome})
    known = {key: data.get(key) for key in ("fix", "state", "outcome", "p_fixed", "p_control", "n_fixed", "n_control")}
    attributes = {f"rsi.verdict.{key}": value for key, value in known.items() if value is not None}
    _tracer().start_span("rsi.verdict", attributes=attributes).end()


def _tracer() -> Any:
    return importlib.import_module(_API).get_tracer(_NAME)


@cache
def _instruments() -> dict[str, Any]:
    """Made once; the API connects them to a provider that is set later."""
    meter = importlib.import_module("opentelemetry.metrics").get_meter(_NAME)
    return {
        "duration": meter.create_histogram("rsi.cycle.duration", unit="s", description="How long a cycle took."),
        "outcomes": meter.create_counter("rsi.outcomes", unit="{outcome}", description="Outcomes analysed."),
        "issues": meter.create_counter("rsi.issues", unit="{issue}", description="Issues that were new."),
        "verdicts": meter.create_counter("rsi.verdicts", unit="{verdict}", description="Verdicts, by outcome."),
    }

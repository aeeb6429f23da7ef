"""What this process reports, as spans too, where the host has configured an OpenTelemetry SDK. No text leaves this way.

Nothing is imported here for the first time. The sender's thread looks whether there is one, so that a process where
none is configured pays nothing. A span is told when its outcome is, at its end: its parent is the host's span that is
open in that moment, and `rsi.parent` names the outcome around it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Final

from rsi.client.facts import ErrorFacts
from rsi.client.wire import Item

_SDK: Final = "opentelemetry.sdk.trace"
_API: Final = "opentelemetry.trace"
#: The instrumentation's name; the daemon's own door knows by it that it has heard of these already.
SCOPE: Final = "rsi"
_NANO: Final = 1e9
_MS: Final = 1000.0
_PLAIN: Final = ("id", "kind", "task", "source", "run", "parent", "attempt", "policy_version")


def wanted() -> bool:
    """Whether this process has an SDK, and it is the one that the API hands on to; loaded alone it does nothing."""
    sdk, api = sys.modules.get(_SDK), sys.modules.get(_API)
    kind = getattr(sdk, "TracerProvider", None)
    return kind is not None and api is not None and isinstance(api.get_tracer_provider(), kind)


def tell(item: Item) -> None:
    """One outcome that ended, as a span of the host's provider. May raise what the SDK raises."""
    if item.status == "started":
        return
    trace: Any = sys.modules[_API]
    end = item.ts * _NANO
    span = trace.get_tracer(SCOPE).start_span(
        f"{item.kind} {item.task}",
        start_time=int(end - (item.duration_ms or 0.0) / _MS * _NANO),
        attributes=dict(_attributes(item)),
    )
    if item.status == "failed":
        span.set_status(trace.Status(trace.StatusCode.ERROR))
    span.end(int(end))


def _attributes(item: Item) -> Iterator[tuple[str, Any]]:
    for name in _PLAIN:
        value = getattr(item, name)
        if value is not None:
            yield f"rsi.{name}", value
    yield "rsi.status", item.status
    if item.fixes:
        yield "rsi.fixes", [f"{fix.id}:{fix.arm}" for fix in item.fixes]
    if isinstance(item.error, ErrorFacts) and item.error.type is not None:
        yield "error.type", item.error.type

"""`/metrics` in Prometheus' text format (version 0.0.4)."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from rsi import clock
from rsi.analyze import health
from rsi.model import Health
from rsi.store import correlations, counts, rollups
from rsi.store.rollups import ScopeTotals
from rsi.web.context import Context, context_of
from rsi.web.table import Entry

_KIND: Final = "text/plain; version=0.0.4; charset=utf-8"
_STATES: Final = ("healthy", "degraded", "unhealthy", "unknown")
#: Sources shown one by one; a flood of invented ones must not blow up the scraper.
_SOURCES: Final = 500
_HOURS: Final = 24
_UNFIT: Final = re.compile(r"[^a-zA-Z0-9_]+")


async def _metrics(request: Request) -> Response:
    status = await asyncio.to_thread(context_of(request).status)
    lines = [*await asyncio.to_thread(_stored, context_of(request)), *_running(context_of(request), status)]
    return Response(("\n".join(lines) + "\n").encode("utf-8", "replace"), media_type=_KIND)


def _stored(context: Context) -> list[str]:
    with context.store.read() as conn:
        issues, fixes = counts.issues_by_state(conn), counts.fixes_by_state(conn)
        found = health.read(conn, context.config, clock.now())
        incidents = correlations.count_by_state(conn)
        scopes = rollups.scopes(conn, int(clock.now() // 3600) - _HOURS)
    return [
        *_family("rsi_tasks_day", "Final tasks of the last 24 hours.", _tasks(scopes, "n")),
        *_family("rsi_tasks_failed_day", "Final tasks of the last 24 hours that failed.", _tasks(scopes, "failed")),
        *_family("rsi_issues", "Issues by state.", ((_label(state=state), n) for state, n in sorted(issues.items()))),
        *_family(
            "rsi_incidents",
            "Issues that move together, by state.",
            ((_label(state=state), n) for state, n in sorted(incidents.items())),
        ),
        *_family("rsi_fixes", "Fixes by state.", ((_label(state=state), n) for state, n in sorted(fixes.items()))),
        *_health(found),
    ]


def _tasks(scopes: list[ScopeTotals], what: str) -> list[tuple[str, int]]:
    totals = Counter[str]()
    for scope in scopes:
        totals[scope.source] += getattr(scope, what)
    return [(_label(source=name), n) for name, n in totals.most_common(_SOURCES)]


def _health(found: Health) -> list[str]:
    sources = list(found.sources.items())[:_SOURCES]
    scores = [(_label(source=name), each.get("health_score")) for name, each in sources]
    if found.health_score is not None:
        scores.append(("", found.health_score))
    states = [(_label(source=name, state=state), int(each.get("state") == state)) for name, each in sources
              for state in _STATES]  # fmt: skip
    return [
        *_family("rsi_health_score", "Success rate (posterior mean); without a label over all sources.", scores),
        *_family("rsi_health_state", "1 for the state that a source is in.", states),
    ]


def _running(context: Context, status: Mapping[str, Any]) -> list[str]:
    """Every number in the status, by its path: `pipeline.queue` is `rsi_pipeline_queue`."""
    lines = ["# HELP rsi_up That the daemon answers.", "# TYPE rsi_up gauge", "rsi_up 1"]
    for name, value in sorted(_numbers({**status, "web": context.web()}, "rsi")):
        lines += [f"# TYPE {name} untyped", f"{name} {value}"]
    lines += ["# TYPE rsi_troubles gauge", f"rsi_troubles {len(status.get('troubles', ()))}"]
    return lines


def _numbers(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, bool):
        yield name, str(int(value))
    elif isinstance(value, int | float):
        yield name, repr(value)
    elif isinstance(value, Mapping):
        for key, below in value.items():
            yield from _numbers(below, f"{name}_{_UNFIT.sub('_', str(key))}")


def _family(name: str, about: str, samples: Any) -> list[str]:
    lines = [f"{name}{label} {value}" for label, value in samples if value is not None]
    return [f"# HELP {name} {about}", f"# TYPE {name} gauge", *lines]


def _label(**labels: str) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


ENTRIES: Final = (
    Entry("GET", "/metrics", "For Prometheus: issues, fixes, health per source, and every counter of the status.",
          _metrics, kind="text/plain"),
)  # fmt: skip

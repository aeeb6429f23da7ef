"""Routes that doors contribute: served as they are, described as entries of our table."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, Final

from rsi.model import Intake, Receipt, Submit
from rsi.web.table import Entry, Level

log = logging.getLogger("rsi.web")

#: What the built-in doors' routes say in the reference; a third party's route is described by its endpoint's docstring.
_ABOUT: Final[dict[tuple[str, str], dict[str, Any]]] = {
    ("POST", "/v1/outcomes"): {
        "about": "One outcome, an array, or NDJSON (gzip too); answered once it is durable. All refused: 422.",
        "answers": Receipt, "status": 202, "also": (400, 413, 415, 422, 503),
    },
    ("POST", "/observe"): {
        "about": "One outcome; answers its id and, if it failed, its category by rules alone.",
        "answers": dict[str, Any], "status": 201, "also": (400, 413, 415, 422, 503),
    },
    ("POST", "/v1/traces"): {
        "about": "OTLP spans, protobuf or JSON, gzip too: those of agents become outcomes; answered once durable.",
        "answers": dict[str, Any], "also": (400, 413, 415, 503),
    },
    ("POST", "/v1/logs"): {
        "about": "OTLP log records: `gen_ai.evaluation.result` becomes the quality of what it grades.",
        "answers": dict[str, Any], "also": (400, 413, 415, 503),
    },
    ("POST", "/v1/hooks/claude-code"): {
        "about": "One event of a Claude Code hook; answers at once what the hook prints: lessons, or an empty object.",
        "answers": dict[str, Any], "also": (400, 409, 413, 422),
    },
}  # fmt: skip


def entries_of(intake: Intake, submit: Submit) -> Iterator[Entry]:
    """A door's Starlette routes → entries. A door that fails here is logged and left out; the others stay."""
    try:
        routes = list(intake.routes(submit))
    except Exception:  # the border to a third party's door
        log.exception("door %s has no routes", intake.name)
        return
    for route in routes:
        for method in sorted(set(getattr(route, "methods", None) or {"POST"}) - {"HEAD"}):
            about = (getattr(route, "endpoint", None).__doc__ or intake.name).splitlines()[0]
            told = _ABOUT.get((method, route.path), {"about": about})
            yield Entry(method, route.path, made=route, level=Level.REPORT, **told)


#: The built-in doors' routes as the reference shows them.
BUILT_IN: Final = tuple(Entry(method, path, level=Level.REPORT, **told) for (method, path), told in _ABOUT.items())

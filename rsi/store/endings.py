"""How fixes ended, with what was expected of them: what the records of the rules are counted from."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Connection, select

from rsi.model import Verdict, VerdictOutcome
from rsi.store import fixes as stored
from rsi.store.engine import project
from rsi.store.schema import fixes

CONFIDENCE: Final = "confidence"
_VERDICT: Final = msgspec.json.Decoder(Verdict)
_EVIDENCE: Final = msgspec.json.Decoder(dict[str, Any])


class Ending(NamedTuple):
    """A fix with its last verdict. `confidence` is what `evidence.confidence` said before; `open`: it goes on."""

    rule: str
    outcome: VerdictOutcome
    confidence: float | None
    open: bool


def load(conn: Connection) -> list[Ending]:
    """Every fix that has a verdict, oldest first."""
    columns = (fixes.c.rule, fixes.c.verdict, fixes.c.evidence, fixes.c.state)
    ours = (fixes.c.project == project(conn), fixes.c.verdict.is_not(None))
    return [
        Ending(rule, _VERDICT.decode(verdict).outcome, _confidence(evidence), state in stored.OPEN)
        for rule, verdict, evidence, state in conn.execute(select(*columns).where(*ours).order_by(fixes.c.id))
    ]


def _confidence(evidence: bytes) -> float | None:
    found = _EVIDENCE.decode(evidence).get(CONFIDENCE)
    return float(found) if isinstance(found, int | float) else None

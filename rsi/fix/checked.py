"""The check before a fix as its rails and its readers see it: whether one is asked for, whether it counts, in words.

Running it is `rsi.verify.check`; what came of it lies in the fix's evidence under `check`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from rsi import clock
from rsi.config import VerifyConfig
from rsi.model import Check, CheckOutcome, CheckRun
from rsi.store.fixes import FixRow

EVIDENCE: Final = "check"
HOLDS_S: Final = 3_600.0
"""A result counts this long: what is checked, the workspace, moves on. One that could not be had is asked for again."""
OPEN_DOOR: Final[tuple[CheckOutcome, ...]] = ("passed", "red_before", "nothing")
"""Outcomes that speak against nothing."""


class Output(NamedTuple):
    """What one side printed; untrusted."""

    title: str
    text: str


def wanted(verify: VerifyConfig) -> bool:
    """Whether `rsi.yaml` asks for checks before fixes."""
    return any(command and command.strip() for command in (verify.command, verify.replay))


def key(fix: FixRow, verify: VerifyConfig) -> str:
    """Names what is checked: the change and the commands."""
    said = (fix.change.target, fix.change.before, fix.change.after, verify.command, verify.replay)
    return hashlib.sha256(msgspec.json.encode(said, order="sorted")).hexdigest()[:16]


def of(evidence: dict[str, Any]) -> Check | None:
    """The last result, whatever it was about."""
    found = evidence.get(EVIDENCE)
    return msgspec.convert(found, Check) if found is not None else None


def counts(fix: FixRow, verify: VerifyConfig, now: float) -> Check | None:
    """The result for exactly this change and these commands, while it is fresh."""
    found = of(fix.evidence)
    if found is None or found.key != key(fix, verify):
        return None
    return found if now - clock.parse_iso(found.at) < HOLDS_S else None


def due(fix: FixRow, verify: VerifyConfig, now: float) -> bool:
    """Whether the fix has to be checked before it may start."""
    return wanted(verify) and counts(fix, verify, now) is None


def sentence(check: Check) -> str:
    """The result in one line, without anything that a command printed."""
    what = f"`{check.command}`: " if check.command else ""
    return f"{check.outcome}: {what}{check.why}"


def outputs(check: Check) -> Iterator[Output]:
    """What was printed, with the change and without it."""
    for side, run in (("with the change", check.with_it), ("without the change", check.without)):
        if run is not None and run.output:
            yield Output(_title(side, run), run.output)
    if check.replay is not None:
        replayed = ("with the change", check.replay.output_with), ("without the change", check.replay.output_without)
        for side, text in replayed:
            if text:
                yield Output(f"last replay {side}", text)


def _title(side: str, run: CheckRun) -> str:
    ended = f"ended by the limit on {run.killed_by}" if run.killed_by else f"exit {run.exit}"
    return f"{side}, {ended}, {run.seconds:.1f} s"

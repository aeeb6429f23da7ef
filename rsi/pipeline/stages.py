"""The stages of a cycle: each by itself, so that one that fails keeps no other from its work."""

from __future__ import annotations

import logging
from collections.abc import Callable

from sqlalchemy import Connection

from rsi.errors import RSIError
from rsi.pipeline.report import CycleReport, Troubles

log = logging.getLogger("rsi.pipeline")


class Stages:
    """The part of the pipeline that runs steps and counts what they raise."""

    def __init__(self) -> None:
        self._troubles = Troubles()
        self._resting = False
        self._missed: list[str] = []

    def _stage(self, stage: str, report: CycleReport, step: Callable[[], None], *, rest: bool) -> None:
        """Run a step of the cycle; what it raises is counted and shown, and the next steps run all the same."""
        if rest and self._troubles.waiting(stage):
            report.failed.append(stage)
            return
        try:
            step()
        except Exception as error:  # the border of a stage
            log.exception("stage %s failed", stage)
            self._failed(stage, error)
            report.failed.append(stage)
        else:
            self._troubles.worked(stage)

    def _attempt(self, stage: str, conn: Connection, step: Callable[[], None]) -> bool:
        """Like `_stage`, inside a transaction: a savepoint of its own. False: it failed and left nothing behind."""
        if self._resting and self._troubles.waiting(stage):
            self._missed.append(stage)
            return False
        try:
            with conn.begin_nested():
                step()
        except Exception as error:  # the border of a step; the transaction goes on without it
            log.exception("stage %s failed", stage)
            self._failed(stage, error)
            self._missed.append(stage)
            return False
        self._troubles.worked(stage)
        return True

    def _failed(self, stage: str, error: BaseException) -> None:
        if not isinstance(error, RSIError):
            log.debug("stage %s: %s", stage, type(error).__name__)
        self._troubles.failed(stage, error)

"""Observe → analyze → fix → verify → publish, in that order (docs/design/001-spine.md)."""

from rsi.pipeline.pipeline import Pipeline
from rsi.pipeline.report import CycleReport

__all__ = ["CycleReport", "Pipeline"]

"""The OpenTelemetry door: spans of instrumented agents (GenAI conventions, OpenInference) become outcomes."""

from __future__ import annotations

from rsi_adapters.otel.intake import OtelIntake

__all__ = ["OtelIntake"]

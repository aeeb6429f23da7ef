"""Bytes from a door → redacted, durable outcomes and a receipt. Parsing, redaction and dedupe exist once: here."""

from __future__ import annotations

from rsi.ingest.ingest import Ingest

__all__ = ["Ingest"]

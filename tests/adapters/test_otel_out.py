"""Our own telemetry where nobody has OpenTelemetry: it is not imported, and costs nothing."""

from __future__ import annotations

import subprocess
import sys

from rsi import telemetry

REPORT = {"ms": 5.0, "failed": [], "outcomes": 3}
VERDICT = {"fix": "f1", "outcome": "verified"}


def test_without_opentelemetry_nothing_happens():
    telemetry.cycle(REPORT)
    telemetry.event("verdict", VERDICT)


def test_it_is_never_imported_by_us():
    code = (
        "import sys; from rsi import telemetry; telemetry.cycle({'ms': 1.0, 'failed': [], 'outcomes': 1}); "
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_broken_sdk_does_not_stop_a_cycle(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", object())
    telemetry.cycle(REPORT)
    telemetry.event("verdict", VERDICT)
    assert "OpenTelemetry did not take a span of ours" in caplog.text

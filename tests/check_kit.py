"""Homes and orders for checks in the real sandbox; its isolation is what the probe finds on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

import rsi
from rsi.redact import Redactor
from rsi.sandbox.choose import backend
from rsi.verify.check import check
from rsi.verify.check_order import Halt, Order

#: The tree under test, for programs in the copy that import `rsi`.
PACKAGE = Path(rsi.__file__).parent
SOURCES = tuple(str(path) for path in (PACKAGE, PACKAGE.parent / "rules") if path.is_dir())
_WHY = backend("overlay").unavailable()
needs_sandbox = pytest.mark.skipif(_WHY is not None, reason=f"no sandbox here: {_WHY}")

#: Fails twice in 429s, then works: green only for who tries three times.
GUARDED = """
import rsi
calls = []

@rsi.guard("search", idempotent=True)
def search():
    calls.append(1)
    if len(calls) < 3:
        error = RuntimeError("429 Too Many Requests: rate limit reached")
        error.status_code = 429
        raise error
    return "found"

def test_search():
    assert search() == "found"

if __name__ == "__main__":
    test_search()
    print("calls", len(calls))
"""


def run(workspace: Path, halt: Halt | None = None, **order):
    """Check with an order of this test's."""
    order.setdefault("timeout_s", 30.0)
    return check(Order(key="k", workspace=workspace, **order), Redactor(["hush-[a-z]+"]), halt or Halt())

"""The door's tests run against the same real server as the web's."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_PATH = Path(__file__).parent.parent / "web" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("web_conftest", _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
_web = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_web)
serve, daemon = _web.serve, _web.daemon

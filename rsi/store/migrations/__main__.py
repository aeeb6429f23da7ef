"""`python -m rsi.store.migrations FILE`: bring a database to the newest revision."""

from __future__ import annotations

import sys
from pathlib import Path

from rsi.store.migrate import upgrade

upgrade(Path(sys.argv[1]))

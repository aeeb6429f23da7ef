"""Structured logs: one JSON object per line in the home, a readable line on the terminal."""

from __future__ import annotations

import json
import logging
import logging.handlers
from pathlib import Path
from typing import Any, Final

from rsi import clock

KEEP_FILES: Final = 3
FILE_BYTES: Final = 5 * 1024 * 1024
_PLAIN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": clock.iso(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update({key: value for key, value in vars(record).items() if key not in _PLAIN})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class _Readable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        extras = " ".join(f"{key}={value}" for key, value in vars(record).items() if key not in _PLAIN)
        text = (
            f"{clock.iso(record.created)[11:19]} {record.levelname.lower():7} {record.getMessage()} {extras}".rstrip()
        )
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def configure(folder: Path, *, to_terminal: bool) -> None:
    """Send the loggers of rsi, uvicorn and apscheduler to `<folder>/rsi.log` (rotated) and, if asked, to stderr."""
    folder.mkdir(mode=0o700, exist_ok=True)
    file = logging.handlers.RotatingFileHandler(
        folder / "rsi.log", maxBytes=FILE_BYTES, backupCount=KEEP_FILES, encoding="utf-8"
    )
    file.setFormatter(_Json())
    root = logging.getLogger()
    root.handlers[:] = [file]
    root.setLevel(logging.INFO)
    logging.getLogger("apscheduler").setLevel(logging.WARNING)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    if to_terminal:
        terminal = logging.StreamHandler()
        terminal.setFormatter(_Readable())
        root.addHandler(terminal)

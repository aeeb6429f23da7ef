"""A log record around an error → the error: `2026-11-21 04:10:11,1 ERROR [app] text` and JSON lines of loggers.

When it was logged, by which logger and how loudly is no part of what went wrong. An API's JSON body is no record and
stays: a record has a time, a level or a logger.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

#: Longest JSON line that is read as a record.
_LONGEST: Final = 65_536
_RECORD_KEYS: Final = frozenset(
    {"ts", "time", "timestamp", "@timestamp", "level", "severity", "lvl", "logger", "levelname"}
)
#: Where loggers put what went wrong, the fullest first; the last two are the record's own words.
_ERROR_KEYS: Final = (
    "exception", "exc_info", "stack_trace", "stacktrace", "traceback", "stack", "error", "err", "error_message",
    "message",
    "msg", "event",
)  # fmt: skip
_TYPE_KEYS: Final = ("error_type", "exception_type", "exc_type", "error.type", "type")
_TIME: Final = r"\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?\]?"
_LEVEL: Final = (
    r"\[?(?:DEBUG|INFO|NOTICE|WARN|WARNING|ERR|ERROR|CRIT|CRITICAL|FATAL|SEVERE|debug|info|notice|warn|warning|err"
    r"|error|crit|critical|fatal)\]?"
)
_NAME: Final = r"[A-Za-z_][\w.-]{0,63}"
_AFTER: Final = rf"(?:/{_NAME}:|:|\s+\[{_NAME}\]|\s+{_NAME}(?=\s+\w{{1,20}}=))?\s+(?:\w{{1,20}}=\S{{1,80}}\s+)*"
_HEADER: Final = re.compile(
    rf"(?:{_TIME}[:,]?\s+(?:{_NAME}\[\d+\]:\s+)?{_LEVEL}|{_NAME}\[\d+\]:\s+{_LEVEL}){_AFTER}|{_LEVEL}:{_NAME}:(?=\S)"
)
#: What a header can begin with: a time, a name, an upper-case level.
_MAY_BEGIN: Final = re.compile(rf"\[?\d{{4}}-\d\d-|{_NAME}\[\d|{_LEVEL}:\w")
_CUT: Final = re.compile(r'"(?:exception|exc_info|stack_trace|traceback|stack|error|err)": ?"((?:[^"\\]|\\.)*)')


def unwrap(text: str) -> tuple[str, str | None]:
    """The error in a log record and its class if the record names it; any other text as it is, and `None`."""
    if text[:1] == "{" and len(text) <= _LONGEST:
        return _from_json(text)
    if _MAY_BEGIN.match(text) is None:
        return text, None
    found = _HEADER.match(text)
    return (text[found.end() :] or text, None) if found else (text, None)


def _from_json(text: str) -> tuple[str, str | None]:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):  # not JSON after all, or cut
        return _from_cut(text), None
    if not isinstance(record, dict) or not _RECORD_KEYS & record.keys():
        return text, None
    for key in _ERROR_KEYS:
        said = record.get(key)
        if isinstance(said, dict):
            said, record = said.get("message") or said.get("stack"), said
        if isinstance(said, str) and said.strip():
            return said, _type(record)
    return text, None


def _from_cut(text: str) -> str:
    """The error of a record that was cut behind its beginning; other text as it is."""
    if not any(f'"{key}":' in text[:200] for key in _RECORD_KEYS):
        return text
    found = _CUT.search(text)
    return found[1].replace("\\n", "\n").replace('\\"', '"') if found else text


def _type(record: dict[str, Any]) -> str | None:
    return next((str(record[key]) for key in _TYPE_KEYS if isinstance(record.get(key), str)), None)

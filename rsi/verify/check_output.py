"""What a command printed, as it may be kept and shown: untrusted, without control codes and secrets, its two ends."""

from __future__ import annotations

import re
from typing import Final

from rsi.redact import Redactor
from rsi.sandbox import ExecResult

KEPT_BYTES: Final = 4_096
"""Of each run: a test runner's summary is at the end of it, what went wrong first at its beginning."""
ERRORS_BYTES: Final = 1_536
"""Of these at most so much for standard error; what is left of it is standard output's."""
_HEADING: Final = "--- standard error ---"
_CUT: Final = "\n[… {} bytes left out …]\n"
_CUT_BYTES: Final = 48
#: ECMA-48 control sequences, and strings up to their end (a title, a link).
_SEQUENCE: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
#: What moves a cursor or turns the direction of text round; line ends and tabs stay.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(result: ExecResult, redactor: Redactor) -> str:
    """At most `KEPT_BYTES` of UTF-8."""
    errors = _cut(_clean(result.stderr, redactor), ERRORS_BYTES)
    room = KEPT_BYTES - len(errors.encode()) - len(_HEADING) - 2 if errors else KEPT_BYTES
    printed = _cut(_clean(result.stdout, redactor), room)
    return "\n".join(filter(None, [printed, f"{_HEADING}\n{errors}" if errors else ""]))


def _clean(text: str, redactor: Redactor) -> str:
    """Codes go first: one in the middle of a secret would hide it."""
    plain = _SEQUENCE.sub("", text.replace("\r\n", "\n"))
    return redactor.text(_CONTROL.sub("\ufffd", plain)).strip("\n")


def _cut(text: str, most: int) -> str:
    whole = text.encode()
    if len(whole) <= most:
        return text
    half = (most - _CUT_BYTES) // 2
    head, tail = whole[:half].decode(errors="ignore"), whole[-half:].decode(errors="ignore")
    return head + _CUT.format(len(whole) - 2 * half) + tail

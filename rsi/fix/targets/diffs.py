"""A file's two sides as a unified diff."""

from __future__ import annotations

import difflib
import io

from rsi.fix.targets.model import Edited
from rsi.redact import redact


def unified(edited: Edited) -> str:
    r"""The diff, its lines with their own ends; secrets in what stands around the edit are redacted."""
    sides = (("a", edited.before), ("b", edited.after))
    old, new = (f"{side}/{edited.file}" if data is not None else "/dev/null" for side, data in sides)
    lines = difflib.unified_diff(_lines(edited.before), _lines(edited.after), old, new)
    told = "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
    return redact(told)


def _lines(data: bytes | None) -> list[str]:
    r"""Only `\n` ends a line: with other ends a line of the file could pass for a line of the diff."""
    return [] if data is None else io.StringIO(data.decode("utf-8", "replace"), newline="\n").readlines()

"""What is mounted below a folder: a layer does not cross into it, and what is shown as it is brings its sockets."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

#: How mountinfo writes what would end its fields: `\\040` is a blank.
_ESCAPED: Final = re.compile(rb"\\([0-7]{3})")
_MOUNTS: Final = Path("/proc/self/mountinfo")


def mounted_below(folder: Path) -> str | None:
    """The first place below `folder` where something is mounted (proc(5), mountinfo); None elsewhere than on Linux."""
    above = os.fsencode(folder).rstrip(b"/") + b"/"
    try:
        lines = _MOUNTS.read_bytes().splitlines()
    except FileNotFoundError:
        return None
    for line in lines:
        place = _ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), line.split()[4])
        if place.startswith(above):
            return os.fsdecode(place)
    return None

"""What an attack is told, and what it is."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

#: Where the targets are: see `rsi.sandbox.probe.targets.Targets.order`.
Order = dict[str, Any]
#: Returns its proof (JSON), or raises what stopped it. Whether a proof is one is judged outside.
Attack = Callable[[Order], Any]

#: How every planted secret begins; the rest is 32 hexadecimal digits that only the prober knows.
TOKEN = re.compile(rb"rsi-probe-[0-9a-f]{32}")


def tokens(data: bytes) -> list[str]:
    """The secrets in it, each once."""
    return sorted({found.decode() for found in TOKEN.findall(data)})

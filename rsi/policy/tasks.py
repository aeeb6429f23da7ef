"""The name of a task as everybody writes it: without the ids and numbers that would make every call its own task.

Used by ingest for what is stored and by the client for what it asks the policy for, so that the two agree.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import msgspec

from rsi.config import Config

#: A task's name is for people and for a dashboard's axis; what is longer is cut.
MAX_CHARS: Final = 200

_IDS: Final = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"  # UUID
    r"|(?<![0-9A-Za-z])(?=[0-9a-fA-F]*[0-9])(?=[0-9a-fA-F]*[a-fA-F])[0-9a-fA-F]{7,}(?![0-9A-Za-z])"  # hash
    r"|(?<![0-9A-Za-z])(?=(?:[A-Za-z]*[0-9]){3})[0-9A-Za-z]{16,}(?![0-9A-Za-z])"  # call_9aXb…
)
#: A number standing alone, or one of four digits and more wherever it stands; `gpt-4o`, `s3` and `sha256` stay.
_NUMBERS: Final = re.compile(r"(?<![0-9A-Za-z])[0-9]+(?![0-9A-Za-z])|[0-9]{4,}")
_DIGIT: Final = re.compile(r"[0-9]")
_SPACE: Final = re.compile(r"\s+")


@lru_cache(maxsize=4096)
def mask_task(name: str) -> str:
    """`order 12345` → `order <n>`, `run 3f2a9c1b` → `run <id>`; spaces folded, no control characters, ≤ 200.

    Masking a masked name changes nothing.
    """
    name = str(name)  # whatever a host calls its work: it must not fail of it
    if not name.isprintable():
        name = "".join(char if char.isprintable() else " " for char in name)
    name = _SPACE.sub(" ", name[: 4 * MAX_CHARS]).strip()
    if _DIGIT.search(name):
        name = _NUMBERS.sub("<n>", _IDS.sub("<id>", name))
    return name[:MAX_CHARS].rstrip()


def mask_config(config: Config) -> Config:
    """The same `rsi.yaml` with its tasks named as they are stored: a person writes the name that the code has."""
    return msgspec.structs.replace(
        config,
        sources={
            name: msgspec.structs.replace(said, idempotent=[mask_task(task) for task in said.idempotent])
            for name, said in config.sources.items()
        },
        policy=[
            {**scope, "task": mask_task(scope["task"])} if isinstance(scope.get("task"), str) else scope
            for scope in config.policy
        ],
    )

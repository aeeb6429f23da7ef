"""Class names that a rule lists, `*` for any letters: looked up as they are, searched only where they must be."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import msgspec

_GLOBS: Final = 1024  # compiled globs that are kept: the built-in rules have a tenth of it


class Names(msgspec.Struct, frozen=True):
    """Lower-case class names: those without `*`, and the others with their longest part that is no `*`."""

    exact: frozenset[str]
    globs: tuple[tuple[str, str], ...]

    def match(self, name: str) -> bool:
        """Whether this lower-case name is one of them."""
        return name in self.exact or any(part in name and _matches(glob, name) for part, glob in self.globs)


def class_globs(written: Iterable[str]) -> Names:
    """Names and globs as a rule lists them, in any case."""
    low = [glob.lower() for glob in written]
    globs = tuple((max(glob.split("*"), key=len), glob) for glob in low if "*" in glob)
    return Names(frozenset(glob for glob in low if "*" not in glob), globs)


def _matches(glob: str, name: str) -> bool:
    return _compiled(glob).fullmatch(name) is not None


@lru_cache(maxsize=_GLOBS)
def _compiled(glob: str) -> re.Pattern[str]:
    return re.compile(re.escape(glob).replace(r"\*", r"\w*"))

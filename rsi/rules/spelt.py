"""Class names as the words they are made of: `CollectionNotFoundError` says `collection not found`.

Phrases are written for words. A class that nobody listed is read by the same phrases, in a view of its own after all
others, so that it decides only where the message and the listed classes did not.
"""

from __future__ import annotations

import re
from typing import Final

#: A class name: two humps at least, however it is written (`HTTPTimeout`, `IOLimitReached`, `Db2PoolFull`).
_CLASS: Final = re.compile(
    r"(?<![A-Za-z0-9])_?(?:[A-Z]{1,20}[a-z0-9]{1,40}[A-Z]|[A-Z]{2,20}[a-z]{2})[A-Za-z0-9]{0,60}(?![A-Za-z0-9])"
)
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
#: What a class is and not what it says; at the end of a name it is no word of a sentence.
_KIND: Final = re.compile(r"\s(?:Error|Exception|Fault|Warning)s?$")
#: How boto wraps every answer: that something was called is no word of the class.
_WRAPPED: Final = re.compile(r"An error occurred \((\w{1,80})\) when calling the \w{1,80} operation\b[^:\n]{0,40}: ")


def spelt(text: str) -> str:
    """The text with each class name written as words; the same where it names none, or only a general one."""
    return _CLASS.sub(_words, _WRAPPED.sub(r"\1: ", text))


def _words(found: re.Match[str]) -> str:
    words = _KIND.sub("", _HUMP.sub(" ", found[0].lstrip("_")))
    return words if " " in words else found[0]  # `ValueError` and `KeyError` say nothing about values or keys

"""A title that a person reads in a list: the category and what the error says first."""

from __future__ import annotations

from typing import Final

from rsi.store import wording

#: Titles are cut here, at a word; a list in a terminal shows some 60 characters of them.
WIDTH: Final = 88
_JOIN: Final = " · "
#: A message of fewer words ("'missing'", "timed out") says little without the class of its exception.
_TELLING_WORDS: Final = 3
_SENTENCE: Final = 25  # a first sentence of fewer characters is not cut off from the next
_NO_TEXT: Final = "no error text"
_MORE: Final = "…"


def title(category: str, template: str, error_type: str | None = None) -> str:
    """`rate_limit: 429 Too Many Requests`; several informative lines are joined as far as there is room.

    `template` is the masked text (a whole traceback is titled by its last line); `error_type` stands in where it says
    nothing. One line of printable characters.
    """
    kind = wording.short_class(wording.printable(error_type)) if error_type else ""
    said = _joined(wording.informative(template), WIDTH - len(category) - 2) or kind or _NO_TEXT
    says_little = len(said.split()) < _TELLING_WORDS or said.startswith(_NO_TEXT)
    if kind and says_little and kind.lower() not in said.lower():
        said = f"{kind}: {said}"
    return prefixed(category, said)


def prefixed(category: str, said: str) -> str:
    """A title of what was said; an issue that is `unknown` has nothing before it."""
    return _cut(said if category == "unknown" else f"{category}: {said}")


def _joined(lines: list[str], room: int) -> str:
    if not lines:
        return ""
    said = _first_sentence(lines[0], room)
    for place, line in enumerate(lines[1:], 1):
        left = len(lines) - place
        longer, more = said + _JOIN + line, f" (+{left} more)"
        if len(longer) + (len(more) if left > 1 else 0) > room:
            return said + more if len(said) + len(more) <= room else said
        said = longer
    return said


def _first_sentence(line: str, room: int) -> str:
    """The line, or as many of its sentences as there is room for."""
    if len(line) <= room:
        return line
    end = line.rfind(". ", _SENTENCE, room)
    return line[:end] if end > 0 else line


def _cut(text: str) -> str:
    if len(text) <= WIDTH:
        return text
    kept = text[: WIDTH - 1]
    at = kept.rfind(" ", WIDTH // 2)
    if at > 0 and text[WIDTH - 1] != " ":
        kept = kept[:at]
    return kept.rstrip(" ,;:·([{'\"" + _MORE) + _MORE

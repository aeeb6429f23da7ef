"""Secrets out of text and values, before anything else sees them; used in the agent's process and in the daemon.

Each secret becomes `[redacted:<kind>]`; redacting again changes nothing. A clean string costs one or two C-level
scans (the gate), whatever the number of kinds; hostile text costs time linear in its length.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from rsi.errors import ConfigError
from rsi.redact.kinds import KINDS, PLACEHOLDER, RUN, Kind

__all__ = ["KINDS", "Kind", "Redactor", "redact", "secret_name", "suspicious"]

#: Values nested deeper than this are replaced whole: ingest refuses at 32 anyway, and a cycle must end.
MAX_DEPTH: Final = 64
#: Longer keys are looked at without the cache, so that it stays small.
_CACHED_KEY: Final = 64

_TOKEN_CHARS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-./+=%:"
_RUNS: Final = bytes(0x78 if code in _TOKEN_CHARS else 0x20 for code in range(256))
_LONG: Final = b"x" * RUN
_CARD_START: Final = re.compile(r"\d{4}[ -]?\d{4}[ -]?\d\d", re.ASCII)
_PLACEHOLDERS: Final = re.compile(PLACEHOLDER)

#: What was taken out may have hidden something from an earlier kind; nothing known needs a third round.
_ROUNDS: Final = 4
#: No kind fits below this length without a space, `=` or `:`: the shortest card has 14 digits, tokens are longer.
_SHORT: Final = 14
#: A text of these alone (a UUID, a hash) holds no prefixed token: every prefix has another letter.
_HEX: Final = "0123456789abcdef-"

_SIGN: Final = tuple(kind for kind in KINDS if kind.gate == "sign" and kind.triggers)
_CARD: Final = next(kind for kind in KINDS if kind.name == "card")
_STEMS: Final = {
    stem: tuple(place for place, kind in enumerate(KINDS) if kind.gate == "word" and stem in kind.triggers)
    for stem in dict.fromkeys(trigger for kind in KINDS if kind.gate == "word" for trigger in kind.triggers)
}
#: In less than this one alternation of all prefixes is faster than looking for each.
_BRIEF: Final = 64
_PREFIXES: Final = re.compile(
    "|".join(re.escape(trigger) for kind in KINDS if kind.gate == "run" for trigger in kind.triggers)
)


_RUN_TRIGGERS: Final = tuple(
    (trigger, place) for place, kind in enumerate(KINDS) if kind.gate == "run" for trigger in kind.triggers
)

#: Endings of a key's name (letters only, lower case) whose text value is a secret.
_NAMES: Final = (
    "password", "passwd", "passphrase", "passcode", "pwd", "secret", "token", "authorization", "cookie", "cookies",
    "credential", "credentials", "apikey", "accesskey", "secretkey", "privatekey", "signingkey", "encryptionkey",
    "subscriptionkey", "accountkey", "masterkey", "authkey", "servicekey", "sessionkey", "secretaccesskey",
    "connectionstring", "cardnumber", "cvv", "cvc", "ssn",
)  # fmt: skip
#: Of those, the ones whose numbers are secrets too; `time_to_first_token: 0.3` is not.
_NUMBER_NAMES: Final = ("password", "passwd", "passcode", "pwd", "cardnumber", "cvv", "cvc", "ssn")
_SEPARATORS: Final = str.maketrans("", "", "-_. ")


def suspicious(text: str) -> bool:
    """Whether `text` may hold a secret of a built-in kind: a superset of what the patterns match, and cheap."""
    return bool(_candidates(text))


def _candidates(text: str) -> Sequence[Kind]:
    """The kinds whose gate `text` passes, in the order of the table."""
    prose = " " in text or ":" in text or "=" in text
    if not prose and len(text) < _SHORT:
        return ()
    found = [kind for kind in _SIGN if kind.triggers[0] in text] if prose else []
    if len(text) >= RUN and text.strip(_HEX) and (not prose or _has_run(text)):
        found += _run_candidates(text)
    if prose:
        found += _word_candidates(text.lower())
    if _CARD_START.search(text):
        found.append(_CARD)
    return found


def _has_run(text: str) -> bool:
    """Whether `RUN` token characters follow one another somewhere: two passes in C; a pattern takes tenfold."""
    return _LONG in text.encode("utf-8", "replace").translate(_RUNS)


def _run_candidates(text: str) -> list[Kind]:
    long = " ".join([word for word in text.split() if len(word) >= RUN])
    if len(long) < _BRIEF and not _PREFIXES.search(long):
        return []
    return [KINDS[place] for place in sorted({place for trigger, place in _RUN_TRIGGERS if trigger in long})]


def _word_candidates(low: str) -> list[Kind]:
    stems = [stem for stem in _STEMS if stem in low]
    return [KINDS[place] for place in sorted({place for stem in stems for place in _STEMS[stem]})] if stems else []


def _apply(kind: Kind, text: str) -> str:
    """`text` without the secrets of one kind; equal if there are none.

    Words are looked for in the lower-cased text: a case-blind pattern loses its literal prefix and is ten times slower.
    """
    pieces, end = [], 0
    for found in kind.pattern.finditer(_lower(text) if kind.gate == "word" else text):
        if kind.check and not kind.check(found[0]):
            continue
        pieces.append(text[end : found.start()])
        pieces += [text[slice(*found.span(group))] for group in range(1, kind.pattern.groups + 1)]
        pieces.append(f"[redacted:{kind.name}]")
        end = found.end()
    return "".join((*pieces, text[end:])) if pieces else text


def _lower(text: str) -> str:
    """Lower case of the same length: a few letters (`İ`) grow otherwise."""
    low = text.lower()
    return low if len(low) == len(text) else "".join(c.lower() if c.isascii() else c for c in text)


def secret_name(name: str) -> bool:
    """Whether the value under this key is a secret whatever it looks like: `X-API-Key`, `clientSecret`, `password`."""
    return _cached_name(name) if len(name) <= _CACHED_KEY else _ends(name, _NAMES)


def _ends(name: str, endings: tuple[str, ...]) -> bool:
    return name.lower().translate(_SEPARATORS).endswith(endings)


@lru_cache(4096)
def _cached_name(name: str) -> bool:
    return _ends(name, _NAMES)


class Redactor:
    """Takes secrets out; `extra` are regular expressions whose matches are secrets here (`redact.extra`).

    Raises:
        ConfigError: an extra pattern does not compile or matches nothing at all; names `redact.extra[i]`.
    """

    def __init__(self, extra: Sequence[str] = ()) -> None:
        self._extra = tuple(_compile(pattern, f"redact.extra[{i}]") for i, pattern in enumerate(extra))

    def text(self, text: str) -> str:
        """The text with every secret replaced; the same object if there was none."""
        for pattern in self._extra:
            text = _apply_extra(pattern, text)
        for _ in range(_ROUNDS):
            found = text
            for kind in _candidates(text):
                found = _apply(kind, found)
            if found == text:
                break
            text = found
        return text

    def value(self, value: Any) -> Any:
        """The same for dicts, lists and tuples of JSON values at any depth, and for what stands under a secret's name.

        Returns the same object if nothing changed. Keys are looked at as well.
        """
        return self._value(value, secret=False, numbers=False, depth=0)

    def _value(self, value: Any, *, secret: bool, numbers: bool, depth: int) -> Any:
        if isinstance(value, str):
            if secret and value and not _PLACEHOLDERS.fullmatch(value):
                return "[redacted:field]"
            return self.text(value)
        if isinstance(value, dict | list | tuple):
            if depth >= MAX_DEPTH:
                return "[redacted:depth]"
            if isinstance(value, dict):
                return self._dict(value, secret=secret, numbers=numbers, depth=depth + 1)
            return self._items(value, secret=secret, numbers=numbers, depth=depth + 1)
        if numbers and isinstance(value, int | float) and not isinstance(value, bool):
            return "[redacted:field]"
        return value

    def _dict(self, value: dict[Any, Any], *, secret: bool, numbers: bool, depth: int) -> dict[Any, Any]:
        out, changed = {}, False
        for key, item in value.items():
            name, hidden, digits = key, secret, numbers
            if isinstance(key, str):
                name = self.text(key)
                if secret_name(key):
                    hidden, digits = True, digits or _ends(key, _NUMBER_NAMES)
            clean = self._value(item, secret=hidden, numbers=digits, depth=depth)
            changed = changed or clean is not item or name is not key
            out[name] = clean
        return out if changed else value

    def _items(self, value: Sequence[Any], *, secret: bool, numbers: bool, depth: int) -> Sequence[Any]:
        clean = [self._value(item, secret=secret, numbers=numbers, depth=depth) for item in value]
        if all(new is old for new, old in zip(clean, value, strict=True)):
            return value
        return tuple(clean) if isinstance(value, tuple) else clean


def _compile(pattern: str, where: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"{where}: not a regular expression: {error}; got {pattern!r}", field=where) from error
    if compiled.search(""):
        raise ConfigError(f"{where}: {pattern!r} matches the empty text, so everything; make it narrower", field=where)
    return compiled


def _apply_extra(pattern: re.Pattern[str], text: str) -> str:
    spans = [found.span() for found in _PLACEHOLDERS.finditer(text)]

    def swap(found: re.Match[str]) -> str:
        start, end = found.span()
        if start == end or any(
            a < end and start < b and not (start <= a and b <= end and end - start > b - a) for a, b in spans
        ):
            return found[0]  # empty, inside a placeholder, or cutting one
        return "[redacted:extra]"

    return pattern.sub(swap, text) if pattern.search(text) else text


_BUILT_IN: Final = Redactor()


def redact(text: str) -> str:
    """`text` with every secret of the built-in kinds replaced."""
    return _BUILT_IN.text(text)

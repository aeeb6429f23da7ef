"""Which numbers are codes, by the words beside them: statuses, errno, exit codes, the numbers of databases' errors.

A status has to be one that is registered (or that a provider is known for), or `Order 417 not found` would be another
fault than `Order 583 not found`. Whether a number *could* be one does not depend on its digits (`is_place`), which is
what lets texts of one shape share what is known of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from rsi.rules.statuses import STATUSES

_CODE: Final = re.compile(r"[(\[\"']*-?\d{1,5}[)\]\"',.:;>]*")
_LONG_CODE: Final = re.compile(r"[(\[\"']*-?\d{4,5}[)\]\"',.:;>]*")
_STATUS: Final = re.compile(r"[(\[\"'<]*(\d\d\d)[)\]\"',.:;>]*")
_BRACKETS: Final = re.compile(r"(?:\(\d{1,3}\)|\[\d{1,3}\])[,.:;>]*")
_STRIP: Final = "([{\"'<=:,.;)]}"

#: Words after which a number is a code, whichever …
_BEFORE_CODE: Final = frozenset({
    "status", "status_code", "statuscode", "code", "errno", "signal", "exit", "exit_code", "exitcode", "returncode",
    "winerror", "sqlstate", "rc",
})  # fmt: skip
_CODE_ENDS: Final = (
    "status_code", "errno", "exit_code", "code", "状态码", "错误码", "ステータスコード", "エラーコード", "코드",
    "código", "codice", "код",
)  # fmt: skip
#: … `exited with 137`, `terminated (143)` …
_EXITED: Final = frozenset({"exited", "exits", "terminated", "died", "exit", "killed"})
#: … and after which one of four or five digits is: `ERROR 1045`, `error 40001`, `JSON-RPC error -32601`.
_ERROR: Final = frozenset({"error", "err", "fehler", "erreur", "errore", "erro"})
#: Words after which a number is a status if it is one, whatever follows …
_PROTOCOL: Final = re.compile(r"https?(?:/\d(?:\.\d)?)?")
#: … or if what was answered ends there: `upstream returned 502`, `got 401 from the server`.
_ANSWERED: Final = frozenset({
    "returned", "returns", "responded", "replied", "answered", "answers", "got", "received", "upstream", "gateway",
    "error", "err", "response", "failed", "said", "gave", "sent", "resp",
})  # fmt: skip
_ANSWERED_WITH: Final = frozenset(
    {"responded", "replied", "failed", "failing", "answered", "errored", "rejected", "ended"}
)
_AFTER_ANSWER: Final = frozenset({
    "", "from", "for", "on", "error", "errors", "response", "status", "while", "when", "during", "at", "by", "after",
    "-", "\u2013", "|", "and", "body", "received", "returned", "in",
})  # fmt: skip
_IS: Final = frozenset({"is", "was", "were", "of", "=", ":"})
_PAUSES: Final = ":-|"
#: Words before which one is a status: `a 503 response`.
_BEFORE_NOUN: Final = frozenset({"status", "response", "error", "responses", "errors"})
_FAILED: Final = frozenset({
    "failed", "failure", "error", "errors", "errored", "response", "status", "http", "denied", "rejected", "refused",
    "unavailable", "forbidden", "unauthorized",
})  # fmt: skip
#: Words that may stand before `404 not found`; after any other word it is somebody's number.
_LEADS: Final = _ANSWERED | _FAILED | _IS | frozenset({"a", "an", "with", "code", "http", "https", "client", "server"})
#: Reason phrases (RFC 9110, and what providers say instead), lower case.
_REASONS: Final = {
    **{one.value: (one.phrase.lower(),) for one in HTTPStatus},
    400: ("bad request", "invalid_argument", "failed_precondition"),
    401: ("unauthorized", "unauthorised", "unauthenticated", "authentication"),
    403: ("forbidden", "permission_denied"),
    404: ("not found", "not_found"),
    408: ("request timeout", "request time-out"),
    413: ("request entity too large", "payload too large", "content too large"),
    422: ("unprocessable entity", "unprocessable content"),
    429: ("too many requests", "resource_exhausted", "rate limit", "quota"),
    500: ("internal server error", "internal error", "internal"),
    503: ("service unavailable", "service temporarily unavailable", "unavailable", "overloaded"),
    504: ("gateway timeout", "gateway time-out", "deadline_exceeded"),
    529: ("overloaded", "site is overloaded"),
}
#: What clients write behind any of them: `404 Client Error: …`.
_ANY_REASON: Final = ("client error", "server error")
_REASON_WORDS: Final = 3


def is_code(words: Sequence[str], place: int) -> bool:
    """Whether the word in this place is a number that tells errors apart."""
    word = words[place]
    if not _CODE.fullmatch(word):
        return False
    if _is_counted_code(words, place):
        return True
    found = _STATUS.fullmatch(word)
    return found is not None and int(found[1]) in STATUSES and _is_place(words, place, int(found[1]))


def status(word: str) -> str:
    """The three digits of a word that is a known status and nothing else, else an empty text."""
    found = _STATUS.fullmatch(word)
    return found[1] if found and int(found[1]) in STATUSES else ""


def is_place(words: Sequence[str], place: int) -> bool:
    """Whether a status could stand here: asks whether there are digits, never which."""
    return _STATUS.fullmatch(words[place]) is not None and not _is_counted_code(words, place)


def _is_counted_code(words: Sequence[str], place: int) -> bool:
    """A number that is a code whatever its digits are."""
    word = words[place]
    before = _beside(words, place - 1)
    if before in _BEFORE_CODE or before.endswith(_CODE_ENDS):
        return True
    if before in _EXITED and _BRACKETS.fullmatch(word):
        return True
    if before in ("with", "by") and _beside(words, place - 2) in _EXITED:
        return True
    return before in _ERROR and _LONG_CODE.fullmatch(word) is not None


def _is_place(words: Sequence[str], place: int, code: int) -> bool:
    """Whether this status stands where statuses stand."""
    word, before, after = words[place], _beside(words, place - 1), _beside(words, place + 1)
    if len(words) == 1 or _PROTOCOL.fullmatch(before) or _is_reason(words, place, code):
        return True
    if _BRACKETS.fullmatch(word.lstrip("<")):
        return not place or before in _FAILED
    ends = after in _AFTER_ANSWER or not (word[-1].isdigit() or word[-1] in ")]>")
    if not place:
        return ends or words[1][:1].isupper()
    return _is_said(words, place, before, after) or (ends and _is_answer(words, place, before))


def _is_said(words: Sequence[str], place: int, before: str, after: str) -> bool:
    """`a 503 response`, `status was 503`, `error: 503 whatever`."""
    if before in ("a", "an"):
        return after in _BEFORE_NOUN
    if before in _IS:
        return _beside(words, place - 2) in _BEFORE_CODE | _BEFORE_NOUN
    return before in _ERROR and words[place - 1].endswith(":")


def _is_answer(words: Sequence[str], place: int, before: str) -> bool:
    """`got 503`, `failed with 503`, `forbidden: 403`."""
    if before == "with":
        return _beside(words, place - 2) in _ANSWERED_WITH
    return before in _ANSWERED or (words[place - 1][-1:] in _PAUSES and before in _LEADS)


def _is_reason(words: Sequence[str], place: int, code: int) -> bool:
    """Whether this status' reason phrase follows: in capitals, or not behind the name of something."""
    if not words[place][-1].isdigit() and words[place][-1] not in ":,)":
        return False
    behind = [_beside(words, place + 1 + n) for n in range(_REASON_WORDS)]
    said = " ".join(behind).strip()
    if not said.startswith((*_REASONS.get(code, ()), *_ANY_REASON)):
        return False
    before = words[place - 1] if place else ""
    return (
        words[place + 1].strip(_STRIP)[:1].isupper() or not before[-1:].isalnum() or _beside(words, place - 1) in _LEADS
    )


def _beside(words: Sequence[str], place: int) -> str:
    return words[place].strip(_STRIP).lower() if 0 <= place < len(words) else ""

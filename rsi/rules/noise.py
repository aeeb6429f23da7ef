r"""What a text carries beside its message: `\u00e9` for é, log prefixes, attempts, ids and logger names in JSON.

An agent that is called `reviewer` or a run that is called `timeout-test` must not decide what went wrong.
"""

from __future__ import annotations

import re
from typing import Final

_ESCAPED: Final = re.compile(r"\\u(?:(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})|([0-9a-f]{4}))", re.IGNORECASE)
_SURROGATES: Final = range(0xD800, 0xE000)
#: JSON and dict pairs whose value says where or when, never what (`quotaId` says which limit).
_KEYS: Final = (
    r"(?!quota)(?:[a-z]{1,12}[_-]?)?(?:id|ids|uuid|sha|guid)|timestamp|ts|time|at|date|datetime|since|until|level|severity|levelname|logger|logger_?name|name_?space"
    r"|host|host_?name|pod|node_?name|pid|process|thread|thread_?name|worker|env|environment|region|zone|service|svc"
    r"|app|application|component|module|agent|agent_?name|session|run|step|step_?name|turn|lane|line|line_?no|file|file_?name|func_?name"
    r"|version|release|elapsed\w{0,6}|duration\w{0,6}|latency\w{0,6}|attempt|attempts|seq|n|index|labels|tags|links?|docs?|help|url|uri"
)
_PAIR: Final = re.compile(
    rf"(?<![\w\\])\\?[\"'](?:{_KEYS})\\?[\"']\s{{0,3}}:\s{{0,3}}"
    r"(?:\\?\"[^\"\\\n]{0,200}\\?\"|\\?'[^'\\\n]{0,200}\\?'|-?[\d.]{1,24}|true|false|null|None)(?![\w.])\s{0,2},?",
    re.IGNORECASE,
)
_LEVEL: Final = r"(?:TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERR(?:OR)?|CRIT(?:ICAL)?|FATAL|SEVERE|PANIC|[EWIF])"
_WHEN: Final = r"(?:\d{4}[-/.]\d\d[-/.]\d\d[T ]?)?\d\d:\d\d(?::\d\d)?(?:[.,]\d{1,9})?(?:Z|[ ]?[+-]\d\d:?\d\d)?"
_FIELD: Final = (
    r"(?:\[[^\]\n]{1,60}\]|\w[\w.-]{0,60}=[^\s=]{1,60}|[A-Za-z][\w/-]{0,60}(?:\.[\w-]{1,60}){0,6}(?::\d{1,6})?)"
)
#: `2025-05-01 04:12:08,666 [WARN] runner.loop:128 - `, `ERROR:runner:`, `[svc] ERROR: `, `2025-… app-1 CRITICAL | `
_PREFIX: Final = re.compile(
    rf"(?m)^\W{{0,3}}(?:\[?{_WHEN}\]?[\s,|-]{{1,4}}(?:{_FIELD}(?:\s[|\s-]{{0,3}}|\|)){{0,4}}?\[?{_LEVEL}\]?(?!\w)"
    rf"(?:(?:\s?[|:-]\s|\s){_FIELD}){{0,3}}?\s?(?::|\||-)\s"
    rf"|{_LEVEL}:[\w.-]{{1,60}}:|\[[\w.-]{{1,40}}\]\s{_LEVEL}:?\s)"
)
#: `failed after 3 attempts: `, `Giving up. Last error: `: how often somebody tried is not why it failed.
_WHO: Final = r"(?:it|we|i|the|all|call|request|operation|task|step|run|agent|job|execution|workflow|retry|retries)"
_GAVE_UP: Final = r"(?:was\s|has\s|have\s)?(?:failed|gave up|giving up|aborted|stopped|exhausted|error)\b"
_TIMES: Final = r"\s(?:after|in)\s(?:all\s)?\d{1,3}\s(?:failed\s)?(?:attempts?|tries|try|retries|times)\b"
_LAST: Final = r"(?:the\s)?(?:last|final|root)\s(?:error|exception|cause|failure)(?:\s(?:was|is))?\s?[:=-]\s{1,2}"
_TRIED: Final = re.compile(
    rf"^\W{{0,3}}(?:(?:{_WHO}\s){{0,2}}{_GAVE_UP}[\w ]{{0,16}}{_TIMES}[\w ]{{0,12}}[.,:;]\s{{1,2}}"
    rf"|(?:giving|gave)\sup[.,:;]\s{{1,2}}(?=last\s))(?:{_LAST})?(?=\S.{{12}})",
    re.IGNORECASE,
)
_REST: Final = re.compile(r"\s(?:--|\|)\s(?:context|details?|extra|metadata): ")
_LAST_PAIR: Final = re.compile(r"\s(?:run|req|request|trace|session|task|job)(?:_?id)?=[\w-]{4,64}\s{0,3}$")
_TAIL: Final = 100


def decoded(text: str) -> str:
    r"""The text with JSON's `\uXXXX` as the characters they are."""
    return _ESCAPED.sub(_character, text) if "\\u" in text else text


def bare(text: str) -> str:
    """The text without what only says where and when; may be the same."""
    if ":" in text or "|" in text:
        text = _TRIED.sub("", _PREFIX.sub("", text))
    if '"' in text or "'" in text:
        text = _PAIR.sub(" ", text)
    rest = _REST.search(text)
    if rest:
        text = text[: rest.start()]
    pair = _LAST_PAIR.search(text[-_TAIL:]) if "=" in text else None
    return text[: pair.start() - len(text[-_TAIL:])] if pair else text


def _character(found: re.Match[str]) -> str:
    if found[1]:
        return chr(0x10000 + (int(found[1], 16) - 0xD800) * 0x400 + int(found[2], 16) - 0xDC00)
    code = int(found[3], 16)
    return found[0] if code in _SURROGATES else chr(code)

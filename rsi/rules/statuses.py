"""Which numbers of a text are HTTP statuses: those that stand where a status stands, never mere counts or ids.

Whether a number *could* be one does not depend on its digits, which is what `rsi.rules.alike` rests on.
"""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Final

FIRST: Final = 2  # a number this near the start (after a bracket or quote) may stand alone
MAX_NUMBERS: Final = 40
_LOOK: Final = 40  # characters before a number that may say what it is

_NUMBER: Final = re.compile(r"(?<![a-z0-9_.,$#/-])[45]\d\d(?=s?(?![a-z0-9_]))(?![.,]\d|[-/]\w|%)")
#: What makes a three-digit number an HTTP status: the words before it …
_BEFORE: Final = re.compile(
    r"(?:(?<!exit )(?<!exit_)(?:errors?|status|https?|code|response|status_?code|error_?code|reason)"
    r"(?:/\d(?:\.\d)?)?(?: (?:status|code))?(?: (?:was|is|of|from server))?"
    r"|(?:returned|returns|return|got|gets|getting|received|responded|responds|replied|answered|answers|failed|failing|threw"
    r"|gave|gives|sent|saw|seeing|hit|with)(?: (?:an?|with|http|status|code|error|many|another|back)){0,3}"
    r"|too many|\ban?|\bdevolvió|\bfehler|\berreur|\bcódigo|\berrore|\berro|\bfout|\bbłąd|\bhata"
    r"|ошибк[аиу]|статус|код|خطأ|الخطأ|त्रुटि|错误码?|状态码|返回了?|エラー|에러|오류|코드)[\s\\:='\"(\[]{0,6}$"
)
#: … or those after it …
_AFTER: Final = re.compile(
    r"s?[\s:\-'\")\]]{0,3}(?:too many requests|unauthori[sz]ed|forbidden|not found|bad request|payment required"
    r"|conflict|gone|request timeout|request entity|payload too|content too|unprocessable|service unavailable"
    r"|service temporarily|internal (?:server )?error|bad gateway|gateway time|not implemented|method not|overloaded"
    r"|client error|server error|resource_exhausted|resource has been|unavailable|invalid_argument|permission_denied"
    r"|unauthenticated|not_found|internal\b|deadline_exceeded|failed_precondition|error|status|from\b|response"
    r"|http\b|rate limit|quota|fehler|erreur|fout\b|hata|ошибк|错误|エラー|오류|에러|त्रुटि)"
)
#: … unless it counts something.
_UNIT: Final = re.compile(
    r"\s?(?:rows?|results?|items?|records?|files?|lines?|tokens?|ms|sec|secs|seconds?|minutes?|bytes?|chars?|characters"
    r"|times|kb|mb|gb|k|pages?|orders?|users?|documents?|chunks|words|points|entries|tests?|passed|steps|usd|eur|dollars"
    r"|requests? (?:per|processed|served))\b|\s?[条件个行次回個개건]"
)
_ALONE: Final = re.compile(r"[\s\"'\[({<]{0,4}$")
_ALONE_AFTER: Final = re.compile(r"[\s\"'\])}>]{0,2}(?:[:;,.\-\u2013]|$|[a-z{\[<])")
STATUSES: Final = frozenset(
    {*range(400, 432), 440, 444, 449, 451, 498, 499, *range(500, 512), *range(520, 531), 598, 599}
)
#: The word right before a number …
_NAMING: Final = re.compile(r"(?<![^\s(\[\"'])([a-z]{2,40})(?:'s)? ?[ #(]$")
#: … owns it (`task 401 not found`, `order (403) was lost`), unless it speaks of answers, or names no thing.
#: … who answers …
_WHO: Final = frozenset({
    "api", "server", "client", "service", "endpoint", "backend", "upstream", "gateway", "proxy", "provider",
    "llm", "host", "site", "rest", "rpc", "http", "https", "web", "webhook", "balancer", "ingress", "sidecar",
    "nginx", "apache", "envoy", "haproxy", "traefik", "cloudflare", "cloudfront", "alb", "elb", "cdn", "lambda",
    "openai", "anthropic", "bedrock", "gemini", "vertex", "azure", "mistral", "cohere", "groq", "litellm",
    "ollama", "vllm", "huggingface", "deepseek", "xai", "openrouter", "replicate", "perplexity", "claude", "gpt",
    "chatgpt", "google", "aws", "github", "get", "post", "put", "delete", "patch", "head",
})  # fmt: skip
#: … what an answer is, and what is said of it …
_WHAT: Final = frozenset({
    "error", "errors", "err", "status", "statuses", "code", "codes", "response", "responses", "resp", "reply",
    "answer", "exception", "failure", "result", "errno", "exit", "signal", "failed", "failing", "fails",
    "errored", "rejected", "denied", "refused", "unavailable", "forbidden", "unauthorized", "throttled",
    "blocked", "returned", "returns", "return", "returning", "responded", "responds", "responding", "replied",
    "answered", "answers", "got", "gets", "getting", "received", "receives", "receiving", "threw", "throws",
    "gave", "gives", "sent", "saw", "sees", "seeing", "hit", "hits", "hitting", "said", "says", "raised",
    "raises", "caught",
})  # fmt: skip
#: … words that no id follows …
_BETWEEN: Final = frozenset({
    "with", "was", "is", "of", "an", "and", "or", "then", "but", "by", "to", "from", "for", "on", "in", "at",
    "as", "the", "that", "this", "not", "no", "only", "still", "just", "again", "always", "also", "many",
    "another", "back", "be", "been", "are", "were", "after", "before", "when", "while", "if", "because", "due",
    "via", "like", "it", "we", "you", "they", "he", "she", "consistent", "constant", "intermittent", "occasional",
    "persistent", "repeated", "unexpected", "random", "transient", "plain", "bare",
})  # fmt: skip
_ANSWERS: Final = _WHO | _WHAT | _BETWEEN
#: Nothing reads it, and it is a number all the same.
_NO_STATUS: Final = "777"
_CLASSES: Final = ("error", "exception", "fault")
#: Digits that look like a status behind a word …
_OWNED: Final = re.compile(
    r"(?<![^\s(\[\"'])([A-Za-z]{2,40})(?:'s)? (?:#?(?=[45]\d\d(?![\w%/-]|[.,]\d))|\((?=[45]\d\d\)\s\w))([45]\d\d)"
)
_INSIDE: Final = re.compile(r"\)\s\w")
_OWNABLE: Final = re.compile(r"[a-z] [#(]?[45][0-9][0-9](?![0-9])", re.IGNORECASE)
#: `got 429 widgets`: what is counted; but `got 503 errors`, `429 means`, `a 502 this time`.
_COUNTED: Final = re.compile(
    r"\s(?!(?:errors|responses|statuses|codes|replies|answers|failures|exceptions|status|requests|this|its|was|is|as|has"
    r"|does|says|means|always|across|keeps|occurs|happens|unless|plus|times|perhaps|thus|sometimes|comes|goes|seems"
    r"|appears|persists|hits|gets|indicates|tells|remains|continues|starts|stops)\b)[a-z]{3,20}[a-rt-z]s\b"
)
_COUNTS: Final = re.compile(r"(?:got|gets|getting|received|returned|returns|found|gave|gives|sent|saw|with) $")


def http_statuses(low: str) -> frozenset[int]:
    """HTTP statuses in lower-cased text: 4xx and 5xx numbers that stand where a status stands, never mere counts."""
    found = set()
    for number, match in enumerate(_NUMBER.finditer(low)):
        if number == MAX_NUMBERS:
            break
        value = int(match[0])
        if value in STATUSES and _is_status(low, match.start(), match.end()):
            found.add(value)
    return frozenset(found)


def _is_status(low: str, start: int, end: int) -> bool:
    before = low[max(0, start - _LOOK) : start]
    if _UNIT.match(low, end) or (_COUNTS.search(before) and _COUNTED.match(low, end)):
        return False
    if _BEFORE.search(before):
        return True
    if _is_owned(before, low[end : end + 3]):
        return False
    if _AFTER.match(low, end):
        return True
    if start <= FIRST and _ALONE.search(before):
        return bool(_ALONE_AFTER.match(low, end))
    return before.endswith("(") and low[end : end + 1] == ")"


def without_owned(text: str, named: Container[str] = ()) -> str:
    """The text with 777 for numbers that only look like statuses: `task 401 not found` says nothing of 401.

    Args:
        text: any text.
        named: numbers that stay, because a rule names them.
    """

    def without(found: re.Match[str]) -> str:
        kept = not _owns(found[1].lower()) or found[2] in named
        return found[0] if kept else f"{found[0][:-3]}{_NO_STATUS}"

    return _OWNED.sub(without, text) if _OWNABLE.search(text) else text


def _is_owned(before: str, after: str) -> bool:
    """Whether a number is somebody's: `task 401`; in brackets only inside of a sentence."""
    found = _NAMING.search(before)
    if found is None or not _owns(found[1]):
        return False
    return not before.endswith("(") or _INSIDE.match(after) is not None


def _owns(word: str) -> bool:
    return word not in _ANSWERS and not word.endswith(_CLASSES)

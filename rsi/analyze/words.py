"""English that says what a word beside it is: nouns that have named instances, and words that are nobody's name."""

from __future__ import annotations

import re
from typing import Final

#: Nouns that have instances with names of their own, so that the word after them is whose, not what.
INSTANCES: Final = frozenset({
    "account", "block", "broker", "bucket", "container", "customer", "device", "disk", "domain", "host", "hostname",
    "instance", "login", "machine", "member", "node", "partition", "peer", "pod", "queue", "replica", "session",
    "shard", "tenant", "topic", "user", "username", "volume", "worker",
})  # fmt: skip
#: Nouns before the name of *what* failed, which is never a value however many there are: `Tool search failed`.
IDENTITIES: Final = frozenset({
    "action", "agent", "api", "attribute", "class", "command", "dependency", "endpoint", "error", "event", "exception",
    "field", "function", "import", "library", "method", "model", "module", "operation", "option", "package",
    "parameter",
    "plugin", "program", "service", "step", "task", "tool", "type", "variable",
})  # fmt: skip
#: Words with a verb behind them: what was done is never a value.
VERBS_AFTER: Final = frozenset({
    "and", "can", "cannot", "could", "did", "do", "does", "may", "must", "not", "or", "please", "shall", "should", "to",
    "will", "would", "t",
})  # fmt: skip
#: Keys whose quoted values are codes: `'type': 'overloaded_error'`.
CODED_KEYS: Final = frozenset(
    {"class", "code", "error", "errorcode", "kind", "name", "reason", "status", "type", "__type"}
)
#: What somebody has: `password for root`.
OWNED: Final = frozenset({
    "credentials", "failures", "lease", "login", "passphrase", "password", "publickey", "session",
})  # fmt: skip
#: Fields whose yes or no is the outcome itself, so that it is no value.
OUTCOMES: Final = frozenset({
    "alive", "allowed", "authenticated", "authorized", "connected", "enabled", "error", "exists", "failed", "found",
    "healthy", "ok", "passed", "ready", "success", "successful", "valid", "verified",
})  # fmt: skip
#: Function words and states: `user unknown`, `node is`. With the endings below, what stands there is not a name.
_NOT_NAMES: Final = frozenset({
    "a", "abort", "aborts", "active", "alive", "already", "also", "always", "an", "and", "are", "as", "at",
    "available", "away", "bad", "be", "been", "begin", "begins", "being", "blank", "busy", "but", "by", "can",
    "cannot", "clean", "close", "complete", "corrupt", "could", "crash", "crashes", "dead", "deny", "did", "dirty",
    "disconnect", "do", "does", "down", "due", "empty", "end", "ends", "error", "errors", "exit", "exits", "fail",
    "fails", "failure", "false", "fault", "first", "for", "from", "full", "gone", "had", "halt", "hang", "has",
    "have", "he", "healthy", "her", "high", "his", "hung", "id", "idle", "ids", "if", "in", "inactive",
    "incomplete", "inconsistent", "incorrect", "info", "initial", "input", "into", "invalid", "is", "it", "its",
    "last", "left", "limit", "limits", "local", "lost", "low", "may", "might", "mismatch", "missing", "must",
    "name", "names", "neither", "never", "new", "next", "no", "nobody", "none", "nor", "not", "null", "of", "off",
    "offline", "ok", "okay", "old", "on", "online", "only", "onto", "open", "or", "other", "our", "out", "output",
    "over", "pass", "passes", "password", "pause", "per", "profile", "quota", "ready", "reject", "remote", "resume",
    "right", "role", "running", "safe", "same", "shall", "she", "should", "shut", "silent", "size", "slow", "so",
    "start", "starts", "state", "status", "stop", "stops", "success", "successful", "successfully", "sync", "than",
    "that", "the", "their", "them", "then", "there", "these", "they", "this", "those", "timeout", "to", "token",
    "too", "true", "type", "unavailable", "under", "unhealthy", "unknown", "unsafe", "unset", "until", "up", "upon",
    "valid", "value", "via", "warning", "was", "we", "were", "when", "where", "which", "while", "who", "will",
    "with", "without", "would", "yes", "yet", "you", "your", "zero",
})  # fmt: skip
_NOT_ENDINGS: Final = ("ed", "ing", "able", "ible", "ful", "less", "ly", "n't")
_NAME: Final = re.compile(r"[A-Za-z][\w.-]{0,63}")


def is_name(word: str) -> bool:
    """Whether a word of letters may be somebody's or something's name: no function word, state or verb form."""
    lower = word.lower()
    return _NAME.fullmatch(word) is not None and lower not in _NOT_NAMES and not lower.endswith(_NOT_ENDINGS)

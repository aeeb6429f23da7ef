"""A non-zero exit is often normal work: nothing found, files differ, a test that is red while it is being written.

What is normal is read from the command's last program and its exit code, never from its output.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypeAlias

import msgspec

SHELL: Final = "Bash"
EDITORS: Final = frozenset({"Edit", "MultiEdit", "Write", "NotebookEdit"})

#: `answer`: the exit code says "no". `red`: tests failed, which is normal while somebody works on the code.
Kind: TypeAlias = Literal["failure", "answer", "red"]

_EXIT: Final = re.compile(r"\A(?:Error: )?Exit code (\d{1,3})\b")
#: Exit code 1 is how these say no (POSIX grep, diff, cmp and test; ripgrep and git follow them).
_ANSWERS: Final = frozenset({"grep", "egrep", "fgrep", "zgrep", "rg", "ag", "diff", "cmp", "test", "[", "[["})
_GIT_ANSWERS: Final = frozenset({"grep", "diff"})
_RUNNERS: Final = frozenset(
    {
        "pytest", "py.test", "unittest", "tox", "nox", "jest", "vitest", "mocha", "ava", "rspec", "phpunit", "ctest",
        "pest", "nose2", "playwright", "cypress", "minitest", "gotestsum",
    }
)  # fmt: skip
#: Programs of which a word of their command line says whether they run tests.
_BUILDERS: Final = frozenset(
    {
        "npm", "yarn", "pnpm", "bun", "deno", "cargo", "go", "make", "just", "mvn", "mvnw", "gradle", "gradlew",
        "dotnet", "bazel", "mix", "swift", "rake", "rails", "sbt", "lein", "zig", "composer", "hatch", "django-admin",
    }
)  # fmt: skip
_TEST_WORD: Final = re.compile(r"(?:tests?|nextest|check|spec|verify)(?:[:_-].*)?|.*[:_-]tests?")
#: What these exit with when tests failed; all others with 1. (pytest's 2 to 5 are usage, internal errors, no tests.)
_RED: Final[Mapping[str, frozenset[int]]] = {"cargo": frozenset({101, 100}), "make": frozenset({1, 2})}
_ONE: Final = frozenset({1})
#: Programs that run the one behind them, and how many of their words come first at least.
_WRAPPERS: Final[Mapping[str, int]] = {
    "sudo": 0, "time": 0, "nice": 0, "env": 0, "exec": 0, "command": 0, "npx": 0, "bunx": 0, "uvx": 0, "xvfb-run": 0,
    "timeout": 1,
}  # fmt: skip
_RUN: Final = frozenset({"uv", "poetry", "pipenv", "pdm", "rye", "hatch", "conda", "bundle"})
_RUN_WORDS: Final = frozenset({"run", "exec"})
_PYTHON: Final = re.compile(r"(?:python|pypy)(?:\d+(?:\.\d+)*)?")
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w*=.*")
_SEPARATORS: Final = frozenset({"&&", "||", ";", "|", "|&", "&", "\n"})
#: Redirections whose `&` separates nothing.
_REDIRECTIONS: Final = re.compile(r"\d?>&\d?-?|&>>?")
_MAX_CHARS: Final = 20_000  # of a command: what is longer holds a document, and its last program is not worth a search


class Work(msgspec.Struct, frozen=True):
    """What a failed tool call was: its kind, the program that ended it and how, where that is known."""

    kind: Kind = "failure"
    program: str | None = None
    exit_code: int | None = None

    @property
    def says(self) -> str:
        """Why it is no failure, in words that the rules know."""
        where = " while the code is being edited" if self.kind == "red" else ""
        return f"Exit code {self.exit_code} is normal for {self.program}{where}."


def judge(tool: str, tool_input: object, error: str, *, editing: bool | None = None) -> Work:
    """What this failed call was.

    Args:
        tool: its name.
        tool_input: what it was called with.
        error: what came back.
        editing: whether the session edits code, which makes red tests normal; `None`: not known yet, then they are
            `red` and somebody who knows decides.
    """
    work = _judge(tool, tool_input, error)
    return Work("failure", work.program, work.exit_code) if work.kind == "red" and editing is False else work


def _judge(tool: str, tool_input: object, error: str) -> Work:
    found = _EXIT.match(error)
    code = int(found[1]) if found else None
    command = tool_input.get("command") if isinstance(tool_input, Mapping) else None
    if tool != SHELL or code is None or not isinstance(command, str):
        return Work(exit_code=code)
    words, chained = _last(command)
    program = _program(words)
    if program is None:
        return Work(exit_code=code)
    silent = not error[found.end() :].strip() if found else False
    if code == 1 and program in _ANSWERS and (silent or not chained):
        return Work("answer", program, code)
    if code in _RED.get(program.partition(" ")[0], _ONE) and program not in _ANSWERS and _tests(words):
        return Work("red", program, code)
    return Work("failure", program, code)


def exit_code(error: str) -> int | None:
    """The exit code that a shell tool's error begins with."""
    found = _EXIT.match(error)
    return int(found[1]) if found else None


def _last(command: str) -> tuple[list[str], bool]:
    """The words of the simple command whose exit code counts, and whether an earlier one may have ended it."""
    words = _words(command[:_MAX_CHARS]) if len(command) <= _MAX_CHARS else []
    at = max((n for n, word in enumerate(words) if word in _SEPARATORS), default=-1)
    chained = any(word == "&&" for word in words[: at + 1])
    return words[at + 1 :], chained


def _words(command: str) -> list[str]:
    plain = _REDIRECTIONS.sub(" > ", command.strip()).replace("\n", " ; ")
    lexer = shlex.shlex(plain, posix=True, punctuation_chars=";&|")
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        return list(lexer)
    except ValueError:  # an open quote: a here-document, most often
        return []


def _program(words: Sequence[str]) -> str | None:
    """`FOO=1 uv run pytest -q` → `pytest`; `git diff` → `git diff`, of which `diff` answers."""
    words = _unwrapped(words)
    if not words:
        return None
    name = words[0].rpartition("/")[2]
    rest = [word for word in words[1:] if not word.startswith("-")]
    if name == "git":
        sub = rest[0] if rest else ""
        return sub if sub in _GIT_ANSWERS else f"git {sub}".strip()
    if _PYTHON.fullmatch(name) and len(words) > 2 and words[1] == "-m":  # noqa: PLR2004 - python -m module
        return words[2]
    return name


def _unwrapped(words: Sequence[str]) -> Sequence[str]:
    """Without assignments in front and programs that only run another."""
    while words:
        name = words[0].rpartition("/")[2]
        if _ASSIGNMENT.fullmatch(words[0]):
            words = words[1:]
        elif name in _WRAPPERS:
            words = _after_options(words[1:])[_WRAPPERS[name] :]
        elif name in _RUN and len(words) > 1 and words[1] in _RUN_WORDS:
            words = _after_options(words[2:])
        else:
            break
    return words


def _after_options(words: Sequence[str]) -> Sequence[str]:
    at = next((n for n, word in enumerate(words) if not word.startswith("-")), len(words))
    return words[at:]


def _tests(words: Sequence[str]) -> bool:
    words = _unwrapped(words)
    program = _program(words)
    if program in _RUNNERS:
        return True
    return program in _BUILDERS and any(_TEST_WORD.fullmatch(word) for word in words[1:4] if not word.startswith("-"))

"""`rsi rules check` and `rsi rules test`: are the rules well-formed, and do they do what their examples say."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from rsi.rules.fixes import FixFacts, match_fix, matching_fixes
from rsi.rules.loader import TEST_SUFFIX, builtin_dir, load, load_file, load_lists, rule_files
from rsi.rules.match import Matcher
from rsi.rules.prototypes import FOLDER, load_prototype_file, load_prototypes
from rsi.rules.shape import FixRule, Kind
from rsi.rules.source import LocatedRuleError, Place, Problem, Source, read

KINDS: Final[tuple[Kind, ...]] = ("classify", "fix")


class _Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Example(_Shape, frozen=True):
    """An error as it arrives: the arguments of `classify`."""

    text: str = ""
    error_type: str | None = None
    status: int | None = None
    provider: str | None = None


class ClassifyExamples(_Shape, frozen=True):
    """`X.test.yaml` beside `rules/classify/X.yaml`."""

    must: list[str | Example] = []
    must_not: list[str | Example] = []


class FixCase(_Shape, frozen=True):
    """Facts in, a rule's change or `silence` out; `why` must stand in the reason that the rule gives."""

    facts: FixFacts
    expect: Literal["silence"] | dict[str, Any]
    why: str = ""


class FixExamples(_Shape, frozen=True):
    """`X.test.yaml` beside `rules/fix/X.yaml`."""

    cases: list[FixCase] = []


class RuleResult(msgspec.Struct, frozen=True):
    """One rule, or one file's examples: `passed` of `total`, and what failed."""

    file: str
    rules: tuple[str, ...]
    passed: int
    total: int
    failures: tuple[Problem, ...] = ()

    @property
    def ok(self) -> bool:
        """Nothing failed."""
        return not self.failures


def check(paths: Iterable[Path]) -> list[Problem]:
    """Everything wrong in rule files or folders of them.

    Word lists beside them have to fit the built-in rules, which they may add to.
    A folder is searched for `classify/`, `fix/` and `prototypes/`; a file's kind is the name of its folder.
    """
    problems: list[Problem] = []
    for path in paths:
        if not path.exists():
            problems.append(Problem(str(path), 1, "file", "does not exist"))
        words, broken = load_lists(_word_folders(path))
        problems += broken
        for kind, file in _files(path):
            problems += [found for found in load_file(kind, file, "user", words) if isinstance(found, Problem)]
            beside = file.with_name(file.name.removesuffix(".yaml") + TEST_SUFFIX)
            if not beside.exists():
                problems.append(Problem(str(file), 1, "file", f"has no {beside.name} beside it; write its examples"))
        problems += _prototype_problems(path)
    return problems


def warnings(paths: Iterable[Path], never: Mapping[str, Collection[str]]) -> list[Problem]:
    """What is well-formed in rules for fixes and does nothing.

    Args:
        paths: rule files or folders of them, as in `check`.
        never: knob → categories that never get it, whatever a rule says.
    """
    found: list[Problem] = []
    for kind, file in (pair for path in paths for pair in _files(path)):
        rules = load_file(kind, file, "user", {}) if kind == "fix" else ()
        found += [_in_vain(rule, never) for rule in rules if isinstance(rule, FixRule) and _vain(rule, never)]
    return found


def _vain(rule: FixRule, never: Mapping[str, Collection[str]]) -> list[str]:
    """The categories of a rule that its knob is never given for."""
    if rule.change is None:
        return []
    value = rule.change.value
    named = [*rule.categories, *((value.get("on") or ()) if isinstance(value, Mapping) else ())]
    return [name for name in dict.fromkeys(named) if name in never.get(rule.change.knob, ())]


def _in_vain(rule: FixRule, never: Mapping[str, Collection[str]]) -> Problem:
    knob = rule.change.knob if rule.change else ""
    message = f"no fix ever gives {knob} for {', '.join(_vain(rule, never))}, whatever a rule says; take them out"
    return Problem(rule.file, rule.line, "categories", f"{rule.id}: {message}")


def _word_folders(path: Path) -> list[Path]:
    """Where a folder of rules, or one of its files, may have word lists of its own."""
    beside = path if path.is_dir() else path.parent.parent
    return [] if beside.resolve() == builtin_dir().resolve() else [beside]


def _prototype_problems(path: Path) -> list[Problem]:
    """Of a file, of a folder of prototypes, or of a folder that holds one; twice the same text counts there only."""
    if path.is_file():
        found = load_prototype_file(path, "user") if path.parent.name == FOLDER else ()
        return [one for one in found if isinstance(one, Problem)]
    folder = path.parent if path.name == FOLDER else path
    inside = str((folder / FOLDER).resolve())
    return [one for one in load_prototypes([folder]).problems if str(Path(one.file).resolve().parent) == inside]


def test(kind: Kind, extra_dirs: Iterable[Path] = ()) -> list[RuleResult]:  # noqa: PT028 - not a pytest test
    """Run every `X.test.yaml`, one result for each file of rules.

    Classify examples are decided by the whole set, as in real life; a fix case only by the rules of its own file.
    """
    folders = tuple(extra_dirs)
    loaded = load(kind, folders)
    results = [RuleResult(problem.file, (), 0, 1, (problem,)) for problem in loaded.problems]
    by_file: dict[str, list[Any]] = {}
    for rule in loaded.rules:
        by_file.setdefault(rule.file, []).append(rule)
    run = _classify_runner(Matcher(loaded.rules)) if kind == "classify" else _fix_failures
    for file, rules in sorted(by_file.items()):
        results.append(_run_file(Path(file), rules, run))
    return results


test.__test__ = False  # type: ignore[attr-defined]  # pytest collects functions of this name

_Failures = Iterator[tuple[Place, str]]
_Runner = Callable[[Source, list[Any]], tuple[int, _Failures]]


def _run_file(path: Path, rules: list[Any], run: _Runner) -> RuleResult:
    ids = tuple(rule.id for rule in rules)
    beside = path.with_name(path.name.removesuffix(".yaml") + TEST_SUFFIX)
    if not beside.exists():
        missing = Problem(str(beside), 1, "file", "does not exist; write the rule's examples")
        return RuleResult(str(path), ids, 0, 1, (missing,))
    try:
        source = read(beside)
        total, found = run(source, rules)
        failures = tuple(source.error(place, message).problem for place, message in found)
    except LocatedRuleError as error:
        return RuleResult(str(path), ids, 0, 1, (error.problem,))
    return RuleResult(str(path), ids, total - len(failures), total, failures)


def _parsed(source: Source, shape: Any) -> Any:
    try:
        return msgspec.convert(source.data, shape)
    except msgspec.ValidationError as error:
        raise source.error((), str(error)) from error


def _classify_runner(matcher: Matcher) -> _Runner:
    def run(source: Source, rules: list[Any]) -> tuple[int, _Failures]:
        examples: ClassifyExamples = _parsed(source, ClassifyExamples)
        if not examples.must or not examples.must_not:
            raise source.error((), "needs `must` and `must_not` with at least one text each")
        total = len(examples.must) + len(examples.must_not)
        return total, _classify_failures(matcher, examples, {rule.category for rule in rules})

    return run


def _classify_failures(matcher: Matcher, examples: ClassifyExamples, categories: set[str]) -> _Failures:
    for key, entries, wanted in (("must", examples.must, True), ("must_not", examples.must_not, False)):
        for index, entry in enumerate(entries):
            example = Example(text=entry) if isinstance(entry, str) else entry
            rule = matcher.decide(example.text, example.error_type, example.status, example.provider)
            if (rule is not None and rule.category in categories) is not wanted:
                found = f"{rule.category} by {rule.id}" if rule else "unknown"
                yield (key, index), f"{example.text[:120]!r} is {found}"


def _fix_failures(source: Source, rules: list[Any]) -> tuple[int, _Failures]:
    examples: FixExamples = _parsed(source, FixExamples)
    if not examples.cases:
        raise source.error((), "needs `cases` with at least one case")
    return len(examples.cases), _case_failures(examples.cases, rules)


def _case_failures(cases: list[FixCase], rules: list[FixRule]) -> _Failures:
    for index, case in enumerate(cases):
        chosen = matching_fixes(rules, case.facts)
        reasons = " ".join(match_fix(rule, case.facts).why for rule in rules)
        wrong = _difference(case.expect, chosen)
        if wrong:
            yield ("cases", index, "expect"), f"{wrong} ({reasons})"
        elif case.why not in reasons:
            yield ("cases", index, "why"), f"{case.why!r} is not in: {reasons}"


def _difference(expect: str | dict[str, Any], chosen: tuple[FixRule, ...]) -> str:
    """What is not as expected; each key of `expect` names a field of the first rule that speaks or of its change."""
    if not chosen:
        return "" if expect == "silence" else "expected a rule to speak, got silence"
    if not isinstance(expect, dict):
        return f"expected silence, {chosen[0].id} speaks"
    rule = chosen[0]
    change = rule.change
    have = {"rule": rule.id, "safe": rule.safe, "knob": change and change.knob, "value": change and change.value}
    for key, value in expect.items():
        if key not in have:
            return f"{key!r} is not one of {', '.join(have)}"
        if have[key] != value:
            return f"expected {key} {value!r}, got {have[key]!r}"
    return ""


def _files(path: Path) -> Iterator[tuple[Kind, Path]]:
    for kind in KINDS:
        if path.is_file() and path.parent.name == kind:
            yield kind, path
        elif path.is_dir():
            folder = path if path.name == kind else path / kind
            yield from ((kind, file) for file in rule_files(folder))

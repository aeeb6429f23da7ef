"""Find rule files, check every rule, keep the good ones and name what is wrong with the others."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from rsi.errors import RuleError
from rsi.model import CATEGORIES, KNOBS
from rsi.rules.compiled import Shelf
from rsi.rules.fitting import fitted
from rsi.rules.pattern import PhraseError, compile_phrase
from rsi.rules.shape import KNOB_VALUES, RESERVED, ClassifyRule, Condition, FixRule, Kind, Origin, RuleSet
from rsi.rules.source import LocatedRuleError, Place, Problem, Source, read
from rsi.rules.words import Words, expand, word_files

TEST_SUFFIX: Final = ".test.yaml"
MAX_FILES: Final = 500  # of one folder

_SHAPES: Final[dict[Kind, type[Any]]] = {"classify": ClassifyRule, "fix": FixRule}
#: Built while one thread imports this module: see the end of `rsi.model`.
_READERS: Final = tuple(msgspec.json.Decoder(shape) for shape in (*_SHAPES.values(), *KNOB_VALUES.values()))
_AT: Final = re.compile(r"(?s)(.*?)(?: - at `(?:key in )?\$?(.*?)`)?$")
_STEP: Final = re.compile(r"\.([\w]+)|\[(\d+|\.\.\.)\]")
_UNKNOWN_FIELD: Final = re.compile(r"unknown field `(\w+)`")
_NAME_GLOB: Final = re.compile(r"[A-Za-z_][\w*]*|\*\w[\w*]*")
_STATUS_CLASS: Final = re.compile(r"[1-5]xx")
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")


def builtin_dir() -> Path:
    """The rules that come with rsi: packaged in a wheel, else `rules/` of the checkout.

    Raises:
        RuleError: neither is there, so the installation is broken.
    """
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "_rules", package.parent / "rules"):
        if folder.is_dir():
            return folder
    raise RuleError(f"{package}/_rules: rules: not found; reinstall rsi", field="rules")


def load(kind: Kind, extra_dirs: Iterable[Path] = (), *, keep: Path | None = None) -> RuleSet:
    """Built-in rules, then those of `extra_dirs` (folders like `<home>/rules`), which replace rules of the same id.

    A broken rule is skipped and named in `problems`; it never stops another. A missing folder is empty.

    Args:
        kind: `classify` or `fix`.
        extra_dirs: folders of rules, weakest first.
        keep: a private folder in which what was worked out of classify rules waits for the next process.
    """
    own = builtin_dir()
    sources: list[tuple[Path, Origin]] = [(own, "builtin")]
    sources += [(folder, "user") for folder in extra_dirs if folder.resolve() != own.resolve()]
    if keep is None or kind != "classify":
        return _read(kind, sources)
    folders = [folder for folder, _ in sources]
    files = [path for folder in folders for path in (*word_files(folder), *rule_files(folder / kind))]
    try:
        shelf = Shelf(keep, files, folders)
    except OSError:  # a file that cannot be read: reading says which
        return _read(kind, sources)
    held = shelf.take()
    if held is not None:
        return RuleSet(kind, held.rules, held.problems)
    found = _read(kind, sources)
    shelf.put(found.rules, found.problems)
    return found


def _read(kind: Kind, sources: Sequence[tuple[Path, Origin]]) -> RuleSet:
    rules: dict[str, Any] = {}
    words, problems = load_lists(folder for folder, _ in sources[1:]) if kind == "classify" else ({}, [])
    for folder, origin in sources:
        for path in rule_files(folder / kind):
            for found in load_file(kind, path, origin, words):
                _place(found, rules, problems)
    ordered = sorted(rules.values(), key=lambda rule: (-rule.precedence, rule.origin != "user", rule.id))
    return RuleSet(kind, tuple(ordered), tuple(problems))


def load_lists(more: Iterable[Path]) -> tuple[dict[str, tuple[str, ...]], list[Problem]]:
    """The built-in word lists with what these folders of rules add to them, and what was skipped."""
    own = builtin_dir()
    return fitted(own, more, _phrases_of(rule_files(own / "classify")))


def _phrases_of(files: Iterable[Path]) -> Iterator[str]:
    """Everything that may be a phrase in these files; a file that is broken has none."""
    for path in files:
        with contextlib.suppress(LocatedRuleError):
            yield from _texts(read(path).data)


def _texts(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, dict | list):
        for one in data.values() if isinstance(data, dict) else data:
            yield from _texts(one)


def rule_files(folder: Path) -> list[Path]:
    """The `*.yaml` of a folder that are not tests, by name."""
    return sorted(p for p in folder.glob("*.yaml") if not p.name.endswith(TEST_SUFFIX))[:MAX_FILES]


def load_file(kind: Kind, path: Path, origin: Origin, words: Words) -> Iterator[Any]:
    """Every rule of one file, or a `Problem` in its place."""
    try:
        source = read(path)
        entries = list(_entries(source))
    except LocatedRuleError as error:
        yield error.problem
        return
    for place, raw in entries:
        try:
            rule = _rule(kind, source, place, raw, words)
            yield msgspec.structs.replace(rule, origin=origin, file=source.file, line=source.line(place))
        except LocatedRuleError as error:
            yield error.problem


def _place(found: Any, rules: dict[str, Any], problems: list[Problem]) -> None:
    if isinstance(found, Problem):
        problems.append(found)
        return
    before = rules.get(found.id)
    if before is not None and before.origin == found.origin:
        message = f"{found.id!r} is already the id of {before.file}:{before.line}; choose another"
        problems.append(Problem(found.file, found.line, "id", message))
        return
    rules[found.id] = found


def _entries(source: Source) -> Iterator[tuple[Place, dict[str, Any]]]:
    """One rule, or `rules:` with the other top keys as their defaults."""
    data = source.data
    if not isinstance(data, dict):
        raise source.error((), "expected a rule, or `rules:` with a list of rules")
    if "rules" not in data:
        yield (), data
        return
    defaults = {key: value for key, value in data.items() if key != "rules"}
    if not isinstance(data["rules"], list):
        raise source.error(("rules",), "expected a list of rules")
    for index, raw in enumerate(data["rules"]):
        if isinstance(raw, dict):
            yield ("rules", index), {**defaults, **raw}
        else:
            raise source.error(("rules", index), f"expected a rule, got {type(raw).__name__}")


def _rule(kind: Kind, source: Source, place: Place, raw: dict[str, Any], words: Words) -> Any:
    for key in RESERVED & raw.keys():
        raise source.error((*place, key), "is set by the loader; remove it")
    rule = _convert(raw, _SHAPES[kind], source, place)
    if not _DATE.fullmatch(rule.date):
        raise source.error((*place, "date"), f"expected YYYY-MM-DD, got {rule.date!r}")
    if isinstance(rule, ClassifyRule):
        rule = _written_out(rule, source, place, words)
    else:
        _check_fix(rule, source, place)
    return rule


def _convert(raw: Any, shape: Any, source: Source, place: Place) -> Any:
    try:
        return msgspec.convert(raw, shape)
    except msgspec.ValidationError as error:
        found = _AT.match(str(error))
        message, where = (found[1], found[2] or "") if found else (str(error), "")
        steps: list[str | int] = [
            key or (int(index) if index.isdigit() else "...") for key, index in _STEP.findall(where)
        ]
        unknown = _UNKNOWN_FIELD.search(message)
        if unknown:
            steps.append(unknown[1])
        raise source.error((*place, *steps), message) from error


def _check_categories(names: Iterable[str], source: Source, place: Place) -> None:
    for index, name in enumerate(names):
        if name not in CATEGORIES or name == "unknown":
            raise source.error((*place, index), f"{name!r} is not a category; known are {', '.join(CATEGORIES[:-1])}")


def _written_out(rule: ClassifyRule, source: Source, place: Place, words: Words) -> ClassifyRule:
    """The rule, checked, with the word lists of its phrases written out."""
    if rule.category not in CATEGORIES or rule.category == "unknown":
        known = ", ".join(CATEGORIES[:-1])
        raise source.error((*place, "category"), f"{rule.category!r} is not a category; known are {known}")
    where = (*place, "match")
    match = rule.match
    replace = msgspec.structs.replace
    conditions = {
        key: [_condition(one, source, (*where, key, index), words) for index, one in enumerate(getattr(match, key))]
        for key in ("any", "all")
    }
    nots = _phrases(match.not_message, source, (*where, "not_message"), words)
    return replace(rule, match=replace(match, **conditions, not_message=nots))


def _condition(condition: Condition, source: Source, place: Place, words: Words) -> Condition:
    if not (condition.error_type or condition.status or condition.provider or condition.code or condition.message):
        raise source.error(place, "matches everything; give error_type, status, provider, code or message")
    for index, name in enumerate(condition.error_type):
        if not _NAME_GLOB.fullmatch(name):
            raise source.error((*place, "error_type", index), f"{name!r}: a class name with * for any letters")
    for index, status in enumerate(condition.status):
        if isinstance(status, str) and not _STATUS_CLASS.fullmatch(status):
            raise source.error((*place, "status", index), f"{status!r}: a number or a class such as 5xx")
    return msgspec.structs.replace(
        condition,
        message=_phrases(condition.message, source, (*place, "message"), words),
        not_message=_phrases(condition.not_message, source, (*place, "not_message"), words),
    )


def _phrases(phrases: Iterable[str], source: Source, place: Place, words: Words) -> list[str]:
    found = []
    for index, phrase in enumerate(phrases):
        try:
            found.append(expand(phrase, words))
            compile_phrase(found[-1])
        except PhraseError as error:
            raise source.error((*place, index), f"{phrase!r}: {error}") from error
    return found


def _check_fix(rule: FixRule, source: Source, place: Place) -> None:
    _check_categories(rule.categories, source, (*place, "categories"))
    try:
        window = rule.when.window_s
    except ValueError as error:
        raise source.error((*place, "when", "window"), str(error)) from error
    if window <= 0:
        raise source.error((*place, "when", "window"), "must be longer than nothing")
    if rule.change is None:
        if rule.safe:
            raise source.error((*place, "safe"), "advice without a change cannot be safe; remove it")
        return
    where = (*place, "change")
    if rule.change.knob not in KNOBS:
        raise source.error((*where, "knob"), f"{rule.change.knob!r} is not a knob; known are {', '.join(KNOBS)}")
    value = _convert(rule.change.value, KNOB_VALUES[rule.change.knob], source, (*where, "value"))
    _check_categories(getattr(value, "on", ()), source, (*where, "value", "on"))

"""The rules of a home: the built-in ones and its own, loaded again when a file of its own has changed."""

from __future__ import annotations

from rsi import rules
from rsi.analyze.observe import Observer
from rsi.classify import Classifier
from rsi.config import Config, Home
from rsi.pipeline.ruling import Ruling, key_of
from rsi.pipeline.taking import Taking
from rsi.rules import FixRule
from rsi.store import Store


class Rulebook:
    """The part of the pipeline that knows the rules."""

    _home: Home
    _config: Config
    _store: Store
    _taking: Taking
    _ruling: Ruling

    def __init__(self) -> None:
        self._rules_seen: object = None
        self._fix_rules: dict[str, FixRule] = {}
        self._problems: dict[str, list[str]] = {}
        self._classify_seen: list[tuple[str, int, int]] = []

    def _load_rules(self) -> None:
        """The rules, again when a file of the home's has changed."""
        self._load_fix_rules()
        self._load_classify_rules()

    def _load_classify_rules(self) -> None:
        """What is observed from now on is decided by the new rules; `Ruling` goes through what is stored."""
        seen = self._rule_files("classify", "words")
        if seen == self._classify_seen:
            return
        before = self._rules_key
        classifier = self._classifier()
        self._classify_seen = seen
        if self._rules_key != before:
            self._taking = Taking(self._store, self._config, Observer(classifier))
            self._ruling.use(classifier, self._rules_key)

    def _rule_files(self, *folders: str) -> list[tuple[str, int, int]]:
        """What files of the home's rules there are; changes whenever one of them does."""
        found = [path for folder in folders for path in (self._home.rules / folder).glob("*.yaml")]
        facts = [(path, path.stat()) for path in found if path.exists()]
        return sorted((str(path), fact.st_mtime_ns, fact.st_size) for path, fact in facts)

    def _load_fix_rules(self) -> None:
        seen = self._rule_files("fix")
        if seen == self._rules_seen:
            return
        found = rules.load("fix", [self._home.rules])
        self._fix_rules = {rule.id: rule for rule in found.rules}
        self._problems["fix"] = [str(problem) for problem in found.problems]
        self._rules_seen = seen

    def _classifier(self) -> Classifier:
        found = rules.load("classify", [self._home.rules], keep=self._home.state)
        self._rules_key = key_of(found.rules)
        self._problems["classify"] = [str(problem) for problem in found.problems]
        return Classifier(found.rules)

    def _prototypes(self) -> rules.PrototypeSet:
        found = rules.load_prototypes([self._home.rules])
        self._problems["prototypes"] = [str(problem) for problem in found.problems]
        return found

"""The policy document: what a person set, what holds, and what is being tried. Its version moves with its content."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Connection

from rsi import change, clock
from rsi.config import Config
from rsi.errors import ConfigError, InvalidInputError
from rsi.model import KNOBS, Experiment, FixState, Policy, Scope
from rsi.store import fixes, journal, meta, trials
from rsi.store.fixes import FixRow
from rsi.store.trials import Trial

VALID_S: Final = 600.0
"""A client that has had no contact for so long goes back to what is surely safe (contract §4)."""
PUBLISHED: Final = "policy"
IDENTITY: Final = "identity"
ANY: Final = "*"
IDENTITY_BYTES: Final = 6


class Published(msgspec.Struct, frozen=True):
    """What was last published: its version and the hash of its content."""

    version: int = 0
    hash: str = ""


#: Built while one thread imports this module: see the end of `rsi.model`.
_READER: Final = msgspec.json.Decoder(Published)


class Commit(NamedTuple):
    """The policy as it stands, and whether agents have to be told."""

    policy: Policy
    changed: bool


class _Content(msgspec.Struct, frozen=True):
    scopes: list[Scope]
    experiments: list[Experiment]


def build(conn: Connection, config: Config, now: float) -> Policy:
    """The policy as agents see it at `now`; writes nothing."""
    return _policy(_content(conn, config), _published(conn).version, now)


def commit(conn: Connection, config: Config, now: float) -> Commit:
    """The policy at `now`, with a new version if its content differs from what was published last."""
    content = _content(conn, config)
    before = _published(conn)
    digest = hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()
    changed = digest != before.hash
    version = before.version + 1 if changed else before.version
    if changed:
        meta.put(conn, PUBLISHED, Published(version, digest))
        journal.append(conn, "daemon", "policy.published", "policy", {"version": version, "hash": digest})
    trials.mark_published(conn, [fixes.number(one.fix) for one in content.experiments], version)
    return Commit(_policy(content, version, now), changed)


def identity(conn: Connection) -> str:
    """Which store this is, made up when it is first asked: versions of different stores have nothing in common."""
    found = meta.get(conn, IDENTITY)
    if found is None:
        found = secrets.token_hex(IDENTITY_BYTES)
        meta.put(conn, IDENTITY, found)
    return str(found)


def fresh(policy: Policy, now: float) -> Policy:
    """The same policy, valid from `now` on."""
    return msgspec.structs.replace(policy, valid_until=clock.iso(now + VALID_S))


def narrow(policy: Policy, source: str | None, task: str | None) -> Policy:
    """What concerns one source and task; `None` is all of them."""

    def concerns(its_source: str, its_task: str) -> bool:
        return (source is None or its_source in (ANY, source)) and (task is None or its_task in (ANY, task))

    return msgspec.structs.replace(
        policy,
        scopes=[scope for scope in policy.scopes if concerns(scope.source, scope.task)],
        experiments=[one for one in policy.experiments if concerns(one.source, one.task)],
    )


def check_person(config: Config) -> None:
    """The scopes that a person wrote into `rsi.yaml`.

    Raises:
        ConfigError: names the scope and the field.
    """
    for index, scope in enumerate(config.policy):
        try:
            change.validate_scope(scope, config.fix.bounds, where=f"policy[{index}]")
        except InvalidInputError as error:
            raise ConfigError(f"rsi.yaml: {error}", field=error.field) from error


def standing_scope(standing: list[FixRow], source: str, task: str) -> dict[str, Any]:
    """What the fixes that hold for everyone say for exactly this scope."""
    values: dict[str, Any] = {}
    for fix in standing:
        if (fix.source, fix.task) == (source, task) and in_policy(fix):
            values = change.apply(values, fix.change)
    return values


def in_policy(fix: FixRow) -> bool:
    """Whether agents hear of it: what stands in a file is read there."""
    return fix.change.target.startswith(f"{change.POLICY_TARGET}:")


def _published(conn: Connection) -> Published:
    return msgspec.convert(meta.get(conn, PUBLISHED, {}), Published)


def _policy(content: _Content, version: int, now: float) -> Policy:
    return Policy(
        version=version,
        valid_until=clock.iso(now + VALID_S),
        scopes=content.scopes,
        experiments=content.experiments,
    )


def _content(conn: Connection, config: Config) -> _Content:
    applied = [fix for fix in fixes.in_states(conn, fixes.APPLIED) if in_policy(fix)]
    running = {trial.fix: trial for trial in trials.running(conn)} if applied else {}
    scopes = _Scopes()
    for fix in applied:
        if fix.id not in running and fix.state in fixes.STANDING:
            scopes.add_fix(fix)
    for person in config.policy:
        scopes.add_person(person)
    experiments = [_experiment(fix, running[fix.id]) for fix in applied if fix.id in running]
    return _Content(scopes.all(), experiments)


def _experiment(fix: FixRow, trial: Trial) -> Experiment:
    return Experiment(
        fix=fix.ref,
        state="holdout" if trial.kind == "holdout" else "canary",
        stage=trial.stage,
        salt=trial.salt,
        fraction=trial.fraction,
        source=fix.source,
        task=fix.task,
        knobs=list(fix.change.after),
        patch=fix.change.after,
    )


class _Scopes:
    """Scopes by (source, task), knob by knob; what a person set replaces what a fix set."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], dict[str, Any]] = {}
        self._origin: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}

    def add_fix(self, fix: FixRow) -> None:
        key = (fix.source, fix.task)
        self._values[key] = change.apply(self._values.get(key, {}), fix.change)
        for knob in fix.change.after:
            self._origin.setdefault(key, {})[knob] = _origin(fix.state, fix.ref)

    def add_person(self, scope: Mapping[str, Any]) -> None:
        key = (scope.get("source", ANY), scope.get("task", ANY))
        for knob in KNOBS:
            if scope.get(knob) is not None:
                self._values.setdefault(key, {})[knob] = scope[knob]
                self._origin.setdefault(key, {})[knob] = {"state": "person"}

    def all(self) -> list[Scope]:
        return [
            msgspec.convert({"source": key[0], "task": key[1], **values, "origin": self._origin.get(key, {})}, Scope)
            for key, values in sorted(self._values.items())
            if values
        ]


def _origin(state: FixState, ref: str) -> dict[str, Any]:
    return {"fix": ref, "state": state}

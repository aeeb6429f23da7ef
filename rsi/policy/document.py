"""A policy as it came over the wire or from a disk → `Policy`, with everything that was not understood."""

from __future__ import annotations

import math
from typing import Any, Final, TypeVar

import msgspec

from rsi.model import KNOBS, Experiment, Policy, Scope
from rsi.policy.knobs import clean

_SCOPE_FIELDS: Final = frozenset({"source", "task", "origin", *KNOBS})
_EXPERIMENT_FIELDS: Final = frozenset(Experiment.__struct_fields__)
_POLICY_FIELDS: Final = frozenset(Policy.__struct_fields__)
_T = TypeVar("_T")


class Document(msgspec.Struct, frozen=True):
    """What could be read: the policy (`None` if nothing could) and one sentence per thing that was left out."""

    policy: Policy | None
    problems: tuple[str, ...] = ()


def read(raw: Any) -> Document:
    """Read a decoded policy. Unknown fields and malformed parts are left out and named; never raises."""
    if not isinstance(raw, dict):
        return Document(None, (f"policy: expected an object, got {type(raw).__name__}",))
    version, until = raw.get("version"), raw.get("valid_until")
    if not isinstance(version, int) or isinstance(version, bool) or not isinstance(until, str):
        return Document(None, ("policy: without a version and valid_until it is not a policy",))
    notes = [f"policy.{key!s:.40}: unknown; ignored" for key in raw if key not in _POLICY_FIELDS]
    scopes = [_scope(item, f"scopes[{n}]", notes) for n, item in enumerate(_items(raw, "scopes", notes))]
    trials = [_experiment(item, f"experiments[{n}]", notes) for n, item in enumerate(_items(raw, "experiments", notes))]
    policy = Policy(
        version=version,
        valid_until=until,
        scopes=[scope for scope in scopes if scope is not None],
        experiments=[trial for trial in trials if trial is not None],
    )
    return Document(policy, tuple(notes))


def _items(raw: dict[str, Any], key: str, notes: list[str]) -> list[Any]:
    found = raw.get(key) or []
    if isinstance(found, list):
        return found
    notes.append(f"policy.{key}: expected a list, got {type(found).__name__}; ignored")
    return []


def _scope(item: Any, where: str, notes: list[str]) -> Scope | None:
    fields = _known(item, _SCOPE_FIELDS, where, notes)
    for knob in KNOBS:
        if fields.get(knob) is not None:
            fields[knob], said = clean(knob, fields[knob])
            notes.extend(f"{where}.{line}" for line in said)
    return _convert(fields, Scope, where, notes) if isinstance(item, dict) else None


def _experiment(item: Any, where: str, notes: list[str]) -> Experiment | None:
    found = _convert(_known(item, _EXPERIMENT_FIELDS, where, notes), Experiment, where, notes)
    if found is not None and not (math.isfinite(found.fraction) and 0 <= found.fraction <= 1):
        notes.append(f"{where}.fraction: expected a share in 0..1, got {found.fraction}; the experiment is ignored")
        return None
    return found


def _known(item: Any, fields: frozenset[str], where: str, notes: list[str]) -> dict[str, Any]:
    if not isinstance(item, dict):
        notes.append(f"{where}: expected an object, got {type(item).__name__}; ignored")
        return {}
    notes.extend(f"{where}.{key!s:.40}: unknown; ignored" for key in item if key not in fields)
    return {key: value for key, value in item.items() if key in fields}


def _convert(fields: dict[str, Any], kind: type[_T], where: str, notes: list[str]) -> _T | None:
    if not fields:
        return None
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        notes.append(f"{where}: {error}; ignored")
        return None

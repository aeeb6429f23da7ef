"""The policy as a file for a copy of the workspace: what holds for everyone, and the same with a fix at 100 %. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from rsi.model import Policy, Scope
from rsi.policy import merge_patch

POLICY_FILE: Final = ".rsi-check-policy.json"
"""In the copy. Not below `.rsi`: that folder is not shown to commands."""
POLICY_VARIABLE: Final = "RSI_POLICY_FILE"
PERSON: Final = "person"


def settled(policy: Policy) -> Policy:
    """Without what is being tried; a fix in its holdout is verified and counts as live for everyone."""
    scopes = list(policy.scopes)
    for one in policy.experiments:
        if one.state == "holdout":
            scopes = _merged(scopes, one.source, one.task, one.patch, {"fix": one.fix, "state": "verified"})
    return msgspec.structs.replace(policy, scopes=scopes, experiments=[])


def with_fix(policy: Policy, source: str, task: str, patch: Mapping[str, Any], ref: str) -> Policy:
    """The fix for every unit of its scope; what a person set there stays."""
    scopes = _merged(policy.scopes, source, task, patch, {"fix": ref, "state": "kept_unverified"})
    return msgspec.structs.replace(policy, scopes=scopes)


def as_file(policy: Policy) -> bytes:
    """What `RSI_POLICY_FILE` names."""
    return msgspec.json.encode(policy, order="deterministic")


def _merged(
    scopes: Iterable[Scope], source: str, task: str, patch: Mapping[str, Any], origin: Mapping[str, Any]
) -> list[Scope]:
    found = {(scope.source, scope.task): scope for scope in scopes}
    scope = found.get((source, task), Scope(source=source, task=task))
    ours = {knob: value for knob, value in patch.items() if scope.origin.get(knob, {}).get("state") != PERSON}
    values = merge_patch(msgspec.to_builtins(scope), ours)
    values["origin"] = {**scope.origin, **{knob: dict(origin) for knob in ours}}
    found[source, task] = msgspec.convert(values, Scope)
    return [found[key] for key in sorted(found)]

"""What is left of a policy once the daemon has been out of reach for too long (design, decision 11)."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from rsi import clock
from rsi.model import KNOBS, Policy, Scope

#: States of a knob that a client without contact may go on with. A knob without an origin was set by a person.
_LASTING: Final = frozenset({"person", "verified"})


def expires(policy: Policy) -> float:
    """`valid_until` in epoch seconds; a time that cannot be read has passed."""
    try:
        return clock.parse_iso(policy.valid_until)
    except (ValueError, TypeError):
        return 0.0


def decay(policy: Policy, now: float) -> Policy:
    """The policy as it holds at `now` (epoch seconds).

    Until `valid_until` the policy itself; afterwards without canaries and without knobs that are `kept_unverified`.
    What a person set, what is verified and what is in holdout stays. The version stays too: it names what was read.
    """
    return policy if now <= expires(policy) else _lasting(policy)


def _lasting(policy: Policy) -> Policy:
    return msgspec.structs.replace(
        policy,
        scopes=[_lasting_scope(scope) for scope in policy.scopes],
        experiments=[experiment for experiment in policy.experiments if experiment.state == "holdout"],
    )


def _lasting_scope(scope: Scope) -> Scope:
    gone: dict[str, Any] = {
        knob: None
        for knob in KNOBS
        if getattr(scope, knob) is not None and scope.origin.get(knob, {}).get("state", "person") not in _LASTING
    }
    if not gone:
        return scope
    origin = {knob: said for knob, said in scope.origin.items() if knob not in gone}
    return msgspec.structs.replace(scope, origin=origin, **gone)

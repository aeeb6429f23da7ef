"""Every attack is stopped inside, and would have come through outside."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from attacks.keeper import MODES, started

sys.path.insert(0, str(Path(__file__).parent / "attacks" / "programs"))
import kernel_calls
import memory_of_others
import network
import reading
import tricks
import writing
from kit import ATTACKS

PROGRAMS = (kernel_calls, memory_of_others, network, reading, tricks, writing)

#: Attacks that come through, each with what has to be done. A test that says "unexpectedly passed" wants its line removed.
OPEN = {}


@pytest.fixture(scope="module", params=MODES)
def keeper(request):
    made = started(request.param)
    yield made
    made.close()


@pytest.mark.parametrize("name", ATTACKS)
def test_it_is_stopped_inside_and_not_outside(keeper, name):
    attack = ATTACKS[name]
    found = keeper.attack(name, attack.control)
    inside, control = found["inside"], found["control"]
    assert inside["ran"], inside
    if (known := _known(name, keeper.mode)) is not None:
        assert inside["through"], f"unexpectedly passed: remove {name} from OPEN"
        pytest.xfail(known)
    assert not inside["through"], inside
    why = attack.may_fail(keeper.mode)
    if not control["through"]:
        assert why is not None, f"it fails without the sandbox, too: {control}"
        pytest.skip(f"stopped, and shows nothing here: {why}")


def _known(name, mode):
    known = OPEN.get(name)
    return None if known is None or (known.startswith("user: ") and mode != "user") else known


def test_every_open_attack_is_one():
    assert OPEN.keys() <= ATTACKS.keys()


def test_every_attack_says_what_it_tries():
    assert not [name for name, attack in ATTACKS.items() if not attack.what]

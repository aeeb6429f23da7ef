"""What does not stop by itself is stopped, says by what, and leaves nothing. Times are printed by `attacks.limits`."""

from __future__ import annotations

import os

import pytest
from attacks.keeper import MODES, started
from attacks.limits import BOMBS, PARKED


@pytest.fixture(scope="module", params=MODES)
def keeper(request):
    made = started(request.param)
    yield made
    made.close()


@pytest.mark.parametrize("name", BOMBS)
def test_it_is_contained(keeper, name):
    bomb = BOMBS[name]
    mark = f"rsi-bomb-{name.replace(' ', '-')}-{os.getpid()}"
    found = keeper.scene("bomb", command=bomb.command(mark), limits=bomb.limits, mark=mark)
    assert found["killed_by"] in bomb.killers, found
    assert found["gone"], found
    if found["killed_by"] == "memory":
        assert found["max_rss"] > bomb.limits["memory"] / 2, "what was killed uncounted is said, too"
    assert found["after"] == "fine\n"
    assert found["host"] == ["kept", "sub"]


@pytest.mark.parametrize("name", PARKED)
def test_what_nobody_holds_counts_too(keeper, name):
    parked = PARKED[name]
    found = keeper.scene("parked", code=parked.code, limit=parked.limit)
    assert found["killed_by"] == parked.limit, found


def test_what_the_kernel_holds_fails_and_ends_nobody(keeper):
    found = keeper.scene("over_what_the_kernel_holds")
    assert [killer for killer, _, _ in found.values()] == [None] * 4
    assert found["one large file"][1] == str(4 << 20)
    assert found["a terabyte of nothing"][1] == "0"
    assert "No space left" in found["a full /tmp"][2]
    assert "Too many open files" in found["many open files"][2]

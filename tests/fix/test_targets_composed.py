"""Random histories: fixes on the same keys and lessons come and go in any order while the user edits around them."""

from __future__ import annotations

import itertools
import os
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rsi.config import Config, Target
from rsi.fix.targets import resolve

EXAMPLES = max(25, int(os.environ.get("RSI_TARGETS", "0")) // 20)
NUMBERS = itertools.count()
KEYS = ("a", "b.c", "b.new")
STARTS = {
    "c.yaml": "a: 1 # x\nb:\n  c: 2\n# end",
    "c.json": '{"a": 1,\n "b": {"c" :2} }\n',
    "c.toml": "a = 1 # x\r\n[b]\r\n  c = 2\r\n",
}


def template(number):
    slots = {"task": "t", "failures": number, "tasks": 9}
    return {"lesson": {"template": "no_progress", "slots": slots}}


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    return tmp_path_factory.mktemp("homes")


@settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(sorted(STARTS)), data=st.data())
def test_keys_say_what_the_newest_standing_fix_says_and_end_as_they_began(homes, name, data):
    home = homes / str(next(NUMBERS))
    home.mkdir()
    file = home / name
    file.write_bytes(STARTS[name].encode())
    config = Config(targets=[Target(file=name, key=key, type="int", min=0, max=99) for key in KEYS])
    targets = {key: resolve(f"file:{name}#{key}", home, config) for key in KEYS}
    standing: list[tuple[str, int, object]] = []
    for number in range(data.draw(st.integers(2, 7))):
        key = data.draw(st.sampled_from(KEYS))
        change = targets[key].make({key: 10 + number})
        applied = targets[key].apply(change, undo=home / ".rsi" / "backups" / f"f{number}")
        standing.append((key, 10 + number, applied))
        while standing and data.draw(st.booleans()):
            gone = standing.pop(data.draw(st.integers(0, len(standing) - 1)))
            targets[gone[0]].revert(gone[2])
            _says(targets, standing)
    for gone in data.draw(st.permutations(standing)):
        standing.remove(gone)
        targets[gone[0]].revert(gone[2])
        _says(targets, standing)
    assert file.read_bytes() == STARTS[name].encode()
    shutil.rmtree(home)


def _says(targets, standing):
    for key, first in zip(KEYS, (1, 2, None), strict=True):
        newest = [value for other, value, _ in standing if other == key]
        assert targets[key].make({key: 99}).before[key] == (newest[-1] if newest else first)


@settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(start=st.sampled_from([None, b"", b"x", b"# T\r\n\r\n- y\r\n"]), data=st.data())
def test_lessons_come_and_go_while_the_user_writes(homes, start, data):
    home = homes / str(next(NUMBERS))
    home.mkdir()
    file = home / "docs" / "AGENTS.md"
    if start is not None:
        file.parent.mkdir()
        file.write_bytes(start)
    target = resolve("lessons:docs/AGENTS.md", home, Config(targets=[Target(file="docs/AGENTS.md", type="lessons")]))
    standing, below = [], b""
    for number in range(data.draw(st.integers(2, 6))):
        applied = target.apply(target.make(template(number)), undo=home / ".rsi" / "backups" / f"f{number}")
        standing.append(applied)
        if data.draw(st.booleans()) and start is not None:
            file.write_bytes(file.read_bytes() + b"mine\n")
            below += b"mine\n"
        while len(standing) > 1 and data.draw(st.booleans()):
            target.revert(standing.pop(data.draw(st.integers(0, len(standing) - 1))))
            assert file.read_bytes().count(b"<!-- rsi:lesson ") == len(standing)
    for gone in data.draw(st.permutations(standing)):
        target.revert(gone)
    if start is None:
        assert not file.parent.exists()
    else:
        between = b"\n" if below and start == b"x" else b""  # his line was one of its own and stays one
        assert file.read_bytes() == start + between + below
    shutil.rmtree(home)

"""Generated changes of generated files: only declared keys, only within bounds, and back byte for byte.

`RSI_TARGETS=10000` is the long form.
"""

from __future__ import annotations

import copy
import itertools
import json
import os
import shutil
import tomllib
from collections import Counter

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from target_documents import TEXTS, documents

from rsi.config import Bounds, Config, Target
from rsi.fix.targets import TargetRefusedError, resolve
from rsi.fix.targets.formats import same
from rsi.fix.targets.keypath import shown
from rsi.model import Change

EXAMPLES = int(os.environ.get("RSI_TARGETS", "60"))
COUNTED: Counter[str] = Counter()
NUMBERS = itertools.count()


class _Loader(yaml.SafeLoader):
    """PyYAML with the one custom tag that the documents use."""


_Loader.add_constructor("!env", lambda loader, node: f"env {node.value}")


def read(name: str, data: bytes):
    """What other programs read in it."""
    text = data.decode("utf-8-sig")
    if name.endswith("json"):
        return json.loads(text)
    if name.endswith("toml"):
        return tomllib.loads(text)
    if "!env" not in text:
        assert YAML(typ="safe", pure=True).load(text) is not None
    return yaml.load(text, Loader=_Loader)


def at(data, path):
    for part in path:
        data = data[int(part) if isinstance(data, list) else part]
    return data


def with_value(data, path, value):
    data = copy.deepcopy(data)
    above = at(data, path[:-1])
    above[int(path[-1]) if isinstance(above, list) else path[-1]] = value
    return data


def declared(name, path, value) -> Target:
    kind = {bool: "bool", int: "int", float: "float", str: "str"}[type(value)]
    limits = {"enum": TEXTS} if kind == "str" else {"min": -100, "max": 10_000} if kind != "bool" else {}
    return Target(file=name, key=shown(path), type=kind, **limits)


def new_values(value):
    if isinstance(value, bool):
        return st.just(not value)
    if isinstance(value, int):
        return st.integers(-100, 10_000)
    if isinstance(value, float):
        return st.floats(-100, 10_000, allow_nan=False)
    return st.sampled_from(TEXTS)


def outside(value):
    """Values that the declaration does not allow."""
    if isinstance(value, bool):
        return st.sampled_from([1, "true", None, 0.0])
    if isinstance(value, str):
        return st.sampled_from(["rm -rf /", "gpt-4o\nx: 1", 4, None, True])
    wrong = [10_001, -101, 1e300, float("nan"), float("inf"), "5", None, True, [1]]
    return st.sampled_from(wrong if isinstance(value, float) else [*wrong, 2.5])


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    return tmp_path_factory.mktemp("homes")


@settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(document=documents(), data=st.data())
def test_a_change_stays_inside_its_key_and_its_bounds_and_goes_back_byte_for_byte(homes, document, data):
    home = homes / str(next(NUMBERS))
    file = home / document.name
    file.parent.mkdir(parents=True)
    file.write_bytes(document.data)
    path, value, raw = data.draw(st.sampled_from(document.spots))
    config = Config(targets=[declared(document.name, path, value)])
    name = f"file:{document.name}#{shown(path)}"
    target = resolve(name, home, config)
    wanted = data.draw(new_values(value).filter(lambda new: not same(new, value)))
    forbidden = data.draw(outside(value))

    _refused(target, name, path, value, forbidden, file, document.data)
    _other_keys_refused(home, config, document, path, file)
    change = target.make({shown(path): wanted})
    assert change.before[shown(path)] == value
    undo = home / ".rsi" / "backups" / "f1"
    applied = target.apply(change, undo=undo)
    after = file.read_bytes()
    assert same(at(read(document.name, after), path), wanted)
    assert read(document.name, after) == with_value(read(document.name, document.data), path, wanted)
    _only_its_characters(document.data, after, raw.replace("\n", document.newline).encode())
    assert target.state(change) == "after"
    assert target.revert(applied).how == "bytes"
    assert file.read_bytes() == document.data
    COUNTED["applied and reverted"] += 1
    shutil.rmtree(home)


@settings(max_examples=max(20, EXAMPLES // 4), deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(document=documents(), data=st.data())
def test_a_missing_key_is_added_and_removed_without_a_trace(homes, document, data):
    home = homes / str(next(NUMBERS))
    file = home / document.name
    file.parent.mkdir(parents=True)
    file.write_bytes(document.data)
    parent = data.draw(st.sampled_from([spot[0][:-1] for spot in document.spots]))
    path, value = (*parent, "zz-new"), data.draw(st.sampled_from([7, 0.25, True, "yes", "gpt-4o"]))
    target = resolve(
        f"file:{document.name}#{shown(path)}", home, Config(targets=[declared(document.name, path, value)])
    )
    try:
        change = target.make({shown(path): value})
        applied = target.apply(change, undo=home / ".rsi" / "backups" / "f1")
    except TargetRefusedError:
        COUNTED["not added"] += 1
        assert file.read_bytes() == document.data
    else:
        COUNTED["added and removed"] += 1
        after = read(document.name, file.read_bytes())
        assert same(at(after, path), value)
        del at(after, parent)["zz-new"]
        assert after == read(document.name, document.data)
        assert target.revert(applied).how == "bytes"
        assert file.read_bytes() == document.data
    shutil.rmtree(home)


def test_the_generated_changes_were_not_idle():
    """Runs after the campaign: every document took its change, and some a key that was not there."""
    if not COUNTED:
        pytest.skip("the campaign did not run in this process")
    print(dict(COUNTED))
    assert COUNTED["applied and reverted"] >= EXAMPLES
    assert COUNTED["added and removed"] > 0


def _refused(target, name, path, value, forbidden, file, data):
    """Neither planned nor, when somebody hands it in ready-made, applied."""
    with pytest.raises(TargetRefusedError):
        target.make({shown(path): forbidden})
    change = Change(target=name, before={shown(path): value}, after={shown(path): forbidden})
    with pytest.raises(TargetRefusedError):
        target.validate(change, Bounds())
    with pytest.raises(TargetRefusedError):
        target.apply(change, undo=file.parent / "f9")
    assert file.read_bytes() == data


def _other_keys_refused(home, config, document, path, file):
    """A key that was not declared is out of reach, by name and through a declared one's target."""
    other = next((spot for spot in document.spots if spot[0] != path), None)
    if other is None:
        return
    with pytest.raises(TargetRefusedError, match="not declared"):
        resolve(f"file:{document.name}#{shown(other[0])}", home, config)
    target = resolve(f"file:{document.name}#{shown(path)}", home, config)
    with pytest.raises(TargetRefusedError, match="no other key"):
        target.make({shown(other[0]): other[1]})
    assert file.read_bytes() == document.data


def _only_its_characters(old: bytes, new: bytes, raw: bytes):
    """`new` is `old` with one occurrence of `raw` replaced: every other byte is where it was."""
    places = [i for i in range(len(old)) if old.startswith(raw, i)]
    grown = len(new) - len(old) + len(raw)
    assert any(new[:i] == old[:i] and new[i + grown :] == old[i + len(raw) :] for i in places)

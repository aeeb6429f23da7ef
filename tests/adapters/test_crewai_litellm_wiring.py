"""Without their frameworks: the adapters of CrewAI and LiteLLM say what is missing, and are found under one name."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path
from typing import Any

import pytest

from rsi.auto.adapters import BUILT_IN
from rsi.model import Adapter
from rsi_adapters import crewai, litellm

ROOT = Path(__file__).parents[2]
BOTH = pytest.mark.parametrize("module", [crewai, litellm], ids=lambda module: module.adapter.name)


@BOTH
def test_it_is_an_adapter_and_loading_it_loads_no_framework(module: Any) -> None:
    assert isinstance(module.adapter, Adapter)
    assert module.adapter.available() == (importlib.util.find_spec(module.adapter.name) is not None)


@BOTH
def test_a_missing_framework_names_the_extra(module: Any) -> None:
    if module.adapter.available():
        pytest.skip("the framework is installed here")
    with pytest.raises(ImportError, match=rf"rsi\[{module.adapter.name}\]"):
        module.adapter.install()
    module.adapter.uninstall()


@BOTH
def test_the_entry_point_and_the_built_in_list_name_the_same_object(module: Any) -> None:
    name = module.adapter.name
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = next(each for each in BUILT_IN if each.name == name)
    assert project["entry-points"]["rsi.adapters"][name] == known.target
    assert known.load() is module.adapter
    assert name in project["optional-dependencies"]

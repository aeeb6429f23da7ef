"""Loaded by Python at its start under `rsi run`: hooks agent frameworks, then hands on to the environment's own.

The folder of this file is on PYTHONPATH only for programs that `rsi run` started.
"""

import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path


def _hand_on() -> None:
    here = Path(__file__).resolve().parent
    others = [each for each in sys.path if each and Path(each).resolve() != here]
    spec = PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


def _hook() -> None:
    try:
        import rsi.auto  # noqa: F401, PLC0415 - this is what the file is for
    except ImportError as error:
        sys.stderr.write(
            f"rsi run: nothing is hooked, {error}: this program's environment ({sys.prefix}) needs "
            "`pip install --no-deps rsi msgspec pyyaml`\n"
        )
    except Exception as error:  # noqa: BLE001 - the border into the host: its program runs without us
        sys.stderr.write(f"rsi run: nothing is hooked: {type(error).__name__}: {error}\n")


_hook()
_hand_on()

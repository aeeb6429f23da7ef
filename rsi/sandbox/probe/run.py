"""Start the prober for one back end, or use what it found since the last boot."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from typing import Final

import msgspec

from rsi.sandbox.backend import Backend
from rsi.sandbox.model import Isolation
from rsi.sandbox.probe import cache
from rsi.sandbox.probe.found import Report
from rsi.sandbox.probe.targets import ENV_SECRET, secret

#: A probe takes 1 to 2 s where it was measured; one that takes this long has shown nothing.
_PATIENCE_S: Final = 60.0
_SAID: Final = 300
#: With our own path, and never the current folder: that may be the very workspace nobody trusts.
_BOOT: Final = (
    "import json, sys, runpy; sys.path[:] = json.loads(sys.argv[1]); "
    "runpy.run_module('rsi.sandbox.probe.prober', run_name='__main__')"
)


def capabilities(backend: Backend, *, fresh: bool = False) -> Isolation:
    """The flags that hold here and now; all false for a back end that is not available.

    `fresh`: probe again, whatever was found since the last boot.
    """
    return report(backend, fresh=fresh).isolation()


def report(backend: Backend, *, fresh: bool = False) -> Report:
    """Every attack with its control, and what both answered."""
    reason = backend.unavailable()
    if reason is not None:
        return Report(backend=backend.name, trouble=reason)
    try:
        packed = pickle.dumps(backend)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        return Report(backend=backend.name, trouble=f"it cannot be handed to the prober: {error}")
    key = cache.key(packed)
    kept = cache.load(backend.name, key) if key is not None and not fresh else None
    if kept is not None:
        return kept
    found = _probe(backend.name, packed)
    if key is not None and found.trouble is None:
        cache.save(backend.name, key, found)
    return found


def _probe(name: str, backend: bytes) -> Report:
    """In a process that was started with a secret. What goes wrong there shows nothing, so nothing is credited."""
    try:
        ended = subprocess.run(  # noqa: S603 - ourselves
            [sys.executable, "-P", "-c", _BOOT, msgspec.json.encode([path for path in sys.path if path]).decode()],
            input=backend,
            capture_output=True,
            cwd="/",
            env={**os.environ, ENV_SECRET: secret()},
            timeout=_PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Report(backend=name, trouble=f"the probe did not end: {error}")
    try:
        return msgspec.json.decode(ended.stdout, type=Report)
    except msgspec.MsgspecError:
        said = ended.stderr.decode(errors="replace").strip()[-_SAID:]
        return Report(backend=name, trouble=f"the probe ended with {ended.returncode}: {said}")

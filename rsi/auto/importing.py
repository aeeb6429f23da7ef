"""Calls back once after a module has been imported, whoever imports it. Imports nothing by itself."""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class _Notifying(Loader):
    """A module's own loader, which tells when it is done."""

    def __init__(self, loader: Any, done: Callable[[], None]) -> None:
        self._loader = loader
        self._done = done

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        # The module keeps its own loader: resources and `inspect` ask for it.
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._done()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


class Watcher(MetaPathFinder):
    """Waits for modules to be imported."""

    def __init__(self) -> None:
        self._waiting: dict[str, Callable[[], None]] = {}
        self._asking = threading.local()

    def after(self, module: str, call: Callable[[], None]) -> None:
        """Call back when `module` has been imported; at once if it has been."""
        if module in sys.modules:
            call()
            return
        self._waiting[module] = call
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def forget(self) -> None:
        """Wait for nothing any more."""
        self._waiting.clear()
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's spec as the others find it, with a loader that tells; `None` for all that nobody waits for."""
        del path, target
        call = self._waiting.get(fullname)
        if call is None or getattr(self._asking, "for_", None) == fullname:
            return None
        self._asking.for_ = fullname
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._asking.for_ = None
        if spec is None or spec.loader is None:
            return None
        spec.loader = _Notifying(spec.loader, lambda: self._done(fullname))
        return spec

    def _done(self, module: str) -> None:
        call = self._waiting.pop(module, None)
        if call is not None:
            call()

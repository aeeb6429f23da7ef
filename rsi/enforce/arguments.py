"""Reading and setting an argument of a call by its name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

Arguments: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]
Session: TypeAlias = "str | Callable[..., str | None] | None"


class Argument:
    """One parameter of a function.

    Raises:
        TypeError: the function has no such parameter and takes no keywords; names both.
    """

    __slots__ = ("_default", "_name", "_place")

    def __init__(self, function: Callable[..., Any], name: str, option: str) -> None:
        parameters = inspect.signature(function).parameters
        found = parameters.get(name)
        if found is None and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            its = getattr(function, "__qualname__", repr(function))
            raise TypeError(f"{option}={name!r}: {its} has no parameter {name!r}; it has {', '.join(parameters)}")
        positional = [p.name for p in parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        self._name = name
        self._place = positional.index(name) if name in positional else None
        self._default = None if found is None or found.default is found.empty else found.default

    def get(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The value in this call, else the default."""
        if self._name in kwargs:
            return kwargs[self._name]
        if self._place is not None and self._place < len(args):
            return args[self._place]
        return self._default

    def put(self, args: tuple[Any, ...], kwargs: dict[str, Any], value: Any) -> Arguments:
        """The call's arguments with this one replaced."""
        if self._place is not None and self._place < len(args):
            return (*args[: self._place], value, *args[self._place + 1 :]), kwargs
        return args, {**kwargs, self._name: value}

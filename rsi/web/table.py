"""The route table: one line per thing one can ask. Routes, authorisation and `/openapi.json` are made from it."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


class Level(enum.Enum):
    """Who may ask."""

    OPEN = "answers something even where tokens are needed"
    READ = "anybody on this machine; with `auth.tokens`, who shows one"
    REPORT = "as READ, and who signs the request"
    ONE_TIME = "who has the one-time token in the path; with anything in `auth`, a signature or a token besides"
    PRIVILEGED = "always needs a token or the home's secret"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter, for the reference."""

    name: str
    about: str
    type: str = "string"


@dataclass(frozen=True, slots=True)
class Entry:
    """One method of one path.

    Args:
        handler: answers it.
        made: instead of a handler, a door's own Starlette route.
        answers: what comes back, a type for the schema.
        body: what must be sent, likewise.
        also: further status codes that it answers.
    """

    method: str
    path: str
    about: str
    handler: Handler | None = None
    made: BaseRoute | None = None
    level: Level = Level.READ
    query: tuple[Parameter, ...] = ()
    body: Any = None
    answers: Any = dict[str, Any]
    status: int = 200
    kind: str = "application/json"
    also: tuple[int, ...] = ()

    def route(self) -> BaseRoute | None:
        """As Starlette serves it; `None` for an entry that only describes."""
        if self.made is not None or self.handler is None:
            return self.made
        return Route(self.path, self.handler, methods=[self.method])

"""One occurrence of a template: what was raised, and what is known about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from slots import Slots
from template import Template


@dataclass(frozen=True, slots=True)
class Made:
    """One occurrence: what was raised (or said), and the slots it was made with."""

    template: Template
    error: BaseException | None
    said: str
    slots: Slots
    body: Any

    @property
    def text(self) -> str:
        return self.said if self.error is None else str(self.error)

    @property
    def kind(self) -> str | None:
        """Module and class, as a traceback writes it."""
        if self.error is None:
            return None
        kind = type(self.error)
        return (
            kind.__qualname__
            if kind.__module__ in {"builtins", "__main__"}
            else f"{kind.__module__}.{kind.__qualname__}"
        )

    @property
    def status(self) -> int | None:
        return status_of(self.error) if self.error else None


def occur(template: Template, slots: Slots) -> Made:
    """Make it happen once."""
    try:
        found = template.make(slots)
    except BaseException as error:
        found = error
    if found is None:
        raise ValueError(f"{template.id} neither raised nor returned anything")
    said = found if isinstance(found, str) else ""
    body = template.body(slots) if template.body else None
    return Made(template, None if said else found, said, slots, body)


def status_of(error: BaseException) -> int | None:
    """Where the SDKs keep the HTTP status."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    for found in (
        getattr(error, "status_code", None),
        getattr(response, "status_code", None),
        getattr(error, "code", None),
    ):
        if isinstance(found, int) and 400 <= found < 600:
            return found
    return None

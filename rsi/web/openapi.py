"""`/openapi.json` from the route table: what is not in the one cannot be in the other."""

from __future__ import annotations

import http
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from rsi.web.table import Entry, Level

_REF: Final = "#/components/schemas/{name}"
_ERROR: Final = {"$ref": "#/components/schemas/Error"}
_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_OUTCOME: Final = {
    "type": "object",
    "description": "One thing an agent tried; every field is described in the guide.",
    "required": ["task"],
    "properties": {"task": {"type": "string"}, "success": {"type": "boolean"}},
    "additionalProperties": True,
}


def document(entries: Sequence[Entry], version: str) -> dict[str, Any]:
    """OpenAPI 3.1 of everything in the table."""
    types: list[Any] = list(dict.fromkeys(kind for entry in entries for kind in _types(entry)))
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    by_type = dict(zip(types, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for entry in entries:
        paths.setdefault(entry.path, {})[entry.method.lower()] = _operation(entry, by_type)
    error = {
        "type": "object",
        "required": ["error"],
        "properties": {"error": {"type": "string"}, "field": {"type": "string"}},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "rsi", "version": version, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "schemas": {**components, "Error": error, "OutcomeIn": _OUTCOME},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _types(entry: Entry) -> list[Any]:
    return [kind for told in (entry.answers, entry.body) for kind in _parts(told)]


def _parts(told: Any) -> list[Any]:
    if told is None:
        return []
    return list(told.values()) if isinstance(told, dict) else [told]


def _schema(told: Any, by_type: dict[Any, Any]) -> dict[str, Any]:
    if isinstance(told, dict):
        return {"type": "object", "properties": {name: by_type[kind] for name, kind in told.items()}}
    found: dict[str, Any] = by_type[told]
    return found


def _operation(entry: Entry, by_type: dict[Any, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "summary": entry.about,
        "operationId": _name(entry),
        "parameters": [*_in_path(entry), *_in_query(entry)],
        "responses": _responses(entry, by_type),
    }
    if entry.level is Level.PRIVILEGED:
        made["security"] = [{"bearer": []}]
    if entry.level is Level.REPORT and entry.method == "POST":
        made["requestBody"] = {"required": True, "content": _outcomes()}
    elif entry.body is not None:
        made["requestBody"] = {"content": {"application/json": {"schema": _schema(entry.body, by_type)}}}
    return made


def _outcomes() -> dict[str, Any]:
    item = {"$ref": "#/components/schemas/OutcomeIn"}
    either = {"oneOf": [item, {"type": "array", "items": item}]}
    return {"application/json": {"schema": either}, "application/x-ndjson": {"schema": {"type": "string"}}}


def _responses(entry: Entry, by_type: dict[Any, Any]) -> dict[str, Any]:
    schema = _schema(entry.answers, by_type) if entry.kind == "application/json" else {"type": "string"}
    found = {str(entry.status): {"description": "Good.", "content": {entry.kind: {"schema": schema}}}}
    errors = {*entry.also, 401, 403, *((415,) if entry.method == "POST" else ())}
    for status in sorted(errors - {entry.status}):
        content = {"content": {"application/json": {"schema": _ERROR}}} if status >= http.HTTPStatus.BAD_REQUEST else {}
        found[str(status)] = {"description": http.HTTPStatus(status).phrase, **content}
    return found


def _in_path(entry: Entry) -> list[dict[str, Any]]:
    names = _PARAMETER.findall(entry.path)
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _in_query(entry: Entry) -> list[dict[str, Any]]:
    return [
        {"name": each.name, "in": "query", "description": each.about, "schema": {"type": each.type}}
        for each in entry.query
    ]


def _name(entry: Entry) -> str:
    return re.sub(r"\W+", "_", f"{entry.method.lower()}{entry.path}").strip("_")

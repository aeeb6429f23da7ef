"""`/v1/policy`: what agents should do, and what they can do about it."""

from __future__ import annotations

import asyncio
import re
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from rsi.errors import InvalidInputError
from rsi.model import KNOBS, Policy
from rsi.web.answer import ok
from rsi.web.context import Context, context_of
from rsi.web.routes.asked import number
from rsi.web.table import Entry, Parameter

_LONGEST_WAIT_S: Final = 60.0
_NAME_CHARS: Final = 200
#: The store's identity and the version: the same version of another store (a database that was reset) is another one.
_TAG: Final = re.compile(r'(?:W/)?"([0-9a-f]{1,64})-v(\d{1,15})"')


async def _policy(request: Request) -> Response:
    source, task = _name(request, "source"), _name(request, "task")
    wait = number(request.query_params, "wait", default=0, least=0, most=_LONGEST_WAIT_S)
    version = _known(request)
    client = _name(request, "client") or (request.client.host if request.client else "")
    enforces = request.query_params.get("enforces")
    if source and enforces is not None:
        knobs = [knob for knob in enforces.split(",") if knob in KNOBS]
        context_of(request).pipeline.seen(client, source, task, knobs, version)
    found = _read(context_of(request), source, task)
    if wait and found.version == version:
        found = await _changed(request, (client, source or ""), found, wait, task)
    tag = f'"{context_of(request).pipeline.identity}-v{found.version}"'
    headers = {"etag": tag, "cache-control": "no-cache"}
    return Response(None, 304, headers) if found.version == version else ok(found, headers=headers)


def _read(context: Context, source: str | None, task: str | None) -> Policy:
    return context.pipeline.policy_for(source, task)


async def _changed(request: Request, key: tuple[str, str], found: Policy, wait: float, task: str | None) -> Policy:
    """The policy once it has changed; the same one after `wait` seconds, when the client leaves or asks anew."""
    live = context_of(request).live
    bell = live.open_poll(key)
    if bell is None:
        return found
    ringing, gone = asyncio.create_task(bell.wait()), asyncio.create_task(_until_gone(request))
    try:
        found = _read(context_of(request), key[1] or None, task)  # it may have changed before the bell was hung up
        if not bell.is_set() and found.version == _known(request):
            await asyncio.wait((ringing, gone), timeout=wait, return_when=asyncio.FIRST_COMPLETED)
    finally:
        live.close_poll(key, bell)
        for task_ in (ringing, gone):
            task_.cancel()
        await asyncio.gather(ringing, gone, return_exceptions=True)
    return _read(context_of(request), key[1] or None, task)


def _known(request: Request) -> int | None:
    known = _TAG.fullmatch(request.headers.get("if-none-match", ""))
    if known is None or known[1] != context_of(request).pipeline.identity:
        return None
    return int(known[2])


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _name(request: Request, field: str) -> str | None:
    found = request.query_params.get(field)
    if not found:
        return None
    if len(found) > _NAME_CHARS:
        raise InvalidInputError(f"{field}: expected at most {_NAME_CHARS} characters", field=field)
    return found


ENTRIES: Final = (
    Entry(
        "GET", "/v1/policy", "The policy. With `wait` and If-None-Match: answers when it changes; 304 if it does not.",
        _policy,
        query=(
            Parameter("source", "only what concerns this source"), Parameter("task", "and this task"),
            Parameter("enforces", "the knobs this client acts on, separated by commas"),
            Parameter("client", "the client's id, one per process"),
            Parameter("wait", "0..60 seconds; one poll per client and source", "number"),
        ),
        answers=Policy, also=(304, 422),
    ),
)  # fmt: skip

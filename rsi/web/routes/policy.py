"""`/v1/policy`: what agents should do, and what they can do about it."""

from __future__ import annotations

import asyncio
import re
from typing import Final

from rsi.errors import InvalidInputError
from rsi.model import KNOBS, Policy
from rsi.web.answer import Answer, ok
from rsi.web.context import Context
from rsi.web.routes.asked import number
from rsi.web.table import Ask, Entry, Parameter

_LONGEST_WAIT_S: Final = 60.0
_NAME_CHARS: Final = 200
_VERSION: Final = re.compile(r'(?:W/)?"v(\d{1,15})"')


async def _policy(ask: Ask) -> Answer:
    source, task = _name(ask, "source"), _name(ask, "task")
    wait = number(ask.query, "wait", default=0, least=0, most=_LONGEST_WAIT_S)
    version = _known(ask)
    client = _name(ask, "client") or ask.scope["client"][0]
    enforces = ask.query.get("enforces")
    if source and enforces is not None:
        knobs = [knob for knob in enforces.split(",") if knob in KNOBS]
        ask.context.pipeline.seen(client, source, task, knobs, version)
    found = _read(ask.context, source, task)
    if wait and found.version == version:
        found = await _changed(ask, (client, source or ""), found, wait, task)
    tag = b'"v%d"' % found.version
    headers = ((b"etag", tag), (b"cache-control", b"no-cache"))
    return Answer(304, headers=headers) if found.version == version else ok(found, headers=headers)


def _read(context: Context, source: str | None, task: str | None) -> Policy:
    return context.pipeline.policy_for(source, task)


async def _changed(ask: Ask, key: tuple[str, str], found: Policy, wait: float, task: str | None) -> Policy:
    """The policy once it has changed; the same one after `wait` seconds, when the client leaves or asks anew."""
    live = ask.context.live
    bell = live.open_poll(key)
    if bell is None:
        return found
    ringing, gone = asyncio.create_task(bell.wait()), asyncio.create_task(_until_gone(ask))
    try:
        found = _read(ask.context, key[1] or None, task)  # it may have changed before the bell was hung up
        if not bell.is_set() and found.version == _known(ask):
            await asyncio.wait((ringing, gone), timeout=wait, return_when=asyncio.FIRST_COMPLETED)
    finally:
        live.close_poll(key, bell)
        for task_ in (ringing, gone):
            task_.cancel()
        await asyncio.gather(ringing, gone, return_exceptions=True)
    return _read(ask.context, key[1] or None, task)


def _known(ask: Ask) -> int | None:
    known = _VERSION.fullmatch(ask.header(b"if-none-match") or "")
    return int(known[1]) if known else None


async def _until_gone(ask: Ask) -> None:
    while (await ask.receive())["type"] != "http.disconnect":
        pass


def _name(ask: Ask, field: str) -> str | None:
    found = ask.query.get(field)
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

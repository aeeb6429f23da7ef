"""Deciding on a proposal with the one-time token that a notification brought."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from rsi.errors import InvalidInputError
from rsi.fix.approvals import ROUTE
from rsi.fix.edited import Decision
from rsi.model import Fix
from rsi.web.answer import ok
from rsi.web.context import context_of
from rsi.web.routes.asked import json_of
from rsi.web.table import Entry, Level


async def _decide(request: Request) -> Response:
    said = _decision((await json_of(request)).get("decision"))
    return ok(await asyncio.to_thread(context_of(request).pipeline.redeem, request.path_params["token"], said))


def _decision(said: object) -> Decision:
    if said == "approve":
        return "approve"
    if said == "reject":
        return "reject"
    raise InvalidInputError("decision: expected approve or reject", field="decision")


ENTRIES: Final = (
    Entry("POST", f"{ROUTE}/{{token}}", "Approve or reject the one change that this one-time token is for.", _decide,
          level=Level.ONE_TIME, body={"decision": Decision}, answers=Fix, also=(404, 409, 422)),
)  # fmt: skip

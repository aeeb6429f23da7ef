"""`docs/reference/http.md` from the route table: `python -m rsi.web.reference > docs/reference/http.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Final

from rsi.web.doors import BUILT_IN
from rsi.web.routes import ENTRIES
from rsi.web.table import Entry, Level

_HEAD: Final = """\
# HTTP

Made from the routes by `python -m rsi.web.reference`; a test compares the two. For machines: `GET /openapi.json`.

The daemon listens on `127.0.0.1:7474`. JSON in, JSON out; an error is `{"error": "text", "field": "…"}` (`field` only
if one is to blame). 400 not JSON · 401 no or wrong token · 403 not allowed, or a foreign Host or Origin · 404 · 405 ·
409 the thing's state forbids it · 413 over a limit, which is named · 415 not JSON, NDJSON or protobuf · 422 invalid ·
503 nothing was stored, or too many listen: try again.

**Who may what.** Without `auth.tokens` nobody on this machine needs a token to report and to read. With them,
everything needs one of them (or the home's `.rsi/secret`) as `Authorization: Bearer …`; `/healthz` and `/readyz` answer
without, and say less. Routes marked 🔑 always need one. Reporting is also allowed to who signs like a Standard Webhook
(`webhook-id`, `webhook-timestamp`, `webhook-signature`; `auth.signing_secrets`, several at once for rotation; 5 minutes
of tolerance). A signed request that is sent again is taken again: its outcomes have ids, and the same id is one.
`POST /v1/approvals/{token}` needs its one-time token, and with `auth.tokens` or `auth.signing_secrets` a signature or a
bearer besides.
"""


def markdown(entries: Iterable[Entry]) -> str:
    """The page."""
    return "\n".join([_HEAD, *(_section(entry) for entry in entries)])


def _section(entry: Entry) -> str:
    key = " 🔑" if entry.level is Level.PRIVILEGED else ""
    codes = " · ".join(str(code) for code in (entry.status, *entry.also))
    lines = [f"## `{entry.method} {entry.path}`{key}", "", entry.about, ""]
    lines += [f"- `{each.name}`: {each.about}" for each in entry.query]
    if isinstance(entry.body, dict):
        lines.append("- body: " + ", ".join(f"`{name}`" for name in entry.body))
    lines.append(f"- answers: {codes}")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.stdout.write(markdown([*BUILT_IN, *ENTRIES]))

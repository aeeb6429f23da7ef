"""One-time tokens with which a person may decide on one proposal; only their hashes are kept.

A token is `<id>.<secret>`: the row is found by its id, the secret is compared in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from rsi.errors import NotFoundError
from rsi.store.engine import project
from rsi.store.schema import approvals

ID_BYTES: Final = 6
SECRET_BYTES: Final = 32
KEPT_S: Final = 30 * 86_400.0
"""After it expired: as long as somebody who uses it again should hear why it is refused."""
_UNKNOWN: Final = "no such approval token; `rsi approve` and `rsi reject` work without one"


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """What a token is for; times are epoch seconds. `used` with the `decision` that it was used for."""

    id: str
    fix: int
    digest: str
    hash: str
    created: float
    expires: float
    used: float | None = None
    decision: str | None = None


def issue(conn: Connection, fix: int, digest: str, now: float, expires: float) -> str:
    """A new token for this fix with exactly this change. It is nowhere but in what this returns."""
    conn.execute(delete(approvals).where(approvals.c.project == project(conn), approvals.c.expires < now - KEPT_S))
    ident, secret = secrets.token_hex(ID_BYTES), secrets.token_urlsafe(SECRET_BYTES)
    row = {"id": ident, "hash": _hash(secret), "fix": fix, "digest": digest, "created": now, "expires": expires}
    conn.execute(insert(approvals).values(project=project(conn), **row))
    return f"{ident}.{secret}"


def find(conn: Connection, token: str) -> Approval:
    """What a token is for, used or expired ones too.

    Raises:
        NotFoundError: there is no such token.
    """
    ident, _, secret = token.partition(".")
    query = select(*(approvals.c[name] for name in Approval.__struct_fields__))
    row = conn.execute(query.where(approvals.c.project == project(conn), approvals.c.id == ident)).one_or_none()
    known = row.hash if row is not None else _hash("")
    good = hmac.compare_digest(known.encode(), _hash(secret).encode())
    if row is None or not good:
        raise NotFoundError(_UNKNOWN)
    return Approval(**{name: getattr(row, name) for name in Approval.__struct_fields__})


def use(conn: Connection, ident: str, decision: str, now: float) -> None:
    """It is used up."""
    ours = (approvals.c.project == project(conn), approvals.c.id == ident)
    conn.execute(update(approvals).where(*ours).values(used=now, decision=decision))


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()

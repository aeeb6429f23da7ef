"""Standard Webhooks signatures (standardwebhooks.com): who knows the secret may report.

`webhook-signature` is a list of `v1,<base64 of HMAC-SHA256 over id.timestamp.body>`. A request that is sent again
within the tolerance is let in again: its outcomes have ids, and the same id is one outcome.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

#: Clocks differ; beyond this a captured request is worth nothing.
TOLERANCE_S: Final = 300.0
_PREFIX: Final = "whsec_"


def keys_of(secrets: Sequence[str]) -> tuple[bytes, ...]:
    """`whsec_<base64>`, or any other text as its bytes. Several allow one to be replaced by another."""
    return tuple(_key(secret) for secret in secrets)


def _key(secret: str) -> bytes:
    text = secret.removeprefix(_PREFIX)
    try:
        return base64.b64decode(text, validate=True) if secret.startswith(_PREFIX) else secret.encode()
    except (binascii.Error, ValueError):
        return secret.encode()


def verify(
    keys: Sequence[bytes], body: bytes, *, ident: str, timestamp: str, signatures: str, now: float
) -> str | None:
    """Why a signed request is refused; `None`: it is good. Compares in constant time.

    Args:
        keys: any of them may have signed.
        body: as it came over the wire.
        ident: `webhook-id`.
        timestamp: `webhook-timestamp`, epoch seconds.
        signatures: `webhook-signature`, separated by spaces.
        now: epoch seconds.
    """
    if not timestamp.isascii() or not timestamp.isdigit() or abs(now - int(timestamp[:15])) > TOLERANCE_S:
        return "webhook-timestamp: not within 5 minutes of our clock"
    signed = f"{ident}.{timestamp}.".encode("latin-1") + body
    expected = [hmac.new(key, signed, hashlib.sha256).digest() for key in keys]
    good = False
    for given in signatures.split(" "):
        version, _, text = given.partition(",")
        if version != "v1":
            continue
        try:
            found = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            continue
        for digest in expected:
            good |= hmac.compare_digest(digest, found)
    return None if good else "webhook-signature: none of them fits"

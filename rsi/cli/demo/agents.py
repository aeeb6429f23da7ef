"""The demo's agents: ordinary programs with `@rsi.guard` that know nothing of the demo.

`python -m rsi.cli.demo.agents ROLE PORT SEED THREADS` runs until it is terminated. Every call is a unit of its own.
"""

from __future__ import annotations

import http.client
import os
import random
import signal
import sys
import threading
from typing import Final

import rsi
from rsi import clock

PATIENCE_S: Final = 0.6  # how long an agent waits for an answer unless a policy says otherwise
THINKS_S: Final = (0.05, 0.2)
BILLING_EVERY_S: Final = 0.5
LOOKS_UP_EVERY_S: Final = 0.5


class ProviderError(Exception):
    """What the provider said, with its status and headers, as client libraries give it."""

    def __init__(self, status: int, body: str, headers: dict[str, str]) -> None:
        super().__init__(f"{status}: {body}")
        self.status_code = status
        self.headers = headers


def _post(port: int, path: str, timeout: float) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("POST", path, b"{}", {"Content-Type": "application/json"})
        answer = connection.getresponse()
        body = answer.read().decode()
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise ProviderError(answer.status, body, {k.lower(): v for k, v in answer.getheaders()})
    return body


@rsi.guard("answer", source="demo-agent", idempotent=True, inner_retries=1, timeout_arg="timeout")
def answer(port: int, timeout: float = PATIENCE_S) -> str:
    """Ask the provider."""
    return _post(port, "/v1/answer", timeout)


@rsi.guard("embed", source="demo-billing", idempotent=True, inner_retries=1)
def embed(port: int) -> str:
    """Ask with a bad key."""
    return _post(port, "/v1/embed", PATIENCE_S)


def _work(role: str, port: int, seed: int) -> None:
    think = random.Random(seed)  # noqa: S311 - pauses, not secrets
    while True:
        try:
            if role == "answer":
                answer(port)
            else:
                embed(port)
        except (ProviderError, OSError):
            pass  # the outcome is recorded by the guard; this agent simply goes on to its next task
        clock.sleep(think.uniform(*THINKS_S) if role == "answer" else BILLING_EVERY_S)


def main() -> None:
    """Run `THREADS` agents until SIGTERM."""
    role, port, seed, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    for number in range(threads):
        threading.Thread(target=_work, args=(role, port, seed * 1000 + number), daemon=True).start()
    parent = os.getppid()
    while os.getppid() == parent:  # the demo may be killed; its agents are not to outlive it
        clock.sleep(LOOKS_UP_EVERY_S)


if __name__ == "__main__":
    main()

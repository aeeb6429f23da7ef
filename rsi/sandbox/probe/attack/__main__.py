"""Run every attack and print what came of them: `{name: {"proof": …} | {"error": …}}`.

An attack that crashes, hangs or is killed says so, and the others go on. What may be killed for a system call, or ends
up as somebody else, runs in a process of its own.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

from . import files, kernel, network, others
from .order import Attack, Order

#: One attack's seconds: all of them are one system call or a short scan.
PATIENCE_S = 3
#: What one attack may bring back.
MOST_ANSWER = 1 << 16
ATTACKS: dict[str, Attack] = {**files.ATTACKS, **network.ATTACKS, **others.ATTACKS, **kernel.ATTACKS}
ALONE = {*kernel.ATTACKS, "packet", "vsock", "crypto_socket", "sysv_memory", "trace", "kill"}


def main() -> None:
    """Read the order, attack, answer."""
    order: Order = {**json.load(sys.stdin), "keeper": os.getppid()}
    signal.signal(signal.SIGALRM, _too_long)
    answers = {
        name: _alone(attack, order) if name in ALONE else _tried(attack, order) for name, attack in ATTACKS.items()
    }
    json.dump(answers, sys.stdout)
    sys.stdout.flush()


def _too_long(*_: object) -> None:
    raise TimeoutError(f"no answer within {PATIENCE_S} s")


def _alone(attack: Attack, order: Order) -> Any:
    """One attack in a child, so that a filter that kills, or new credentials, end only this one."""
    got, say = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(got)
        with os.fdopen(say, "w") as answer:
            json.dump(_tried(attack, order), answer)
        os._exit(0)
    os.close(say)
    with os.fdopen(got, "rb") as pipe:
        raw = pipe.read(MOST_ANSWER)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        return {"error": f"ended by {signal.Signals(os.WTERMSIG(status)).name}"}
    return json.loads(raw) if raw else {"error": "no answer"}


def _tried(attack: Attack, order: Order) -> Any:
    signal.alarm(PATIENCE_S)
    try:
        return {"proof": attack(order)}
    except Exception as error:  # noqa: BLE001 - a border: whatever stops an attack is its answer
        return {"error": f"{type(error).__name__}: {error}"}
    finally:
        signal.alarm(0)


main()

"""`python programs NAME < ORDER`: one attack, and what came of it as one line of JSON."""

from __future__ import annotations

import json
import sys
import traceback

import kernel_calls
import memory_of_others
import network
import reading
import tricks
import writing
from kit import ATTACKS

__all__ = ["kernel_calls", "memory_of_others", "network", "reading", "tricks", "writing"]


def main() -> None:
    name = sys.argv[1]
    order = json.load(sys.stdin)
    try:
        proof = kernel_calls.every_call(order) if name == kernel_calls.TOGETHER else ATTACKS[name].run(order)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        print(json.dumps({"stopped": f"{error!r} at {where.name}:{where.lineno}"}), flush=True)
        return
    print(json.dumps({"proof": proof}, default=repr), flush=True)


main()

"""Take memory and hold it. `sys.argv[3:]`: processes, bytes for each, seconds to hold. Prints `held` if it could."""

from __future__ import annotations

import os
import sys
import time

_STEP = 8 << 20


def main() -> None:
    """Every child fills its share, says so, and waits for the others."""
    processes, size, hold_s = int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])
    filled, say = os.pipe()
    wait, go = os.pipe()
    for _ in range(processes):
        if os.fork() == 0:
            os.close(go)
            kept = [b"\1" * _STEP for _ in range(size // _STEP)]
            os.write(say, b"x")
            os.close(say)
            os.read(wait, 1)
            os._exit(0 if kept else 1)
    os.close(say)
    count = 0
    while done := os.read(filled, processes):
        count += len(done)
        if count == processes:
            break
    if count == processes:
        time.sleep(hold_s)  # noqa: TID251 - this program has nothing of rsi
        print("held", flush=True)  # noqa: T201
    os.close(go)


main()

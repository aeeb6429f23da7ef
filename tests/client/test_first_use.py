"""The first use of anything by many threads at once does not crash the process."""

from __future__ import annotations

import subprocess
import sys

FIRST_USE = """
import sys, threading
sys.setswitchinterval(1e-6)
from rsi.classify import classify
from rsi.rules import load
gate = threading.Barrier(8)
def first(number):
    gate.wait()
    if number % 2:
        classify("429 Too Many Requests")
    else:
        load("classify")
        load("fix")
threads = [threading.Thread(target=first, args=(n,)) for n in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(classify("429 Too Many Requests").name)
"""


def test_eight_threads_load_the_rules_at_once():
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", FIRST_USE], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout.strip()) == (0, "rate_limit"), done.stderr

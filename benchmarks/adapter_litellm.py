"""What our LiteLLM logger costs per callback, beside an empty one, in one run.

    python benchmarks/adapter_litellm.py [--json] [--calls N] [--repeats R] [--limit-us 20]

Needs litellm. `litellm.completion` with a scripted answer is called with each logger in turn; figures are µs of CPU time
of the calling thread inside the logger, two callbacks a call: before it, and when it worked (in a thread of LiteLLM's).
Exits 1 if our mean is above the limit.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from functools import partial

os.environ |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "XDG_STATE_HOME": tempfile.mkdtemp()}

import litellm
from adapter_timing import LIMIT_US, NOBODY, in_turns, report, timed
from litellm.integrations.custom_logger import CustomLogger

import rsi.client
from rsi_adapters.litellm.logger import Logger
from rsi_adapters.litellm.observing import Observer

NAMES = ("log_pre_api_call", "log_success_event")
PATIENCE_S = 30.0
MESSAGES = [{"role": "user", "content": "hi"}]


class Empty(CustomLogger):
    """Does nothing."""

    def log_pre_api_call(self, model: object, messages: object, kwargs: object) -> None: ...

    def log_success_event(self, kwargs: object, response_obj: object, start_time: object, end_time: object) -> None: ...


def measured(kind: type, given: tuple[object, ...], calls: int) -> list[int]:
    spent: list[int] = []
    litellm.callbacks = [timed(kind, NAMES, spent)(*given)]
    for _ in range(calls):
        litellm.completion(model="gpt-4o-mini", messages=MESSAGES, mock_response="42")
    end = time.monotonic() + PATIENCE_S
    while len(spent) < calls * len(NAMES) and time.monotonic() < end:  # the second one comes in another thread
        time.sleep(0.05)
    for name in ("callbacks", "input_callback", "success_callback", "failure_callback"):
        getattr(litellm, name).clear()
    assert len(spent) == calls * len(NAMES), f"{len(spent)} callbacks"
    return spent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--limit-us", type=float, default=LIMIT_US)
    options = parser.parse_args()
    client = rsi.client.configure(url=NOBODY, source="benchmark", enabled=True)
    observer = Observer(source=None, client=client)
    measures = {
        "empty": partial(measured, Empty, (), options.calls),
        "rsi": partial(measured, Logger, (observer,), options.calls),
    }
    found = in_turns(measures, options.repeats)
    rsi.client.configure(enabled=False)
    return report(found, as_json=options.json, limit_us=options.limit_us)


if __name__ == "__main__":
    sys.exit(main())

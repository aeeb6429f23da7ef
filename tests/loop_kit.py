"""A home with a pipeline, rules of the test's own, a clock of its own, and agents that obey the policy."""

from __future__ import annotations

import random
from contextlib import contextmanager
from pathlib import Path

from rsi import clock
from rsi.config import Config, Home, parse
from rsi.model import Batch
from rsi.pipeline import Pipeline
from rsi.policy import effective
from rsi.rules import Allowance, FixChange, FixRule, FixVerify, When
from rsi.store import Store, fixes, trials

ERRORS = {
    "rate_limit": ("429 Too Many Requests: rate limit reached", "openai.RateLimitError", 429),
    "provider_5xx": ("500 Internal Server Error from the provider", "openai.InternalServerError", 500),
    "auth": ("401 Incorrect API key provided", "openai.AuthenticationError", 401),
}


class HandClock:
    """Time that moves when the test says so."""

    def __init__(self, at: float = 1_800_000_000.0) -> None:
        self.at = at
        self._mono = 0.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self._mono

    def sleep(self, seconds: float) -> None:
        self.forward(seconds)

    async def asleep(self, seconds: float) -> None:
        self.forward(seconds)

    def forward(self, seconds: float) -> None:
        self.at += seconds
        self._mono += seconds


def rule(
    name="retry-transient", knob="retry", value=None, categories=("rate_limit", "provider_5xx"), **more
) -> FixRule:
    value = {"max_attempts": 4, "initial_s": 0.5, "on": list(categories)} if value is None else value
    more.setdefault("safe", True)
    return FixRule(
        id=name,
        title=more.pop("title", f"Do {name}"),
        categories=list(categories),
        why="It passes by itself.",
        suggest="Retry with backoff.",
        date="2026-11-01",
        when=more.pop("when", When()),
        change=FixChange(knob=knob, value=value) if knob else None,
        verify=FixVerify(expect_ratio=0.3),
        allowance=Allowance(),
        **more,
    )


def advice(name="fix-key", categories=("auth",)) -> FixRule:
    return rule(name, knob=None, categories=categories, safe=False)


def config(**sections) -> Config:
    return parse(sections)


class Loop:
    """One home. `agents` send what really happened, in the arm that the policy gave them."""

    def __init__(self, path: Path, rules=(), conf: Config | None = None, seed: int = 1) -> None:
        self.home = Home(path)
        self.home.prepare()
        self.config = conf or Config()
        self.rules = list(rules) or [rule()]
        self.random = random.Random(seed)
        self.calls = 0
        self.open()

    def open(self) -> None:
        self.store = Store.open(self.home.store_url(self.config))
        self.pipeline = Pipeline(self.home, self.config, self.store)
        self.use(self.rules)

    def use(self, rules) -> None:
        self.rules = list(rules)
        self.pipeline._fix_rules = {one.id: one for one in self.rules}
        self.pipeline._rules_seen = []  # what an empty `rules/` looks like: nothing is loaded over these

    def close(self) -> None:
        self.pipeline.stop()
        self.store.close()

    def restart(self) -> None:
        self.close()
        self.open()

    def client(self, source="app", task="search", enforces=("retry", "timeout_s"), client="c1") -> None:
        self.pipeline.seen(client, source, task, enforces)
        self.store.write(lambda _: None)  # the writer goes in order: now it is there

    def send(self, *items) -> None:
        receipt = self.pipeline.submit(Batch(door="test", items=list(items))).result()
        assert not receipt.rejected, receipt.rejected

    def item(self, source="app", task="search", category=None, **fields):
        self.calls += 1
        found = {"id": f"c{self.calls}", "source": source, "task": task, "success": category is None, **fields}
        found.setdefault("ts", clock.now())
        if category:
            message, kind, status = ERRORS[category]
            found["error"] = {"message": message, "type": kind, "status": status}
        return found

    def fail(self, n=5, category="rate_limit", ok=5, **fields) -> None:
        """`n` failures and `ok` successes of an agent without any fix."""
        self.send(
            *(self.item(category=category, **fields) for _ in range(n)), *(self.item(**fields) for _ in range(ok))
        )

    def act(self, n, outcome, source="app", task="search", enforces=("retry", "timeout_s"), **fields) -> None:
        """`n` units through the policy: `outcome(scope, arms)` says `(failed, attempts)`."""
        policy = self.pipeline.policy()
        items = []
        for _ in range(n):
            unit = f"c{self.calls + 1}"
            found = effective(policy, source, task, unit, enforces, clock.now())
            failed, attempts = outcome(found.scope, {ref.id: ref.arm for ref in found.fixes})
            refs = [
                {"id": ref.id, "arm": ref.arm, "f": ref.f, "stage": ref.stage, "enforced": ref.enforced}
                for ref in found.fixes
            ]
            items.append(
                self.item(
                    source, task, "rate_limit" if failed else None,
                    attempt=attempts, fixes=refs, policy_version=policy.version, **fields,
                )
            )  # fmt: skip
        self.send(*items)

    def until(self, done, outcome, *, step=20, most=60, seconds=60.0, clock_=None, **fields):
        """Send and cycle until `done(fix)`; the fix."""
        for _ in range(most):
            self.act(step, outcome, **fields)
            if clock_ is not None:
                clock_.forward(seconds)
            self.pipeline.cycle()
            if done(self.fix()):
                break
        return self.fix()

    def fixes(self):
        with self.store.read() as conn:
            return list(reversed(fixes.list_fixes(conn)))

    def fix(self, ref="f1"):
        with self.store.read() as conn:
            return fixes.get_fix(conn, ref)

    def trial(self, fix=1):
        with self.store.read() as conn:
            return trials.get(conn, fix)


@contextmanager
def hand_clock():
    """A clock of the test's own, and salts that are the same in every run."""
    made = HandClock()
    clock.install(made)
    drawn, trials.new_salt = trials.new_salt, _Salts()
    try:
        yield made
    finally:
        clock.install(None)
        trials.new_salt = drawn


class _Salts:
    def __init__(self) -> None:
        self._n = 0

    def __call__(self) -> str:
        self._n += 1
        return f"{self._n:016x}"

"""Agents that obey the policy and report more than success: what each unit says follows from its arm."""

from rsi import clock
from rsi.policy import effective


def act(
    loop, n, fields, *, enforces=("retry", "timeout_s"), source="app", task="search", step=10, seconds=60.0, until=None
):
    """`n` units: `fields(fixed)` says what each reports (`category`, `attempt`, `duration_ms`, …); time goes on."""
    for first in range(0, n, step):
        policy = loop.pipeline.policy()
        items = []
        for _ in range(min(step, n - first)):
            unit = f"c{loop.calls + 1}"
            refs = effective(policy, source, task, unit, enforces, clock.now()).fixes
            said = fields("fixed" in {ref.arm for ref in refs})
            items.append(
                loop.item(
                    source, task, said.pop("category", None), policy_version=policy.version,
                    fixes=[{"id": r.id, "arm": r.arm, "f": r.f, "stage": r.stage, "enforced": r.enforced} for r in refs],
                    **said,
                )
            )  # fmt: skip
        loop.send(*items)
        clock.sleep(seconds)
        loop.pipeline.cycle()
        fix = loop.fix()
        if fix.state != "canary" or (until is not None and fix.verdict and until(fix.verdict)):
            return

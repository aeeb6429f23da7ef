"""What the demo says while it happens, read from the daemon's HTTP and nowhere else."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import click

from rsi import clock
from rsi.cli.demo.modes import Mode
from rsi.cli.demo.stage import Stage
from rsi.cli.options import harmless, styled
from rsi.cli.remote import Remote
from rsi.errors import ConflictError

POLL_S: Final = 0.5
#: The demo is over after this long, whatever it has seen, unless its caller says otherwise.
LONGEST_S: Final = 57.0
#: So many units must have ended after the fix was live in the agents before the story may end.
MIN_UNITS: Final = 250
#: So long nothing is fixed in the helpful mode: whether all tasks together fail less shows beside what was before.
LOOK_S: Final = 9.0
DECIDED: Final = frozenset({"verified", "worse", "no_difference"})
AGENT: Final = "demo-agent"


class Story:
    """Follows one fix from the first failure to its verdict."""

    def __init__(self, stage: Stage, mode: Mode, longest: float, *, quiet: bool) -> None:
        self._quiet = quiet
        self._longest = longest
        self._stage = stage
        self._mode = mode
        self._began = clock.monotonic()
        self._told: set[str] = set()
        self._live_at = 0
        self._seen_at = 0.0

    def tell(self) -> str:
        """Run until the verdict (or until time or units are up) and return its word."""
        remote = self._stage.start_daemon()
        self._say(f"the daemon is up at {remote.url}, with its default configuration")
        if not self._mode.rules:
            remote.call("POST", "/v1/pause", {})
            self._once("pause", f"for {LOOK_S:.0f} s nothing is fixed (`rsi pause`), to see how it is without")
        self._stage.start_agents(remote.url)
        self._say("32 agents ask a provider that fails 3 first tries in 10; one more agent has a bad key")
        followed: dict[str, Any] = {}
        while clock.monotonic() - self._began < self._longest:
            clock.sleep(POLL_S)
            self._tell_issues(remote)
            self._go_on(remote)
            followed = self._follow(remote)
            if followed and self._over(remote, followed):
                break
        verdict = (followed.get("verdict") or {}).get("outcome", "no_data")
        self._end(remote, followed, str(verdict))
        return str(verdict)

    def _go_on(self, remote: Remote) -> None:
        """Let fixes start once the agents were seen for long enough."""
        if "pause" not in self._told or "resume" in self._told:
            return
        if not self._seen_at and self._tasks(remote):
            self._seen_at = clock.monotonic()
        if self._seen_at and clock.monotonic() - self._seen_at >= LOOK_S:
            remote.call("POST", "/v1/resume", {})
            self._once("resume", f"{self._tasks(remote)} tasks so far; fixes may start (`rsi resume`)")

    def _follow(self, remote: Remote) -> dict[str, Any]:
        fixes = remote.call("GET", "/v1/fixes")["fixes"]
        for other in fixes:
            if other["source"] != AGENT:
                said = f"{other['id']} is a proposal, not applied: {other['title']} ({_first_rail(other)})"
                self._once(f"p{other['id']}", said)
        mine: list[dict[str, Any]] = [one for one in fixes if one["rule"] == self._mode.rule and one["source"] == AGENT]
        if not mine:
            return {}
        fix = mine[0]
        if fix["state"] == "proposed" and self._mode.rules:
            self._approve(remote, fix)
        self._tell_fix(remote, fix)
        return fix

    def _approve(self, remote: Remote, fix: dict[str, Any]) -> None:
        try:
            remote.call("POST", f"/v1/fixes/{fix['id']}/approve", {})
        except ConflictError:
            return  # it has moved on since we read it
        self._once("approved", f"{fix['id']} ({fix['title']}) approved over HTTP with the home's secret")

    def _tell_issues(self, remote: Remote) -> None:
        for issue in remote.call("GET", "/v1/issues?limit=20")["issues"]:
            self._once(issue["id"], f"issue {issue['id']} {issue['category']}: {harmless(issue['title'])[:80]}")

    def _tasks(self, remote: Remote) -> int:
        """Tasks of the agents so far, as the daemon counts them."""
        found = re.search(rf'^rsi_tasks_day{{source="{AGENT}"}} (\d+)', remote.text("/metrics"), re.MULTILINE)
        return int(found[1]) if found else 0

    def _tell_fix(self, remote: Remote, fix: dict[str, Any]) -> None:
        state = fix["state"]
        if state == "canary":
            change = json.dumps(fix["change"]["after"])
            self._once("canary", f"{fix['id']} goes live for half of the units: {change[:150]}")
            self._live_at = self._live_at or self._tasks(remote)
        verdict = fix.get("verdict") or {}
        if state == "canary" and "nobody has the fix for" in verdict.get("why", ""):
            self._once("washout", f"  {fix['id']} canary: nobody has it for a while: did failures fall or only move?")
        settled = verdict.get("n_fixed", 0) + verdict.get("n_control", 0)
        if settled:
            self._once(f"n{settled // 50}", f"  {fix['id']} {state}: {_arms(verdict)}")

    def _over(self, remote: Remote, fix: dict[str, Any]) -> bool:
        """A verdict that was acted on and enough units to have earned it, or as many as this mode gives it."""
        if not self._live_at:
            return False
        since = self._tasks(remote) - self._live_at
        decided = (fix.get("verdict") or {}).get("outcome") in DECIDED and fix["state"] != "canary"
        return since >= (MIN_UNITS if decided else self._mode.units)

    def _end(self, remote: Remote, fix: dict[str, Any], verdict: str) -> None:
        if "pause" in self._told and "resume" not in self._told:  # it was over before that: a kept home goes on
            remote.call("POST", "/v1/resume", {})
        colour = {"verified": "green", "worse": "red"}.get(verdict, "yellow")
        state = fix.get("state", "never proposed")
        line = f"verdict: {verdict} — {fix.get('id', 'no fix')} is now {state}"
        self._say(styled(line, fg=colour, bold=True), always=True)
        shown = fix.get("verdict") or {}
        if shown:
            self._say(f"  {_arms(shown)}; {shown.get('why') or shown.get('method')}")
            self._say(f"  cannot exclude: {shown.get('cannot_exclude')}")
        health = remote.call("GET", "/health")["sources"].get(AGENT, {})
        numbers = [health.get(key) for key in ("health_score", "lo", "hi")]
        if all(isinstance(number, float) for number in numbers):
            self._say("health of {}: {:.2f} [{:.2f}, {:.2f}]".format(AGENT, *numbers))

    def _once(self, key: str, text: str) -> None:
        if key not in self._told:
            self._told.add(key)
            self._say(text)

    def _say(self, text: str, *, always: bool = False) -> None:
        if self._quiet and not always:
            return
        click.echo(f"{clock.monotonic() - self._began:5.1f} s  {text}")


def _arms(verdict: dict[str, Any]) -> str:
    rates = [("-" if verdict.get(key) is None else f"{verdict[key]:.1%}") for key in ("p_fixed", "p_control")]
    return (
        f"failing {rates[0]} of {verdict.get('n_fixed', 0)} fixed units, "
        f"{rates[1]} of {verdict.get('n_control', 0)} control units"
    )


def _first_rail(fix: dict[str, Any]) -> str:
    rails = fix.get("rails") or ["advice only"]
    return str(rails[0])

"""Fix and verify: verdicts, plans, the gate and the policy, in one transaction with their journal entries.

Each step has a savepoint of its own: a rule that breaks planning never keeps a harmful fix from being rolled back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection

from rsi import clock
from rsi.config import Config, Home
from rsi.fix import apply, checked, edit, facts, gate, plan, publish
from rsi.fix.gate import Surroundings
from rsi.fix.rail import refusal
from rsi.model import FixState, Verdict
from rsi.pipeline.acted import Acted, both
from rsi.pipeline.checking import Checking
from rsi.pipeline.files import Files
from rsi.pipeline.pending import Pending, Struck
from rsi.pipeline.regressing import Regressing
from rsi.pipeline.whole import Whole
from rsi.rules import FixRule
from rsi.store import clients, fixes, health, journal, meta, trials
from rsi.store.fixes import FixRow
from rsi.store.trials import Trial
from rsi.verify import decide, watch

PAUSED: Final = "paused"
HOUR_S: Final = 3_600.0
DAY_S: Final = 86_400.0
ASK_EVERY_S: Final = 1.0
FORGOTTEN_S: Final = 2 * DAY_S
"""A source silent for this long is not known any more: it neither calms nor alarms the storm guard."""
ENDED_BADLY: Final[tuple[FixState, ...]] = ("rolled_back", "removed", "failed")
"""What a cool-down follows."""


class Acting:
    """One pass over fixes and trials.

    Args:
        home: where declared files are.
        config: what a person allows.
        attempt: `attempt(stage, conn, step)` runs a step in a savepoint; what it raises is counted there. False: it
            failed, and nothing of it was written.
        checks: runs what is checked before a fix starts.
        files: says what declared files say.
        whole: judges what cannot be split by unit.
    """

    def __init__(
        self,
        home: Home,
        config: Config,
        attempt: Callable[[str, Connection, Callable[[], None]], bool],
        *,
        checks: Checking,
        files: Files,
        whole: Whole,
    ) -> None:
        self._whole = whole
        self._home = home
        self._files = files
        self._config = config
        self._attempt = attempt
        self._checks = checks
        self._isolation = checks.isolation
        self._ask_at = float("-inf")
        self._published = False
        self._pending = Pending()
        self._regressing = Regressing()
        self._judged: set[tuple[int, int]] = set()

    def run(
        self,
        conn: Connection,
        rules: Mapping[str, FixRule],
        struck: Struck,
        fed: Collection[int],
        now: float,
    ) -> Acted:
        """Everything that follows from what struck, the fed trials and the time."""
        acted = Acted()
        self._pending.add(struck)
        steps: dict[str, Callable[[Acted], None]] = {
            "verify": lambda part: self._verify(conn, set(fed), part, now),
            "regression": lambda part: self._regressing.look(conn, part, now),
            "plan": lambda part: self._plan(conn, rules, part, now),
            "gate": lambda part: self.consider(conn, rules, part, now, fresh=bool(acted.planned)),
            "publish": lambda part: self.publish(conn, part, now),
        }
        for stage, step in steps.items():
            if stage == "publish" and self._published and not (acted.moved or acted.started or acted.ended):
                continue
            part = Acted()
            if self._attempt(stage, conn, partial(step, part)):
                acted = both(acted, part)
        return acted

    def publish(self, conn: Connection, acted: Acted, now: float) -> None:
        """A new policy version, if anything that agents see has changed."""
        acted.policy, acted.published = publish.commit(conn, self._config, now)
        self._published = True

    def consider(
        self, conn: Connection, rules: Mapping[str, FixRule], acted: Acted, now: float, *, fresh: bool = True
    ) -> None:
        """Ask the gate about what waits; start what it lets through, what a person approved first.

        Rails depend on the time and on others, so all are asked again, but without news (`fresh`) once a second.
        """
        fresh = self._conclude(conn, rules, acted, now) or self._isolation != self._checks.isolation or fresh
        if not fresh and clock.monotonic() < self._ask_at:
            return
        self._isolation = self._checks.isolation
        self._ask_at = clock.monotonic() + ASK_EVERY_S
        waiting = fixes.waiting(conn)
        if not waiting:
            return
        around = self._surroundings(conn, rules, waiting, now)
        for fix in waiting:
            rails = gate.rails(fix, around)
            if rails:
                if [rail.sentence for rail in rails] != fix.rails:
                    fixes.change_to(conn, fix.id, now, **refusal(fix, rails))
                continue
            if checked.due(fix, self._config.verify, now):
                key = checked.key(fix, self._config.verify)
                acted.checking.append(apply.begin_check(conn, fix, key, now))
            else:
                self._start(conn, fix, acted, now)
            around = self._surroundings(conn, rules, waiting, now)

    def _conclude(self, conn: Connection, rules: Mapping[str, FixRule], acted: Acted, now: float) -> bool:
        """What was checked starts if the check and every rail let it, or goes back to where it came from.

        Returns:
            whether there was any.
        """
        for fix in fixes.in_states(conn, fixes.CHECKING):
            if edit.due(fix):
                continue  # it is being written
            found = self._checks.result(fix)
            if paused(conn) or not self._checks.wanted:
                acted.returned.append(self._back(conn, rules, fix, now))
            elif found is None:
                continue
            elif found.outcome == "broke":
                acted.ended.append(apply.fail(conn, apply.keep_check(conn, fix, found, now), found, now))
            else:
                self._start_or_back(conn, rules, apply.keep_check(conn, fix, found, now), acted, now)
            acted.checked.add(fix.id)
        return bool(acted.checked)

    def _start_or_back(
        self, conn: Connection, rules: Mapping[str, FixRule], fix: FixRow, acted: Acted, now: float
    ) -> None:
        if gate.rails(fix, self._surroundings(conn, rules, [fix], now)):
            acted.returned.append(self._back(conn, rules, fix, now))
        else:
            self._start(conn, fix, acted, now)

    def _back(self, conn: Connection, rules: Mapping[str, FixRule], fix: FixRow, now: float) -> FixRow:
        rails = gate.rails(fix, self._surroundings(conn, rules, [fix], now))
        return apply.break_off(conn, fix, rails, now)

    def _surroundings(
        self, conn: Connection, rules: Mapping[str, Any], waiting: Collection[FixRow], now: float
    ) -> Surroundings:
        config = self._config
        enough = config.fix.min_failures  # in a row: a plan needs no more, and health waits for more
        sources = [row for (_, task), row in health.load(conn).items() if not task and row.state != "unknown"]
        known = [row for row in sources if now - row.at < FORGOTTEN_S]
        standing = fixes.in_states(conn, fixes.STANDING)
        running = {trial.fix for trial in trials.running(conn)}
        live = fixes.in_states(conn, (*fixes.CHECKING, *fixes.APPLIED))
        writing = [fix for fix in live if edit.due(fix)]
        whole = [fix for fix in live if fix.state == "canary" and edit.is_file(fix)]
        return Surroundings(
            config=config,
            paused=paused(conn),
            known_sources=len(known),
            unhealthy_sources=sum(row.state == "unhealthy" or row.run_of_failures >= enough for row in known),
            applied_last_hour=fixes.applied_since(conn, now - HOUR_S) + len(writing),
            enforcers=clients.live(conn, now, config.client_ttl).enforcers,
            rules=rules,
            records={rule: fixes.record(conn, rule) for rule in {fix.rule for fix in waiting}},
            experiments=[*(fix for fix in live if fix.id in running), *whole, *writing],
            scope=lambda source, task: publish.standing_scope(standing, source, task),
            now=now,
            cooling=fixes.ended_since(conn, ENDED_BADLY, now - config.fix.cooldown),
            checking=next(iter(fixes.in_states(conn, fixes.CHECKING)), None),
            isolation=self._checks.isolation,
            files=self._files.rails,
            lacking=lambda fix: self._files.lacking(conn, fix, now),
        )

    def _start(self, conn: Connection, fix: FixRow, acted: Acted, now: float) -> None:
        """Into the policy at once; what goes into a file is written when this is in the store (`Filing`)."""
        said, was = apply.approval(fix), facts.before(conn, fix, now)
        if edit.is_file(fix):
            acted.checking.append(apply.begin_edit(conn, fix, was, now))
        elif said is not None and said["now"]:
            acted.started.append(apply.keep_now(conn, fix, now))
        else:
            acted.started.append(apply.start(conn, fix, self._config, was, now))

    def _plan(self, conn: Connection, rules: Mapping[str, FixRule], acted: Acted, now: float) -> None:
        due = self._pending.due(now)
        if not due:
            return
        home = self._home.path
        found = plan.plan(conn, list(rules.values()), self._config, self._pending.issues, now, home=home, scopes=due)
        for key, by in found.outdated.items():
            acted.ended.append(apply.replan(conn, fixes.get(conn, key), by, now))
        for key, evidence in found.refreshed:
            fixes.change_to(conn, key, now, evidence=evidence)
        acted.planned.extend(apply.propose(conn, new, now) for new in found.new)
        self._pending.done(due, found.looked_at, now)

    def _verify(self, conn: Connection, fed: set[int], acted: Acted, now: float) -> None:
        self._whole.verify(conn, acted, now)
        running = trials.running(conn)
        if not running:
            return
        tried = {fix.id: fix for fix in fixes.in_states(conn, ("canary", "verified"))}
        by_fix = {trial.fix: trial for trial in running}
        fed |= set(watch.silence(conn, tried, by_fix, self._config.verify.silent_after, now))
        acted.moved = bool(fed)
        for trial in running:
            fix = tried.get(trial.fix)
            if fix is not None:
                current = trials.get(conn, trial.fix) if trial.fix in fed else trial
                self._judge(conn, fix, current or trial, acted, now, fed=trial.fix in fed)

    def _judge(self, conn: Connection, fix: FixRow, trial: Trial, acted: Acted, now: float, *, fed: bool) -> None:
        if trial.kind == "holdout":
            self._judge_holdout(conn, fix, trial, acted, now, fed=fed)
            return
        due = fix.deadline is not None and now >= fix.deadline
        if not (fed or due or self._asks_again(fix, trial)):
            return
        verdict = self._verdict(conn, fix, trial, now)
        said = decide.same(fix.verdict, verdict)
        if not said:
            fix = fixes.change_to(conn, fix.id, now, verdict=verdict)
        after = apply.act(
            conn, fix, verdict, self._config, now, decide.at_deadline(verdict, self._config.fix.undecided)
        )
        if after.state != fix.state:
            acted.ended.append(after)
        elif (fraction := decide.next_fraction(conn, trial, self._config.verify.ramp)) is not None:
            apply.start_stage(conn, fix, fraction, now)
        if not said:
            acted.judged.append((after, verdict))

    def _asks_again(self, fix: FixRow, trial: Trial) -> bool:
        """Without new outcomes: the first look of this process, and verdicts that only wait for time to pass."""
        seen = (fix.id, trial.stage)
        first = seen not in self._judged
        self._judged.add(seen)
        return first or (fix.verdict is not None and fix.verdict.why.startswith(decide.INTERACT))

    def _judge_holdout(
        self, conn: Connection, fix: FixRow, trial: Trial, acted: Acted, now: float, *, fed: bool
    ) -> None:
        """Keep watching: worse is rolled back; any other end of the test begins a new window."""
        first = next(stage for stage in trial.counts.stages if stage.kind == "holdout")
        if now >= first.started + self._config.verify.holdout_days * DAY_S:
            acted.ended.append(apply.end_holdout(conn, fix, now))
            return
        if not fed:
            return
        verdict = self._verdict(conn, fix, trial, now)
        if verdict.outcome == "worse":
            fix = fixes.change_to(conn, fix.id, now, verdict=verdict)
            detail = {"verdict": "worse", "p_fixed": verdict.p_fixed, "p_control": verdict.p_control}
            acted.ended.append(apply.roll_back(conn, fix, apply.VERDICT, now, detail))
            acted.judged.append((fix, verdict))
        elif verdict.outcome in ("verified", "no_difference"):
            apply.hold(conn, fix, trial.fraction, now)

    def _verdict(self, conn: Connection, fix: FixRow, trial: Trial, now: float) -> Verdict:
        able = clients.enforcers(conn, fix.source, fix.task, now, self._config.client_ttl)
        categories = [fix.category, *fix.evidence.get("categories", {})]
        return decide.decide(conn, trial, categories, clients=able.get(fix.knob, 1), now=now)


def paused(conn: Connection) -> bool:
    """Whether a person has stopped all applying."""
    return bool(meta.get(conn, PAUSED, default=False))


def set_paused(conn: Connection, who: str, *, on: bool) -> bool:
    """Stop or go on applying fixes; what is live stays."""
    if paused(conn) != on:
        meta.put(conn, PAUSED, on)
        journal.append(conn, who, "pause" if on else "resume", "fixes", {})
    return on

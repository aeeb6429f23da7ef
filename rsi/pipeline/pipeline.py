"""`Pipeline`: observe → analyze → fix → verify → publish, in that order, and what people may do in between.

The only place that knows the order. Stages do not call one another; each gets what it needs from here.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy import Connection

from rsi import clock, telemetry
from rsi.analyze import health
from rsi.analyze.issues import Changed
from rsi.analyze.observe import Observer
from rsi.analyze.prototype import SURE
from rsi.config import Config, Home
from rsi.errors import StoreBusyError
from rsi.fix import publish
from rsi.ingest import Ingest
from rsi.model import Batch, Incident, Outcome, Policy, Receipt
from rsi.notify import Notifier
from rsi.pipeline import acting, regressing
from rsi.pipeline.acted import Acted
from rsi.pipeline.acting import Acting
from rsi.pipeline.checking import Checking
from rsi.pipeline.clustering import Clustering
from rsi.pipeline.correlating import Correlating
from rsi.pipeline.deciding import Deciding
from rsi.pipeline.files import Files
from rsi.pipeline.filing import Filing
from rsi.pipeline.pending import Struck
from rsi.pipeline.proposed import Proposed
from rsi.pipeline.report import CycleReport, Events
from rsi.pipeline.rulebook import Rulebook
from rsi.pipeline.ruling import Ruling
from rsi.pipeline.stages import Stages
from rsi.pipeline.taking import Taken, Taking
from rsi.pipeline.whole import Whole
from rsi.policy import mask_task
from rsi.store import Store, clients, fixes, issue_rows, outcomes, recategorize, watermark
from rsi.worker import Worker

T = TypeVar("T")

TICK_S: Final = 1.0
"""Without news: how often deadlines, silent units and quiet issues are looked at."""
DEBOUNCE_S: Final = 0.05
"""After news: what arrives within this goes into the same cycle."""

log = logging.getLogger("rsi.pipeline")


class Pipeline(Deciding, Rulebook, Stages):
    """One home's loop. Safe to use from any thread; cycles run one at a time.

    Args:
        home: where proposals and rules lie.
        config: `rsi.yaml`.
        store: open for writing.
        worker: for similarity; without it everything else works.

    Raises:
        ConfigError: a scope in `policy`, a target in `notify` or a pattern in `redact` is wrong.
    """

    def __init__(self, home: Home, config: Config, store: Store, worker: Worker | None = None) -> None:
        publish.check_person(config)
        Stages.__init__(self)
        Rulebook.__init__(self)
        self._home = home
        self._config = config
        self._store = store
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._events = Events(self._failed)
        self._events.subscribe(telemetry.event, only=("verdict",))
        self._counts: Counter[str] = Counter()
        self._last = CycleReport()
        self._proposed = Proposed(home.proposals, store, self._decided)
        self._notifier = Notifier(config.notify)
        self._classify_seen = self._rule_files("classify", "words")
        classifier = self._classifier()
        self._taking = Taking(store, config, Observer(classifier))
        self._ruling = Ruling(store, classifier, self._rules_key, self._regroup)
        self._checking = Checking(home, config, store, done=self._wake.set, failed=self._check_failed)
        self._files = Files(home, config, store)
        whole = Whole(config)
        self._filing = Filing(home, config, store, self._files, whole)
        self._acting = Acting(home, config, self._attempt, checks=self._checking, files=self._files, whole=whole)
        self._worker = worker
        asks = self._prototypes(), classifier.weaker_than(SURE)
        self._clusters = Clustering(store, worker, self._cluster_failed, self._clustered, *asks) if worker else None
        self._disk_stopped_clusters = False
        self._correlating = Correlating(store, self._correlation_failed, self._correlated)
        self._ingest = Ingest(store, config, on_stored=self._stored)
        self._policy = store.write(lambda conn: publish.commit(conn, config, clock.now())).policy
        self._identity = store.write(publish.identity)

    # --- what doors, agents and readers ask

    @property
    def store(self) -> Store:
        """The store behind it, for readers."""
        return self._store

    def submit(self, batch: Batch) -> Future[Receipt]:
        """Take a batch of outcomes (`model.Submit`)."""
        return self._ingest.submit(batch)

    def policy(self) -> Policy:
        """What agents should do now."""
        return publish.fresh(self._policy, clock.now())

    @property
    def identity(self) -> str:
        """Which store the policy's versions count in: the same version of another one is another policy."""
        return self._identity

    def policy_for(self, source: str | None, task: str | None) -> Policy:
        """The part of the policy that concerns one source and task, named as its reporter names it."""
        return publish.narrow(self.policy(), source, mask_task(task) if task else None)

    def seen(
        self, client: str, source: str, task: str | None, enforces: Iterable[str], policy_version: int | None = None
    ) -> None:
        """A client said what it can enforce: a proposal may have waited for it. Returns at once."""
        knobs, now = sorted(set(enforces)), clock.now()
        name = mask_task(task) if task else clients.ALL_TASKS

        def job(conn: Connection) -> bool:
            return clients.seen(conn, client, source, name, knobs, policy_version, now)

        def told(done: Future[bool]) -> None:
            if done.exception() is None and done.result():
                self._wake.set()

        self._store.submit(job).add_done_callback(told)

    def subscribe(
        self, callback: Callable[[str, dict[str, Any]], None], only: Collection[str] | None = None
    ) -> Callable[[], None]:
        """Call `callback(event, data)` on outcome, issue, fix, verdict, health and policy; returns how to stop."""
        return self._events.subscribe(callback, only)

    def status(self) -> dict[str, Any]:
        """What runs and what is wrong; `troubles` is one sentence each."""
        with self._store.read() as conn:
            at, newest = watermark.get(conn), outcomes.last_seq(conn)
            stopped = acting.paused(conn)
        told = self._notifier.status()
        troubles = [*self._troubles.sentences(), *itertools.chain.from_iterable(self._problems.values())]
        if self._clusters is not None and (slow := self._clusters.slow()):
            troubles.append(slow)
        if told["failed"] or told["dropped"]:
            lost = f"{told['failed'] + told['dropped']} notifications were lost: {told['last_error']}"
            troubles.append(lost)
        troubles += [*self._proposed.sentences(), *self._filing.sentences()]
        if self._counts["quarantined"]:
            troubles.append(f"{self._counts['quarantined']} outcomes could not be analysed; they are in the rejects")
        return {
            "running": self._thread is not None and self._thread.is_alive(),
            "paused": stopped,
            "cycles": self._counts["cycles"],
            "last_cycle": msgspec.to_builtins(self._last),
            "watermark": at,
            "behind": max(0, newest - at),
            "policy_version": self._policy.version,
            "fix_rules": len(self._fix_rules),
            "checking": self._checking.running(),
            "failures": self._troubles.counts(),
            "ingest": self._ingest.status(),
            "notify": told,
            "worker": msgspec.to_builtins(self._worker.status()) if self._worker else None,
            "troubles": troubles,
        }

    # --- the cycle

    def cycle(self, *, wait_for_worker: bool = False) -> CycleReport:
        """Everything once, over all that is new.

        Args:
            wait_for_worker: let new templates be clustered before this returns.
        """
        report = self._cycle(rest=False, wait_for_worker=wait_for_worker)
        while self._thread is None and self._checking.wait() and not report.failed:  # nobody else would come back to it
            with self._lock:
                self._stage("act", report, lambda: self._act(report, Struck(), ()), rest=False)
                self._stage("files", report, lambda: self._file(report), rest=False)
                self._stage("proposals", report, lambda: self._write_proposals(report), rest=False)
        return report

    def start(self) -> None:
        """Run cycles in a background thread: when something is new, and every second."""
        self._checking.begin()
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._stopping.clear()
                self._thread = threading.Thread(target=self._run, name="rsi-pipeline", daemon=True)
                self._thread.start()
        self._wake.set()

    def relate(self) -> None:
        """Once a day look again for what may be the same; call it as often as you like, it returns at once."""
        if self._clusters is not None:
            self._clusters.relate()

    def stop(self) -> None:
        """Finish the cycle under way and what is to be told; safe to call twice."""
        self._stopping.set()
        self._wake.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self._checking.stop()
        if self._clusters is not None:
            self._clusters.stop()
        self._correlating.stop()
        self._notifier.stop()

    def _run(self) -> None:
        while not self._stopping.is_set():
            if self._wake.wait(TICK_S):
                self._stopping.wait(DEBOUNCE_S)
            self._wake.clear()
            try:
                self._cycle(rest=True)
            except Exception as error:  # the border of the thread: counted, shown, tried again
                log.exception("a cycle failed")
                self._failed("cycle", error)
            else:
                self._troubles.worked("cycle")

    def _cycle(self, *, rest: bool, wait_for_worker: bool = False) -> CycleReport:
        """One cycle; with `rest`, stages that failed lately are left out."""
        with self._lock:
            began = clock.monotonic()
            self._resting = rest
            report = CycleReport()
            struck = Struck()
            fed: set[int] = set()
            self._stage("rules", report, self._load_rules, rest=rest)
            self._stage("ruling", report, lambda: self._judge_again(report), rest=rest)
            self._stage("observe", report, lambda: self._observe(report, struck, fed), rest=rest)
            if self._clusters is not None and wait_for_worker:
                report.merged = self._clusters.run()
            elif self._clusters is not None and (report.new_issues or self._is_owed(self._clusters)):
                self._clusters.begin()
            (self._correlating.begin if rest else self._correlating.run)()
            self._stage("recategorised", report, lambda: self._recategorised(struck), rest=rest)
            self._stage("files", report, lambda: self._look_at_files(report, rest=rest), rest=rest)
            self._stage("act", report, lambda: self._act(report, struck, fed), rest=rest)
            self._stage("files", report, lambda: self._file(report), rest=rest)
            self._stage("decided", report, lambda: self._read_proposals(rest=rest), rest=rest)
            self._stage("proposals", report, lambda: self._write_proposals(report), rest=rest)
            report.policy_version = self._policy.version
            report.ms = (clock.monotonic() - began) * 1000.0
            self._counts["cycles"] += 1
            telemetry.cycle(msgspec.to_builtins(report))
            self._last = report
            return report

    def _observe(self, report: CycleReport, struck: Struck, fed: set[int]) -> None:
        took = False
        for taken in self._taking.slices():
            took = True
            self._digest(taken, report, struck, fed)
        if not took:
            self._digest(self._taking.idle(), report, struck, fed)

    def _judge_again(self, report: CycleReport) -> None:
        """Once, before anything is observed under rules that have changed."""
        report.issues += len(self._ruling.run())

    def _regroup(self, changed: Collection[int]) -> None:
        if self._clusters is not None:
            self._clusters.again(changed)

    def _is_owed(self, clusters: Clustering) -> bool:
        """It rests after failures; but what stopped it was the disk, which is written again, waits for nothing."""
        writes_again = self._disk_stopped_clusters and self._store.trouble is None
        return clusters.owes and (writes_again or not self._troubles.waiting("clustering"))

    def _recategorised(self, struck: Struck) -> None:
        """Issues that are not `unknown` any more are planned like any other."""
        with self._store.read() as conn:
            named = recategorize.unplanned(conn)
            rows = issue_rows.load(conn, named)
        for key, scopes in named.items():
            struck.recategorized(key, scopes)
            row = rows[key]
            moved = Changed(row.ref, row.title, row.category, row.state, row.state, recategorize.BY, row.why)
            self._events.emit("issue", msgspec.to_builtins(moved))

    def _digest(self, taken: Taken, report: CycleReport, struck: Struck, fed: set[int]) -> None:
        report.quarantined += taken.quarantined
        self._counts["quarantined"] += taken.quarantined
        delta = taken.delta
        if delta is None:
            return
        report.outcomes += delta.rows
        report.new_issues += len(delta.created)
        report.issues += len(delta.touched)
        struck.take(delta)
        fed.update(taken.fed)
        for moved in taken.moved:
            self._events.emit("issue", msgspec.to_builtins(moved))
        for alarm in delta.alarms:
            self._tell_alarm(alarm)
            self._events.emit("health", msgspec.to_builtins(alarm))
        if self._events.wants("health") and delta.health:
            with self._store.read() as conn:
                found = health.read(conn, self._config, clock.now())
            self._events.emit("health", msgspec.to_builtins(found))

    def _act(self, report: CycleReport, struck: Struck, fed: Collection[int]) -> None:
        now = clock.now()
        self._missed.clear()

        def job(conn: Connection) -> Acted:
            recategorize.planned(conn, struck.issues)
            return self._acting.run(conn, self._fix_rules, struck, fed, now)

        acted = self._store.write(job)
        report.failed.extend(self._missed)
        report.planned += len(acted.planned)
        report.applied += len(acted.started)
        report.verdicts += len(acted.judged)
        report.rolled_back += sum(fix.state == "rolled_back" for fix in acted.ended)
        report.published = report.published or acted.published
        self._tell(acted)

    def _look_at_files(self, report: CycleReport, *, rest: bool) -> None:
        """What people wrote into declared files; at a start first what another process left half way."""
        if not self._filing.begun:
            self._file(report)
        self._tell_of(report, self._files.look(rest=rest))

    def _file(self, report: CycleReport) -> None:
        """Write what the gate let through into its file, take out what is not live any more."""
        self._tell_of(report, self._filing.settle())

    def _tell_of(self, report: CycleReport, acted: Acted) -> None:
        if acted == Acted():
            return
        report.applied += len(acted.started)
        report.rolled_back += sum(fix.state == "rolled_back" for fix in acted.ended)
        self._tell(acted)

    def _tell(self, acted: Acted) -> None:
        if acted.policy is not None:
            self._policy = acted.policy
        self._checking.look()
        for fix in (*acted.planned, *acted.checking, *acted.returned, *acted.started, *acted.ended, *acted.filed):
            self._events.emit("fix", msgspec.to_builtins(fixes.public(fix)))
        for one in acted.regressed:
            self._events.emit("fix", msgspec.to_builtins(fixes.public(one.fix, regression=one.now)))
        for fix, verdict in acted.judged:
            self._events.emit("verdict", {"fix": fix.ref, "state": fix.state, **msgspec.to_builtins(verdict)})
        self._tell_people(acted)
        regressing.tell(self._notifier, acted)
        if acted.published:
            self._events.emit("policy", {"version": self._policy.version})

    def _read_proposals(self, *, rest: bool) -> None:
        self._proposed.look(self._fix_rules, rest=rest)

    def _write_proposals(self, report: CycleReport) -> None:
        report.proposals += self._proposed.write(self._fix_rules)

    def _change(self, step: Callable[[Connection], T]) -> T:
        """A person's step, what the gate makes of it, and the policy that follows, in one transaction."""
        with self._lock:
            self._resting = False
            self._stage("rules", CycleReport(), self._load_rules, rest=False)
            acted, report = Acted(), CycleReport()
            self._stage("files", report, lambda: self._look_at_files(report, rest=False), rest=False)

            def job(conn: Connection) -> T:
                done, at = step(conn), clock.now()
                self._attempt("gate", conn, lambda: self._acting.consider(conn, self._fix_rules, acted, at))
                self._acting.publish(conn, acted, at)
                return done

            done = self._store.write(job)
            self._tell(acted)
            self._stage("files", report, lambda: self._file(report), rest=False)
            self._stage("proposals", CycleReport(), lambda: self._write_proposals(CycleReport()), rest=False)
        return done

    # --- what others tell us, in their threads

    def _stored(self, new: list[Outcome]) -> None:
        """In the store's thread: wake the cycle, tell who watches."""
        self._wake.set()
        if self._events.wants("outcome"):
            for outcome in new:
                self._events.emit("outcome", _outcome(outcome))

    def _correlation_failed(self, error: BaseException) -> None:
        self._failed("correlate", error)

    def _correlated(self, changed: list[Incident]) -> None:
        self._troubles.worked("correlate")
        for incident in changed:
            self._events.emit("incident", msgspec.to_builtins(incident))

    def _check_failed(self, error: BaseException) -> None:
        self._failed("check", error)

    def _cluster_failed(self, error: BaseException) -> None:
        self._disk_stopped_clusters = isinstance(error, StoreBusyError)
        self._failed("clustering", error)

    def _clustered(self, merged: int) -> None:
        self._troubles.worked("clustering")
        if merged:
            self._wake.set()


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "id": outcome.id,
        "ts": clock.iso(outcome.ts),
        "source": outcome.source,
        "task": outcome.task,
        "kind": outcome.kind,
        "status": outcome.status,
    }

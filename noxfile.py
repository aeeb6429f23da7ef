"""Sessions that need environments of their own: `nox -s frameworks -- langgraph`, or without a name all of them."""

from __future__ import annotations

import nox

nox.options.sessions = ["frameworks"]


@nox.session(venv_backend="none")
def frameworks(session: nox.Session) -> None:
    """Each adapter against the real framework, at its newest and its oldest supported version.

    The environments are made and kept by `tests/frameworks/run.py`, under a key of their requirements.
    """
    session.run("python", "tests/frameworks/run.py", *session.posargs)

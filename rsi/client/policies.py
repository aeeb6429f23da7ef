"""The policies this process works under, one per source: in memory, on disk, and decaying without contact."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec

from rsi import clock
from rsi.client.tally import Tally
from rsi.model import Policy
from rsi.policy import decay, expires, read

#: Contract §4: a policy holds until 10 min past the last contact.
CONTACT_S: Final = 600.0


class Held(msgspec.Struct, frozen=True):
    """A policy in force: until `until` (epoch seconds) as it is, then as `decayed`."""

    policy: Policy
    decayed: Policy
    until: float
    etag: str | None = None
    problems: tuple[str, ...] = ()


class PolicyBook:
    """Reads are lock-free and cheap; a change applies from the next call on.

    Args:
        folder: where policies outlive the process, or `None`; asked when it is needed.
        tally: hears of trouble.
        acting: called whenever a policy comes into force under which something may have to be done about a failure.
        file: the one policy, for every source and for good: how a check before a fix says what it is about.
    """

    def __init__(
        self,
        folder: Callable[[], Path | None],
        tally: Tally,
        acting: Callable[[], None],
        file: Path | None = None,
    ) -> None:
        self._folder = folder
        self._file = file
        self._acting = acting
        self._tally = tally
        self._held: dict[str, Held] = {}
        self._tried: set[str] = set()

    def current(self, source: str) -> Policy | None:
        """The policy for `source` as it holds now; the same object as long as nothing changed."""
        held = self._held.get(source)
        if held is None:
            return None
        return held.policy if clock.now() <= held.until else held.decayed

    def held(self, source: str) -> Held | None:
        """The same with its tag and troubles."""
        return self._held.get(source)

    def sources(self) -> list[str]:
        """Sources with a policy."""
        return list(self._held)

    def take(self, source: str, raw: Any, etag: str | None = None) -> bool:
        """Work under this policy from now on; `False` if it is none (the one before stays)."""
        document = read(raw)
        for problem in document.problems:
            self._tally.count("policy_problems")
            self._tally.say_once(f"policy for {source}: {problem}")
        if document.policy is None:
            return False
        self._hold(source, document.policy, expires(document.policy), etag, document.problems)
        self._save(source)
        return True

    def adopt(self, source: str, policy: Policy) -> None:
        """The same for a policy made in this process (an embedded loop); it is not kept on disk."""
        self._hold(source, policy, expires(policy), None, ())

    def still(self, source: str) -> None:
        """The daemon said that nothing changed: good for another ten minutes."""
        held = self._held.get(source)
        if held is not None:
            until = max(held.until, clock.now() + CONTACT_S)
            self._held[source] = msgspec.structs.replace(held, until=until)
            self._save(source)

    def load(self, source: str) -> None:
        """Begin with what was known when the last process ended, decayed if that is long ago. Once per source."""
        if self._file is not None:
            self._obey(self._file, source)
            return
        folder = self._folder()
        if source in self._tried or folder is None:
            return
        self._tried.add(source)
        try:
            found = msgspec.json.decode(_file(folder, source).read_bytes())
            document = read(found["policy"])
        except FileNotFoundError:
            return
        except (OSError, msgspec.DecodeError, TypeError, KeyError, UnicodeDecodeError) as error:
            self._tally.say_once(f"the kept policy of {source} cannot be read and is left out: {error}")
            return
        if document.policy is not None and source not in self._held and found.get("source") == source:
            etag = found.get("etag")
            self._hold(source, document.policy, expires(document.policy), etag if isinstance(etag, str) else None, ())

    def _obey(self, path: Path, source: str) -> None:
        if source in self._tried:
            return
        self._tried.add(source)
        try:
            document = read(msgspec.json.decode(path.read_bytes()))
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            self._tally.say_once(f"RSI_POLICY_FILE={path} cannot be read, nothing is enforced: {error}")
            return
        for problem in document.problems:
            self._tally.say_once(f"RSI_POLICY_FILE={path}: {problem}")
        if document.policy is not None:
            self._hold(source, document.policy, float("inf"), None, document.problems)

    def _hold(self, source: str, policy: Policy, until: float, etag: str | None, problems: tuple[str, ...]) -> None:
        if policy.scopes or policy.experiments:
            self._acting()
        self._held[source] = Held(policy, decay(policy, float("inf")), until, etag, problems)

    def _save(self, source: str) -> None:
        folder, held = self._folder(), self._held[source]
        if folder is None:
            return
        policy = msgspec.structs.replace(held.policy, valid_until=clock.iso(held.until))
        content = msgspec.json.encode({"source": source, "etag": held.etag, "policy": policy})
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _replace(_file(folder, source), content)
        except OSError as error:
            self._tally.say_once(f"the policy of {source} cannot be kept: {error}", key=f"keep {source}")


def _file(folder: Path, source: str) -> Path:
    return folder / f"{sha256(source.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}.json"


def _replace(path: Path, content: bytes) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise

"""`InboxIntake`: watches the folder, hands each file to `submit`, and moves it once the store has it.

The observer wakes the thread early; the rescan finds what its events missed, so that it works without any.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

import msgspec

from rsi import clock
from rsi.config import Config
from rsi.errors import InvalidInputError, RSIError, StoreError
from rsi.model import Batch, Receipt, Submit
from rsi_adapters.inbox.box import Box, Claim
from rsi_adapters.inbox.reading import is_lines, read
from rsi_adapters.inbox.settle import Settling
from rsi_adapters.inbox.watch import Watch

log = logging.getLogger("rsi.inbox")

#: Claimed together, so that one sync of the folder serves many small files.
_TOGETHER: Final = 32
#: Bytes handed in and not yet answered; beyond it the oldest is waited for.
_IN_FLIGHT_BYTES: Final = 32 * 1024 * 1024
#: How often a sweep looks whether a file has settled, and how long it waits for one that keeps growing.
_LOOK_S: Final = 0.05
_SWEEP_PATIENCE_S: Final = 10.0
_PRUNE_EVERY_S: Final = 3600.0
#: A file that breaks us this often (a bug of ours) goes to `failed`, to be seen and not to come back for ever.
_TRIES: Final = 3


class InboxIntake:
    """The door `inbox/` of a home (model.Intake)."""

    name = "inbox"

    def __init__(self, home: Path, config: Config) -> None:
        self._config = config
        self._box = Box(home / "inbox")
        self._settling = Settling(self._box, config.inbox.settle_ms / 1000)
        self._watch = Watch(self._box.folder)
        self._submit: Submit | None = None
        self._turn = threading.Lock()  # one at a time: the thread, or a sweep
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._counts: Counter[str] = Counter()
        self._troubles: dict[str, str] = {}
        self._broken: Counter[str] = Counter()
        self._pruned: float | None = None

    def start(self, submit: Submit) -> None:
        """Make the folders and begin to watch them, in a thread."""
        self._submit = submit
        self._box.prepare()
        self._watch.start()
        self._thread = threading.Thread(target=self._run, name="rsi-inbox", daemon=True)
        self._thread.start()

    def routes(self, submit: Submit) -> Sequence[Any]:
        """None: this door is a folder."""
        self._submit = submit
        return ()

    def sweep(self, submit: Submit | None = None) -> int:
        """Take everything that waits, in this thread; the number of files taken.

        Args:
            submit: where to, unless `start` or `routes` said so already.

        Raises:
            RSIError: nobody said where to.
        """
        self._submit = submit or self._submit
        if self._submit is None:
            raise RSIError("the inbox does not know where to hand outcomes: give sweep() a submit")
        self._box.prepare()
        until = clock.monotonic() + _SWEEP_PATIENCE_S
        taken = 0
        while True:
            taken += self._pass(trust_mtime=True)
            if not self._settling.waiting or clock.monotonic() >= until:
                return taken
            clock.sleep(_LOOK_S)

    def stop(self) -> None:
        """Finish the file at hand, and end."""
        self._stopping.set()
        self._watch.stop()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def status(self) -> Mapping[str, Any]:
        """Files and outcomes taken, files that failed, and what is in the way."""
        troubles = [*self._settling.refused.values(), *self._troubles.values()]
        if self._watch.trouble:
            troubles.append(f"{self._watch.trouble}; looking every {self._config.inbox.rescan_s:g} s instead")
        return {"folder": str(self._box.folder), **self._counts, "watching": self._watch.active, "troubles": troubles}

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._pass()
                self._prune()
            except Exception as error:  # the border of the thread: it must not die of one bad moment
                self._counts["errors"] += 1
                self._troubles[""] = f"{self._box.folder}: {type(error).__name__}: {error}"
                log.exception("inbox pass failed")
            else:
                self._troubles.pop("", None)
            rescan = self._config.inbox.rescan_s
            self._watch.wait(min(rescan, self._settling.settle_s or _LOOK_S) if self._settling.waiting else rescan)

    def _prune(self) -> None:
        now = clock.monotonic()
        if self._pruned is None or now - self._pruned >= _PRUNE_EVERY_S:
            self._pruned = now
            self._box.prune(self._config.inbox.keep_days)

    def _pass(self, *, trust_mtime: bool = False) -> int:
        """Finish what was claimed before (a crash, a busy store), then take what is ready."""
        with self._turn:
            taken = self._take(self._box.claimed())
            ready = self._settling.ready(trust_mtime=trust_mtime)
            for start in range(0, len(ready), _TOGETHER):
                if self._stopping.is_set():
                    break
                taken += self._take(self._claim(ready[start : start + _TOGETHER]))
            return taken

    def _claim(self, names: Sequence[str]) -> list[Claim]:
        claims = []
        for name in names:
            try:
                claims.append(self._box.claim(name))
            except OSError as error:
                self._troubles[name] = f"{name}: cannot be claimed: {error.strerror}"
            else:
                self._troubles.pop(name, None)
            self._settling.forget(name)
        if claims:
            self._box.sync()
        return claims

    def _take(self, claims: Sequence[Claim]) -> int:
        """Hand several in, then wait for each: their commits are shared."""
        flying: list[tuple[Claim, bytes, Future[Receipt]]] = []
        taken = size = 0
        for claim in claims:
            handed = self._hand_in(claim)
            if handed is None:
                continue
            flying.append((claim, *handed))
            size += len(handed[0])
            while flying and size > _IN_FLIGHT_BYTES:
                size -= len(flying[0][1])
                taken += self._settle(*flying.pop(0))
        return taken + sum([self._settle(*each) for each in flying])

    def _hand_in(self, claim: Claim) -> tuple[bytes, Future[Receipt]] | None:
        submit = self._submit
        if submit is None:
            return None
        try:
            body = read(claim.path, claim.name, self._config.limits.request_bytes)
            batch = Batch(door=self.name, body=body, ndjson=is_lines(claim.name), id_prefix=claim.key)
            return body, submit(batch)
        except InvalidInputError as error:
            self._fail(claim, str(error))
        except StoreError as error:
            self._troubles[claim.name] = f"{claim.name}: waits in .work: {error}"
        except OSError as error:
            self._fail(claim, f"{claim.name}: cannot be read: {error.strerror}")
        except Exception as error:  # noqa: BLE001 - the border to whoever stands behind `submit`
            self._blame(claim, error)
        return None

    def _settle(self, claim: Claim, body: bytes, receipt: Future[Receipt]) -> int:
        try:
            self._finish(claim, body, receipt.result())
        except (StoreError, OSError) as error:
            self._troubles[claim.name] = f"{claim.name}: waits in .work: {error}"
            return 0
        except Exception as error:  # noqa: BLE001 - likewise
            self._blame(claim, error)
            return 0
        self._troubles.pop(claim.name, None)
        return 1

    def _finish(self, claim: Claim, body: bytes, receipt: Receipt) -> None:
        good = receipt.accepted + receipt.duplicates
        self._counts["accepted"] += receipt.accepted
        self._counts["duplicates"] += receipt.duplicates
        self._counts["rejected"] += len(receipt.rejected)
        if receipt.rejected and not good:
            self._fail(claim, "\n".join(each.error for each in receipt.rejected))
            return
        if receipt.rejected:
            refused = _cut_out(body, [each.index for each in receipt.rejected], ndjson=is_lines(claim.name))
            self._box.keep_refused(claim, refused, [each.error for each in receipt.rejected])
            log.warning("%s: %d of its items were refused, see failed/", claim.name, len(receipt.rejected))
        self._box.finish(claim)
        self._counts["files"] += 1

    def _fail(self, claim: Claim, reason: str) -> None:
        try:
            self._box.fail(claim, reason)
        except OSError as error:  # it stays where it is; the next file must not wait for it
            self._troubles[claim.name] = f"{claim.name}: refused, but cannot be moved to failed/: {error.strerror}"
            return
        self._counts["failed"] += 1
        self._troubles.pop(claim.name, None)
        log.warning("refused: %s", reason[:500])

    def _blame(self, claim: Claim, error: Exception) -> None:
        log.error("%s: unexpected failure", claim.name, exc_info=error)
        self._counts["errors"] += 1
        self._broken[claim.key] += 1
        self._troubles[claim.name] = f"{claim.name}: {type(error).__name__}: {error}"
        if self._broken[claim.key] >= _TRIES:
            del self._broken[claim.key]
            self._fail(claim, f"{claim.name}: {type(error).__name__}: {error}")


def _cut_out(body: bytes, indexes: Sequence[int], *, ndjson: bool) -> bytes | None:
    """The refused items as a file of the same kind; `None` where an array cannot be taken apart."""
    if ndjson:
        lines = [line for line in body.split(b"\n") if line.strip()]
        return b"".join(lines[i] + b"\n" for i in indexes if i < len(lines))
    try:
        items = msgspec.json.decode(body, type=list[msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError):
        return None
    return b"[" + b",\n".join(bytes(items[i]) for i in indexes if i < len(items)) + b"]\n"

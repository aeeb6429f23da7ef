"""The watched folder: taken once, moved when durable, refused with a reason, and never in each other's way."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import Future
from pathlib import Path

import pytest

from rsi import clock
from rsi.config import Config, InboxConfig, Limits
from rsi.errors import RSIError, StoreBusyError
from rsi.ingest import Ingest
from rsi.model import Batch, Receipt
from rsi.store import Store, outcomes
from rsi_adapters.inbox import InboxIntake
from rsi_adapters.inbox.watch import Watch

QUICK = Config(inbox=InboxConfig(settle_ms=20, rescan_s=0.05))


def good(n: int, **more: object) -> bytes:
    return b"".join(
        json.dumps({"task": "t", "success": True, "source": "s", "n": i, **more}).encode() + b"\n" for i in range(n)
    )


class Box:
    """A home with an inbox, and the real ingest and store behind it."""

    def __init__(self, home: Path, config: Config = QUICK) -> None:
        self.inbox = home / "inbox"
        self.inbox.mkdir(exist_ok=True)
        self.store = Store.open(home / "rsi.db")
        self.ingest = Ingest(self.store, config)
        self.intake = InboxIntake(home, config)

    def put(self, name: str, content: bytes) -> None:
        (self.inbox / name).write_bytes(content)

    def sweep(self) -> int:
        return self.intake.sweep(self.ingest.submit)

    @property
    def stored(self) -> int:
        with self.store.read() as conn:
            return outcomes.count(conn)

    def under(self, folder: str) -> list[str]:
        return sorted(path.name for path in (self.inbox / folder).rglob("*") if path.is_file())

    @property
    def trouble(self) -> str:
        return "\n".join(self.intake.status()["troubles"])


@pytest.fixture
def box(tmp_path):
    made = Box(tmp_path)
    with contextlib.closing(made.store):
        yield made


def wait_for(condition, patience=10.0):
    until = clock.monotonic() + patience
    while not condition():
        assert clock.monotonic() < until, "never became true"
        clock.sleep(0.01)


def test_every_form_is_taken_and_moved_to_done(box):
    box.put("one.json", b'{"task": "t", "success": true}')
    box.put("many.JSON", b'[{"task": "t", "success": true}, {"task": "t", "success": false}]')
    box.put("lines.jsonl", good(3))
    box.put("more.ndjson", b"\xef\xbb\xbf" + good(2) + b"\n\r\n")
    box.put("packed.jsonl.gz", gzip.compress(good(4)))
    assert box.sweep() == 5
    assert box.stored == 12
    assert box.under("done") == ["lines.jsonl", "many.JSON", "more.ndjson", "one.json", "packed.jsonl.gz"]
    assert (box.under(".work"), box.under("failed")) == ([], [])
    day = next((box.inbox / "done").iterdir())
    assert day.name == clock.iso(clock.now())[:10]


def test_two_equal_files_are_two_and_names_do_not_collide(box):
    for _ in range(3):
        box.put("a.json", good(1))
        box.sweep()
    assert box.stored == 3
    assert len(box.under("done")) == 3


def test_hidden_unfinished_and_foreign_names_are_left_alone(box):
    names = {".hidden.json", "x.json.tmp", "x.json.part", "README.md", "x.txt", "x.json.gz.tmp"}
    for name in names:
        box.put(name, good(1))
    assert box.sweep() == 0
    assert {path.name for path in box.inbox.iterdir() if path.is_file()} == names
    assert box.trouble == ""


def test_a_bad_line_does_not_stop_the_others(box):
    box.put("mix.jsonl", good(1) + b'{"task": "t", "success": "yes"}\n' + b"\nnot json\n" + good(1))
    box.sweep()
    assert box.stored == 2
    assert box.under("done") == ["mix.jsonl"]
    assert (box.inbox / "failed" / "mix.jsonl").read_bytes() == b'{"task": "t", "success": "yes"}\nnot json\n'
    why = (box.inbox / "failed" / "mix.jsonl.error.txt").read_text()
    assert 'outcome[1].success: expected true or false, got "yes"' in why
    assert "outcome[2]: not JSON" in why


def test_a_bad_element_of_an_array_is_cut_out(box):
    box.put("mix.json", b'[{"task": "t", "success": true}, {"task": 5, "success": true}]')
    box.sweep()
    assert json.loads((box.inbox / "failed" / "mix.json").read_bytes()) == [{"task": 5, "success": True}]
    assert (box.stored, box.under("done")) == (1, ["mix.json"])


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("broken.json", b'{"task": ', "not JSON"),
        ("empty.json", b"", "not JSON"),
        ("number.json", b"5", "expected an object"),
        ("latin.json", b'{"task": "\xff", "success": true}', "not JSON"),
        ("bad.jsonl", b"nope\nnope\n", "outcome[1]: not JSON"),
        ("plain.json.gz", b"not packed", "not gzip"),
        ("cut.json.gz", gzip.compress(b'{"task": "t", "success": true}', mtime=0)[:-6], "cut short"),
        (
            "deep.json",
            b'{"task": "t", "success": true, "metadata": ' + b'{"a":' * 40 + b"1" + b"}" * 41,
            "limits.depth",
        ),
        ("bottomless.json", b"[" * 100_000, "not JSON"),
    ],
)
def test_a_bad_file_goes_to_failed_with_its_reason_and_the_next_is_taken(box, name, content, why):
    box.put(name, content)
    box.put("zz.json", good(1))
    box.sweep()
    assert (box.inbox / "failed" / name).read_bytes() == content
    assert why in (box.inbox / "failed" / f"{name}.error.txt").read_text()
    assert (box.stored, box.under("done")) == (1, ["zz.json"])


def test_a_second_failure_of_the_same_name_overwrites_nothing(box):
    for content in (b"{", b"{{"):
        box.put("x.json", content)
        box.sweep()
    kept = [path.read_bytes() for path in (box.inbox / "failed").glob("x*.json")]
    assert sorted(kept) == [b"{", b"{{"]
    assert len(list((box.inbox / "failed").glob("*.error.txt"))) == 2


def test_sizes_over_the_limit_are_refused_also_unpacked(tmp_path):
    box = Box(tmp_path, Config(inbox=QUICK.inbox, limits=Limits(request_bytes=10_000)))
    box.put("big.jsonl", good(1000))
    box.put("bomb.json.gz", gzip.compress(b" " * 50_000_000))
    box.put("ok.json", good(1))
    box.sweep()
    assert box.stored == 1
    for name in ("big.jsonl", "bomb.json.gz"):
        assert "limits.request_bytes" in (box.inbox / "failed" / f"{name}.error.txt").read_text()
    box.store.close()


def test_links_pipes_and_folders_are_refused_visibly_and_block_nobody(box, tmp_path):
    secret = tmp_path / "secret.json"
    secret.write_bytes(good(1))
    (box.inbox / "link.json").symlink_to(secret)
    (box.inbox / "dangling.json").symlink_to(tmp_path / "nothing")
    os.mkfifo(box.inbox / "pipe.json")
    (box.inbox / "folder.json").mkdir()
    (box.inbox / "archive").mkdir()
    box.put("zz.json", good(1))
    assert box.sweep() == 1
    assert (box.stored, secret.exists()) == (1, True)
    for name, kind in (
        ("link.json", "symbolic link"),
        ("dangling.json", "symbolic link"),
        ("pipe.json", "named pipe"),
        ("folder.json", "folder"),
        ("archive", "folder"),
    ):
        assert f"{name}: is a {kind}" in box.trouble


def test_a_file_swapped_for_a_link_after_the_claim_is_not_followed(box, tmp_path):
    secret = tmp_path / "secret.json"
    secret.write_bytes(good(1))
    box.intake.sweep(box.ingest.submit)
    work = box.inbox / ".work" / ("a" * 32)
    work.symlink_to(secret)
    box.sweep()
    assert box.stored == 0
    assert secret.exists()


def test_an_unreadable_file_is_refused(box):
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    box.put("x.json", good(1))
    (box.inbox / "x.json").chmod(0)
    box.sweep()
    assert "cannot be read" in (box.inbox / "failed" / "x.json.error.txt").read_text()


def test_a_file_that_still_grows_is_not_taken_before_it_is_quiet(tmp_path):
    box = Box(tmp_path, Config(inbox=InboxConfig(settle_ms=200)))
    box.put("slow.jsonl", good(1))
    assert box.intake._settling.ready() == []
    clock.sleep(0.15)
    with (box.inbox / "slow.jsonl").open("ab") as file:
        file.write(good(1))
    assert box.intake._settling.ready() == []
    clock.sleep(0.1)
    assert box.intake._settling.ready() == []
    wait_for(lambda: box.intake._settling.ready() == ["slow.jsonl"])
    assert box.sweep() == 1
    assert box.stored == 2
    box.store.close()


def test_our_folders_are_for_nobody_else(box):
    box.put("a.json", b"{")
    box.put("b.json", good(1))
    box.sweep()
    for folder in (".work", "done", "failed"):
        assert (box.inbox / folder).stat().st_mode & 0o777 == 0o700
    assert (box.inbox / "failed" / "a.json.error.txt").stat().st_mode & 0o077 == 0


def test_a_busy_store_keeps_the_file_in_work_and_it_is_tried_again(box):
    box.put("a.jsonl", good(2))

    def busy(_batch: Batch) -> Future[Receipt]:
        future: Future[Receipt] = Future()
        future.set_exception(StoreBusyError("disk full"))
        return future

    assert box.intake.sweep(busy) == 0
    assert len(box.under(".work")) == 2
    assert "disk full" in box.trouble
    assert box.sweep() == 1
    assert (box.stored, box.under("done"), box.trouble) == (2, ["a.jsonl"], "")


def test_a_replay_after_a_crash_is_one(box):
    box.put("a.jsonl", good(3) + b"bad\n")
    claims: list[str] = []

    def dies_after_the_store(batch: Batch) -> Future[Receipt]:
        claims.append(batch.id_prefix or "")
        box.ingest.submit(batch).result()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        box.intake.sweep(dies_after_the_store)
    assert (box.stored, box.under("done")) == (3, [])
    after = InboxIntake(box.inbox.parent, QUICK)
    assert after.sweep(box.ingest.submit) == 1
    assert box.stored == 3
    assert after.status()["duplicates"] == 3
    assert (box.under("done"), box.under(".work")) == (["a.jsonl"], [])
    assert (box.inbox / "failed" / "a.jsonl").read_bytes() == b"bad\n"


def test_a_note_without_a_file_is_swept_away(box):
    box.sweep()
    (box.inbox / ".work" / ("b" * 32 + ".name")).write_bytes(b"x.json")
    box.put("a.json", good(1))
    assert box.sweep() == 1
    assert box.under(".work") == []


def test_a_file_that_breaks_ingest_ends_in_failed_and_blocks_nobody(box):
    box.put("a.json", b'{"poison": 1}')
    box.put("b.json", good(1))

    def breaks(batch: Batch) -> Future[Receipt]:
        if b"poison" in (batch.body or b""):
            raise ZeroDivisionError
        return box.ingest.submit(batch)

    for _ in range(3):
        box.intake.sweep(breaks)
    assert (box.under("done"), box.stored) == (["b.json"], 1)
    assert "ZeroDivisionError" in (box.inbox / "failed" / "a.json.error.txt").read_text()


def test_the_thread_takes_what_is_dropped_later_and_stops(box):
    box.intake.start(box.ingest.submit)
    try:
        assert box.intake.status()["watching"]
        for i in range(5):
            box.put(f"f{i}.json", good(1))
        wait_for(lambda: len(box.under("done")) == 5)
    finally:
        box.intake.stop()
    box.put("late.json", good(1))
    assert box.stored == 5


def test_without_a_watcher_the_rescan_is_enough_and_says_so(box, monkeypatch):
    def no_watches_left(self: Watch) -> None:
        self.trouble = f"{self._folder}: cannot be watched: inotify watch limit reached"

    monkeypatch.setattr(Watch, "start", no_watches_left)
    box.intake.start(box.ingest.submit)
    try:
        box.put("a.json", good(1))
        wait_for(lambda: box.under("done") == ["a.json"])
        assert "inotify watch limit reached; looking every 0.05 s instead" in box.trouble
        assert not box.intake.status()["watching"]
    finally:
        box.intake.stop()


def test_old_days_of_done_are_pruned(box):
    box.sweep()
    for day in ("2020-01-01", clock.iso(clock.now())[:10], "not-a-day"):
        (box.inbox / "done" / day).mkdir()
        (box.inbox / "done" / day / "x.json").write_bytes(b"{}")
    box.intake._box.prune(7)
    assert sorted(path.name for path in (box.inbox / "done").iterdir()) == sorted(
        [clock.iso(clock.now())[:10], "not-a-day"]
    )


def test_a_sweep_that_was_told_nothing_says_so(tmp_path):
    with pytest.raises(RSIError, match="submit"):
        InboxIntake(tmp_path, QUICK).sweep()


def test_names_of_any_bytes_and_length_are_taken(box):
    long = "n" * 250 + ".json"
    (box.inbox / long).write_bytes(b"{")
    raw = os.fsencode(box.inbox) + b"/caf\xe9.json"
    with open(raw, "wb") as file:  # noqa: PTH123 - a name that is no text
        file.write(good(1))
    box.sweep()
    assert box.stored == 1
    assert len(list((box.inbox / "failed").glob("*.error.txt"))) == 1


@pytest.mark.campaign
def test_kill_9_between_any_two_steps_neither_loses_nor_doubles(tmp_path):
    """A child takes files and is killed at random moments; at the end every line is there exactly once."""
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from rsi.config import Config, InboxConfig
        from rsi.ingest import Ingest
        from rsi.store import Store
        from rsi_adapters.inbox import InboxIntake
        home = Path(sys.argv[1])
        config = Config(inbox=InboxConfig(settle_ms=0))
        store = Store.open(home / "rsi.db")
        intake = InboxIntake(home, config)
        ingest = Ingest(store, config)
        print("up", flush=True)
        while True:
            intake.sweep(ingest.submit)
        """
    )
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    put = 0
    for round_ in range(int(os.environ.get("RSI_INBOX_KILLS", "4"))):
        child = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        for i in range(20):
            temporary = inbox / f".{round_}-{i}"
            temporary.write_bytes(good(5, round=round_, file=i))
            temporary.rename(inbox / f"{round_}-{i}.jsonl")
            put += 5
        clock.sleep(0.003 * (1 + 7 * round_ % 11))
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    box = Box(tmp_path)
    box.sweep()
    assert box.stored == put
    assert (box.under("failed"), box.under(".work")) == ([], [])
    box.store.close()


def test_the_sample_in_the_repository_is_lawful(box):
    sample = Path(__file__).parents[2] / "inbox" / "sample.jsonl.example"
    box.put(sample.name, sample.read_bytes())
    assert box.sweep() == 0
    box.put(sample.name.removesuffix(".example"), sample.read_bytes())
    box.sweep()
    assert (box.stored, box.under("failed")) == (5, [])

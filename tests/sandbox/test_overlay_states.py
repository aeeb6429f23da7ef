"""Checkpoint, restore and fork: each state is what it was, and what no state is made of goes away."""

import os
import sqlite3
import stat
from pathlib import Path

import pytest
from overlay_kit import applied, backend, letters, settled, sh, tree, workspace

from rsi.errors import NotFoundError, SandboxError
from rsi.sandbox.overlay import squash

FILES = {"a": "one\n", "d/x": "x\n", "d/y": "y\n"}


@pytest.fixture
def ws(tmp_path):
    return workspace(tmp_path / "ws", FILES)


@pytest.fixture
def box(tmp_path, ws):
    made = backend(tmp_path / "home").open(ws)
    yield made
    made.close()


def layers(box) -> set[str]:
    return {path.name for path in (box.store.parents[1] / "layers").iterdir()}


def write(box, path: str, text: str) -> None:
    """As a command would leave it, without the price of one."""
    place = box._line.layer(box._stack.upper) / path
    place.write_text(text)
    os.chown(place, *place.parent.stat()[4:6])


def test_a_state_can_be_returned_to_again_and_again(box):
    first = box.checkpoint("first")
    sh(box, "echo two > a; rm -r d; mkdir n")
    second = box.checkpoint("second")
    for _ in range(2):
        box.restore(first.id)
        assert sh(box, "cat a d/x; ls").stdout == "one\nx\na\nd\n"
        box.restore(second.id)
        assert sh(box, "cat a; ls").stdout == "two\na\nn\n"
    assert [each.label for each in box.checkpoints()] == ["first", "second"]


def test_what_came_after_a_checkpoint_is_forgotten_and_deleted(box):
    first = box.checkpoint("first")
    sh(box, "echo lost > lost")
    before = layers(box)
    box.restore(first.id)
    assert box.changes() == []
    box._making.home.trash.background.drain()
    assert layers(box) == {box._stack.upper}
    assert not before & layers(box)


def test_a_checkpoint_of_nothing_new_makes_no_layer(box):
    sh(box, "echo two > a")
    first = box.checkpoint("first")
    again = box.checkpoint("again")
    sh(box, "cat a")
    third = box.checkpoint("third")
    assert len(layers(box)) == 2
    assert len({first.id, again.id, third.id}) == 3
    assert box.changes(first.id, third.id) == []


def test_the_mode_of_the_workspace_folder_itself_is_part_of_the_state(box, ws):
    ws_mode = stat.S_IMODE(ws.stat().st_mode)
    first = box.checkpoint("first")
    sh(box, "chmod 700 .")
    second = box.checkpoint("second")
    sh(box, "true")
    assert sh(box, "stat -c %a .").stdout == "700\n"
    box.restore(first.id)
    assert sh(box, "stat -c %a .").stdout == f"{ws_mode:o}\n"
    box.restore(second.id)
    assert sh(box, "stat -c %a .").stdout == "700\n"


def test_an_unknown_checkpoint_is_said_to_be_unknown(box):
    for call in (box.restore, box.fork, box.changes):
        with pytest.raises(NotFoundError, match="no such checkpoint"):
            call("c9-none")


def test_a_fork_goes_its_own_way(box, ws):
    sh(box, "echo two > a")
    first = box.checkpoint("first")
    sh(box, "echo three > a")
    other = box.fork(first.id)
    now = box.fork()
    sh(other, "cat a; echo four > a; echo n > n")
    sh(box, "rm a")
    assert sh(other, "cat a").stdout == "four\n"
    assert sh(now, "cat a").stdout == "three\n"
    assert letters(box.changes()) == {"a": "D"}
    assert letters(other.changes(first.id)) == {"a": "M", "n": "A"}
    assert (ws / "a").read_text() == "one\n"
    other.restore(first.id)
    assert sh(other, "cat a").stdout == "two\n"
    other.close()
    now.close()


def test_layers_that_a_fork_uses_outlive_the_box_that_made_them(box, tmp_path):
    sh(box, "echo two > a")
    first = box.checkpoint("first")
    sh(box, "echo lost > a; echo large > only-in-the-first-box")
    box.checkpoint("later")
    fork = box.fork(first.id)
    grandchild = fork.fork()
    box.close()
    assert sh(fork, "cat a").stdout == "two\n"
    fork.close()
    assert sh(grandchild, "cat a").stdout == "two\n"
    grandchild.restore(first.id)
    assert sh(grandchild, "cat a").stdout == "two\n"
    grandchild.close()
    settled(tmp_path / "home")
    assert sorted(path.name for path in (tmp_path / "home").rglob("*")) == ["boxes", "gate", "trash"]


def test_a_restore_does_not_delete_what_a_fork_uses(box):
    first = box.checkpoint("first")
    sh(box, "echo two > a")
    fork = box.fork()
    box.restore(first.id)
    box._making.home.trash.background.drain()
    assert sh(fork, "cat a").stdout == "two\n"
    fork.close()


def test_a_closed_box_says_so(box):
    first = box.checkpoint("first")
    box.close()
    box.close()
    for call in (
        lambda: sh(box, "true"),
        lambda: box.checkpoint("x"),
        lambda: box.restore(first.id),
        box.changes,
        box.checkpoints,
        box.fork,
    ):
        with pytest.raises(SandboxError, match="is closed"):
            call()


@pytest.mark.parametrize("count", [50, 400])
def test_many_checkpoints_in_a_row_keep_their_meaning(box, count):
    made = []
    for number in range(count):
        write(box, f"f{number % 7}", f"{number}\n")
        write(box, f"n{number}", "")
        made.append(box.checkpoint(f"{number}"))
        if number % 50 == 0:
            sh(box, f"rm -f n{number}; rm -rf d; mkdir d; echo {number} > d/x")
    assert len(box._stack.chain) < squash.MOST
    assert sh(box, f"cat f{(count - 1) % 7} d/x").stdout == f"{count - 1}\n{(count - 1) // 50 * 50}\n"
    for number in (0, 1, 31, 32, 33, 49, *range(60, count, 55), count - 1):
        box.restore(made[number].id)
        changed = {change.path: change.after for change in box.changes() if change.after}
        last = (number - 1) // 50 * 50 if number else None
        expected = {f"n{n}" for n in range(number + 1) if n % 50 or n == number} | {
            f"f{n % 7}" for n in range(number + 1)
        }
        assert set(changed) - {"d/x"} == expected, number
        assert changed[f"f{number % 7}"].source.read_text() == f"{number}\n"
        if last is not None:
            assert changed["d/x"].source.read_text() == f"{last}\n"
        if number in {33, 49, count - 1}:
            assert sh(box, f"cat f{number % 7}; ls | wc -l").stdout == f"{number}\n{len(expected) + 2}\n"


def test_a_squash_means_what_its_layers_meant(box, ws, monkeypatch):
    monkeypatch.setattr(squash, "RUN", 3)
    base = tree(ws)
    lines = [
        "rm -r d; echo 1 > n; ln n hard; mkfifo p; ln -s a s; chmod 600 a",
        "mkdir d; echo new > d/x; mkdir -p e/f; chmod 400 n",
        "rm n s; ln -s d s; rm -r e; echo e > e; chmod 500 d",
        "rm e; mkdir e; touch -d '2001-02-03 04:05:06' e d/x",
        "chmod 700 d; rm -r d; rm p; mkdir p; echo q > p/q",
        "mkdir d; echo z > d/z; chmod 4755 d/z; rm a",
        "rm -rf d p; touch d",
    ]
    seen = "find . -mindepth 1 -printf '%p %y %m %s %l\\n' | LC_ALL=C sort; find . -type f -exec cat {} +"
    states = []
    for line in lines:
        sh(box, line)
        states.append((box.checkpoint(line).id, sh(box, seen).stdout, tree_of(box, base)))
        box._squasher.background.drain()
    assert any("-1" in layer for layer in box._stack.chain)
    for number, (point, listing, now) in enumerate(states):
        box.restore(point)
        assert sh(box, seen).stdout == listing, lines[number]
        for earlier, _, before in states[:number]:
            assert applied(before, box.changes(earlier)) == now, lines[number]


def tree_of(box, base) -> dict[str, tuple]:
    return applied(base, box.changes())


def test_a_squash_that_is_not_wanted_any_more_is_thrown_away(box, monkeypatch):
    monkeypatch.setattr(squash, "RUN", 2)
    first = box.checkpoint("first")
    for name in "xy":
        write(box, name, "")
        box.checkpoint(name)
    box._squasher.background.drain()
    box.restore(first.id)
    sh(box, "test ! -e x")
    box._making.home.trash.background.drain()
    assert not any("-" in name for name in layers(box))


def test_a_database_in_wal_mode_is_whole_on_both_sides_of_a_restore(box, ws):
    with sqlite3.connect(ws / "db") as db:
        db.execute("pragma journal_mode=wal")
        db.execute("create table t (n)")
    db.close()
    script = "import sqlite3; db = sqlite3.connect('db', isolation_level=None); db.execute('pragma journal_mode=wal');"

    def sql(line: str) -> str:
        return sh(box, f'python3 -c "{script} {line}"').stdout

    count = (
        "print(db.execute('select count(*) from t').fetchone()[0], db.execute('pragma integrity_check').fetchone()[0])"
    )
    sql("db.executemany('insert into t values (?)', [(n,) for n in range(100)]); import os; os._exit(0)")
    assert (box._line.layer(box._stack.upper) / "db-wal").stat().st_size > 0
    point = box.checkpoint("hundred")
    sql("db.execute('delete from t')")
    assert sql(count) == "0 ok\n"
    box.restore(point.id)
    assert sql(count) == "100 ok\n"
    with sqlite3.connect(Path(ws) / "db") as db:
        assert db.execute("select count(*) from t").fetchone() == (0,)
    db.close()

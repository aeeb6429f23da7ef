"""A box against a plain copied folder: the same random operations, checkpoints, restores and forks, the same trees.

`RSI_SANDBOX_EXAMPLES=2000 pytest tests/sandbox/test_overlay_model.py` is the long form.
"""

import json
import os
import shutil
import tempfile
from itertools import pairwise
from pathlib import Path

import overlay_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from overlay_kit import PATH, applied, backend, die, tree, workspace

from rsi.sandbox.model import Command
from rsi.sandbox.overlay import squash

EXAMPLES = int(os.environ.get("RSI_SANDBOX_EXAMPLES", "12"))
FILES = {"a": "one\n", "b": "two\n", "d/x": "x\n", "d/y": "y\n", "d/e/z": "z\n", "f/g": "g\n"}
SCRIPT = Path(overlay_model.__file__).read_text()
#: Few names, so that operations meet.
NAMES = ["a", "b", "n", "d", "d/x", "d/y", "d/n", "d/e", "d/e/z", "f", "f/g", "f/n", "n/x"]

path = st.sampled_from(NAMES)
text = st.sampled_from(["", "one\n", "x\n", "other\n", "longer than the others\n"])
mode = st.sampled_from([0o644, 0o600, 0o755, 0o700, 0o640])
operation = st.one_of(
    st.tuples(st.just("write"), path, text),
    st.tuples(st.just("append"), path, text),
    st.tuples(st.just("truncate"), path, st.integers(0, 5)),
    st.tuples(st.just("rename"), path, path),
    st.tuples(st.just("link"), path, path),
    st.tuples(st.just("symlink"), path, path),
    st.tuples(st.just("chmod"), path, mode),
    *(st.tuples(st.just(name), path) for name in ("delete", "mkdir", "rmtree", "remake", "touch", "replace", "fifo")),
)
step = st.one_of(
    st.tuples(st.just("run"), st.lists(operation, min_size=1, max_size=12)),
    st.tuples(st.just("run"), st.lists(operation, min_size=1, max_size=12)),
    st.tuples(st.just("checkpoint"), st.booleans()),
    st.tuples(st.just("restore"), st.integers(0, 20)),
    st.tuples(st.just("fork"), st.integers(0, 20)),
    st.tuples(st.just("reopen"), st.none()),
)


class Model:
    """A plain folder, and copies of it. A copy parts hard links, as overlayfs does with what is in a frozen layer."""

    def __init__(self, root: Path) -> None:
        self.root = Path(tempfile.mkdtemp(dir=root))

    def copied(self, root: Path) -> "Model":
        made = Model(root)
        made.root.rmdir()
        shutil.copytree(self.root, made.root, symlinks=True, copy_function=_copy)
        return made

    def run(self, operations) -> dict:
        before = Path.cwd()
        os.chdir(self.root)
        mask = os.umask(0o022)
        try:
            overlay_model.perform(operations)
            return overlay_model.listing()
        finally:
            os.umask(mask)
            os.chdir(before)


def _copy(source: str, target: str) -> None:
    if Path(source).is_file():
        shutil.copy2(source, target)
    else:
        os.mkfifo(target)
        shutil.copystat(source, target)


class Pair:
    """A box and its model, and the checkpoints of both."""

    def __init__(self, root: Path, mine, box, model: Model, points) -> None:
        self.root, self.mine, self.box, self.model, self.points = root, mine, box, model, points

    def run(self, operations) -> None:
        command = Command(argv=("python3", "-I", "-S", "-c", SCRIPT), env=PATH, input=json.dumps(operations).encode())
        ended = self.box.run(command)
        assert ended.ok, ended
        assert json.loads(ended.stdout) == self.model.run(operations)

    def checkpoint(self, durable: bool) -> None:
        self.points.append((self.box.checkpoint("", durable=durable), self.model))
        self.model = self.model.copied(self.root)

    def restore(self, number: int) -> None:
        if self.points:
            point, model = self.points[number % len(self.points)]
            self.box.restore(point.id)
            self.model = model.copied(self.root)

    def fork(self, number: int) -> "Pair":
        point, model = self.points[number % len(self.points)] if self.points and number % 2 else (None, self.model)
        other = Pair(
            self.root, self.mine, self.box.fork(point and point.id), model.copied(self.root), list(self.points)
        )
        if point is None:
            self.model = self.model.copied(self.root)
        return other

    def reopen(self, _nothing) -> None:
        """Its owner dies: what is not durable is lost."""
        die(self.box)
        self.box = self.mine.open(self.box.workspace, reopen=self.box.store)
        self.points = [(point, model) for point, model in self.points if point.durable]
        assert self.box.checkpoints() == [point for point, _ in self.points]
        assert self.box.damaged == {}
        if self.points:
            self.model = self.points[-1][1].copied(self.root)
        else:
            self.model = Model(self.root)
            self.model.root.rmdir()
            shutil.copytree(self.box.workspace, self.model.root)

    def check(self, base) -> None:
        states = [(None, {}, base), *((point.id, None, tree(model.root)) for point, model in self.points)]
        now = tree(self.model.root)
        for point, _, before in states:
            assert applied(before, self.box.changes(point)) == now
        for (one, _, before), (two, _, after) in pairwise(states):
            assert applied(before, self.box.changes(one, two)) == after


@settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(step, min_size=2, max_size=14))
def test_a_box_is_a_plain_folder_with_a_memory(steps):
    run, squash.RUN = squash.RUN, 3  # so that a few checkpoints are squashed already
    root = Path(tempfile.mkdtemp(prefix="rsi-model-"))
    mine = backend(root / "home")
    pairs: list[Pair] = []
    try:
        ws = workspace(root / "ws", FILES)
        base = tree(ws)
        model = Model(root)
        model.root.rmdir()
        shutil.copytree(ws, model.root)
        pairs.append(Pair(root, mine, mine.open(ws), model, []))
        for number, (name, argument) in enumerate(steps):
            pair = pairs[number % len(pairs)]
            if name == "fork":
                pairs += [pair.fork(argument)] if len(pairs) < 3 else []
            else:
                getattr(pair, name)(argument)
        for pair in pairs:
            pair.check(base)
        assert tree(ws) == base
    finally:
        squash.RUN = run
        for pair in pairs:
            pair.box.close()
        mine.drain()
        shutil.rmtree(root)

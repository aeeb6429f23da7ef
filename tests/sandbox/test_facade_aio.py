"""The same for asyncio: a cancelled command is dead before the task ends, and nobody else's is."""

import asyncio
import inspect
import threading

import pytest
from tree_kit import plant

from rsi import clock
from rsi.errors import SandboxError
from rsi.sandbox import FOR_FIXES, AsyncSandbox, Sandbox, choose
from rsi.sandbox.choose import backend
from rsi.sandbox.overlay.reader import Reader
from rsi.sandbox.plain import plain


@pytest.fixture(params=["overlay", "subprocess"])
def made(request, tmp_path, monkeypatch):
    found = backend("overlay") if request.param == "overlay" else plain(tmp_path / "copies")
    if (why := found.unavailable()) is not None:
        pytest.skip(f"{request.param}: {why}")
    monkeypatch.setattr(choose.Chosen, "isolation", FOR_FIXES)
    return found


@pytest.fixture
def workspace(tmp_path):
    return plant(tmp_path / "ws", {"a": ("file", b"1", 0o644)})


def test_every_method_is_there_with_the_same_arguments():
    for name, method in inspect.getmembers(Sandbox, inspect.isfunction):
        if name.startswith("_") or name == "interrupt":
            continue
        other = getattr(AsyncSandbox, name)
        assert list(inspect.signature(method).parameters) == list(inspect.signature(other).parameters), name


def test_the_whole_life_of_one(workspace, made):
    async def live():
        async with await AsyncSandbox.create(workspace, backend=made) as box:
            await box.write_file("n", "1")
            point = await box.checkpoint("one")
            assert (await box.exec("cat n; echo 2 > n")).stdout == "1"
            assert await box.read_file("n") == "2\n"
            assert [change.path for change in await box.diff(since=point)] == ["n"]
            await box.restore(point)
            assert await box.read_file("n", text=False) == b"1"
            other = await box.fork()
            assert await other.read_file("n") == "1"
            await other.destroy()
            assert len(await box.checkpoints()) == 1
            assert b"+1" in await box.patch()

    asyncio.run(live())


def test_a_cancelled_command_is_dead_and_the_sandbox_goes_on(workspace, made):
    async def live():
        async with await AsyncSandbox.create(workspace, backend=made) as box:
            running = asyncio.ensure_future(box.exec("echo started > s; sleep 600", timeout=300))
            await asyncio.sleep(0.3)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(running, 30)
            assert (await box.exec("echo alive")).stdout == "alive\n"

    asyncio.run(live())


def test_a_task_that_only_waits_its_turn_kills_nobody(workspace, made):
    async def live():
        async with await AsyncSandbox.create(workspace, backend=made) as box:
            first = asyncio.ensure_future(box.exec("sleep 1; echo whole"))
            await asyncio.sleep(0.3)
            second = asyncio.ensure_future(box.exec("echo never"))
            await asyncio.sleep(0)
            second.cancel()
            assert (await first).stdout == "whole\n"
            assert second.cancelled() or second.cancelling()

    asyncio.run(live())


def test_a_timeout_of_asyncio_ends_it_too(workspace, made):
    async def live():
        async with await AsyncSandbox.create(workspace, backend=made) as box:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await box.exec("trap '' TERM; sleep 600", timeout=300)
            assert (await box.exec("true")).ok

    asyncio.run(live())


def test_the_end_of_the_loop_ends_a_command_that_nobody_waits_for(workspace, made):
    """A test that hangs here has failed: all tasks are cancelled, and the thread was waited for."""
    results = []
    real = Sandbox.exec

    async def live():
        box = await AsyncSandbox.create(workspace, backend=made)
        box.sandbox.exec = lambda *args, **kwargs: results.append(real(box.sandbox, *args, **kwargs))
        running = asyncio.ensure_future(box.exec("sleep 600", timeout=300))
        await asyncio.sleep(0.3)
        assert not running.done()
        return box.sandbox

    box = asyncio.run(live())
    assert [result.killed_by for result in results] == ["closed"]
    box.destroy()


def test_what_was_made_while_its_task_was_cancelled_is_destroyed(workspace, made, monkeypatch):
    """Nobody has a name for it: it would stay until the process ends."""
    begun, go_on, boxes = threading.Event(), threading.Event(), []
    real = Sandbox.create

    def slow(*args, **kwargs):
        begun.set()
        assert go_on.wait(30)
        boxes.append(real(*args, **kwargs))
        return boxes[-1]

    monkeypatch.setattr(Sandbox, "create", slow)

    async def live():
        making = asyncio.ensure_future(AsyncSandbox.create(workspace, backend=made))
        await asyncio.to_thread(begun.wait, 30)
        making.cancel()
        with pytest.raises(asyncio.CancelledError):
            await making
        go_on.set()

    asyncio.run(live())  # waits for its threads
    with pytest.raises(SandboxError, match="closed"):
        boxes[0].checkpoints()


def test_a_cancelled_durable_checkpoint_ends_and_was_not_made(workspace, made, monkeypatch):
    if made.name != "overlay":
        pytest.skip("copies are hashed to their end")
    begun = threading.Event()
    real = Reader.go_on

    def endless(reader):
        begun.set()
        while True:
            real(reader)
            clock.sleep(0.01)

    async def live():
        async with await AsyncSandbox.create(workspace, backend=made) as box:
            await box.write_file("n", "1")
            with monkeypatch.context() as patched:
                patched.setattr(Reader, "go_on", endless)
                making = asyncio.ensure_future(box.checkpoint("x", durable=True))
                await asyncio.to_thread(begun.wait, 30)
                making.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await asyncio.wait_for(making, 30)
            assert await box.checkpoints() == []

    asyncio.run(live())

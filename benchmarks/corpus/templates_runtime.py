"""asyncio, subprocess, files, imports and plain bugs: what the application around the model raises by itself."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
from pathlib import Path

from server import WAIT_S
from template import template


def run(coroutine):
    """Like asyncio.run, in a loop of its own."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.close()


async def slow():
    await asyncio.sleep(1)


@template("asyncio.timeout_model", "timeout_model", "asyncio", context="model", bare=False)
def _(s):
    run(asyncio.wait_for(slow(), WAIT_S))


@template("asyncio.timeout_tool", "timeout_tool", "asyncio", context="tool", bare=False)
def _(s):
    run(asyncio.wait_for(slow(), WAIT_S))


@template("asyncio.cancelled", "not_a_failure", "asyncio", bare=False)
def _(s):
    async def cancel():
        task = asyncio.ensure_future(slow())
        await asyncio.sleep(0)
        task.cancel(s.pick(None, "run stopped by user", "shutdown"))
        await task

    run(cancel())


@template("asyncio.incomplete", "connection", "asyncio", bare=False)
def _(s):
    async def read():
        reader = asyncio.StreamReader()
        reader.feed_data(b"x" * s.n(0, 40))
        reader.feed_eof()
        await reader.readexactly(s.n(50, 4000))

    run(read())


@template("asyncio.loop_closed", "code_bug", "asyncio")
def _(s):
    loop = asyncio.new_event_loop()
    loop.close()
    loop.call_soon(print)


@template("asyncio.nested_run", "code_bug", "asyncio")
def _(s):
    async def outer():
        coroutine = slow()
        try:
            asyncio.run(coroutine)
        finally:
            coroutine.close()

    run(outer())


@template("asyncio.invalid_state", "code_bug", "asyncio", bare=False)
def _(s):
    async def twice():
        future = asyncio.get_running_loop().create_future()
        future.set_result(1)
        future.set_result(2)

    run(twice())


@template("python.interrupt", "not_a_failure", "python", bare=False)
def _(s):
    raise KeyboardInterrupt


@template("subprocess.timeout", "timeout_tool", "python")
def _(s):
    try:
        subprocess.run([sys.executable, "-c", "import time; time.sleep(1)"], timeout=WAIT_S, check=False)
    except subprocess.TimeoutExpired:
        command = s.pick(
            ["pytest", "-q", "tests/unit"],
            ["npm", "run", "build"],
            "make all",
            ["git", "clone", "https://example.org/x.git"],
        )
        raise subprocess.TimeoutExpired(command, float(s.wait)) from None


@template("subprocess.exit", "tool_execution", "python")
def _(s):
    command = s.pick(["npm", "test"], ["cargo", "build"], ["terraform", "plan"], ["make", "lint"])
    return subprocess.CalledProcessError(s.pick(1, 2, 101), command)


@template("python.no_file", "missing_resource", "python")
def _(s):
    Path(s.path()).read_text(encoding="utf-8")


@template("python.no_module", "missing_resource", "python")
def _(s):
    __import__(s.pick("pandaz", "yaaml", "playwrite", "faiss_gpu_missing"))


@template("python.denied", "permission", "python")
def _(s):
    return PermissionError(errno.EACCES, os.strerror(errno.EACCES), s.path())


@template("python.disk_full", "resource_exhausted", "python")
def _(s):
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), s.pick(s.path(), None))


@template("python.open_files", "resource_exhausted", "python")
def _(s):
    return OSError(errno.EMFILE, os.strerror(errno.EMFILE), s.path())


@template("python.memory", "resource_exhausted", "python", bare=False)
def _(s):
    bytearray(2**62)


@template("python.broken_pipe", "connection", "python", also=("mcp_transport",))
def _(s):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        os.write(writing, b"x")
    finally:
        os.close(writing)


@template("python.exists", "state_conflict", "python")
def _(s):
    return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), s.path())


@template("python.none_attribute", "code_bug", "python")
def _(s):
    getattr(None, s.pick("content", "split", "choices", "tool_calls"))


@template("python.not_subscriptable", "code_bug", "python")
def _(s):
    return None["choices"]  # type: ignore[index]


@template("python.key", "code_bug", "python", bare=False)
def _(s):
    return {}[s.pick("choices", "user_id", "messages", "answer")]


@template("python.index", "code_bug", "python")
def _(s):
    steps: list[str] = []
    return steps[s.n()]


def handle(event):
    return event


@template("python.arguments", "code_bug", "python", also=("tool_args",))
def _(s):
    handle(1, 2, 3)  # type: ignore[call-arg]


@template("python.name", "code_bug", "python")
def _(s):
    return eval(s.pick("reslt", "messges", "clinet"))


@template("python.division", "code_bug", "python")
def _(s):
    return s.n() / 0


@template("python.recursion", "code_bug", "python", also=("no_progress",))
def _(s):
    def again():
        return again()

    again()

"""Traces as Python, Node, Java and Go print them: the exception, the innermost own frames, the causes."""

from __future__ import annotations

import asyncio
import traceback

import pytest

from rsi.analyze.template import fingerprint
from rsi.analyze.trace import condense

NODE_ASYNC = """file:///srv/app.mjs:1
async function load(id) { throw new Error(`load ${id} failed`, {cause: e}); }
                          ^

Error: load 12 failed
    at load (file:///srv/app.mjs:1:85)
    at async Promise.all (index 0)
    at async Agent.run (file:///srv/app.mjs:2:29)
    at async file:///srv/app.mjs:3:1 {
  [cause]: SyntaxError: Expected property name or '}' in JSON at position 1
      at JSON.parse (<anonymous>)
      at load (file:///srv/app.mjs:1:50)
}

Node.js v20.20.2"""
NODE_NET = """Error: connect ECONNREFUSED 127.0.0.1:1
    at TCPConnectWrap.afterConnect [as oncomplete] (node:net:1611:16) {
  errno: -111,
  code: 'ECONNREFUSED',
  syscall: 'connect'
}"""
NODE_CODED = """Error: cannot read it
    at read (/srv/x.js:2:3) {
  code: 'ERR_INVALID_STATE'
}"""
NODE_ECHO = """/srv/boom.js:1
function pay(x){ return x.y.z }
                            ^

TypeError: Cannot read properties of undefined (reading 'z')
    at pay (/srv/boom.js:1:29)
    at Object.<anonymous> (/srv/boom.js:2:1)
    at Module._compile (node:internal/modules/cjs/loader:1521:14)
    at node:internal/main/run_main_module:28:49"""
JAVA = """Exception in thread "main" java.lang.RuntimeException: agent stopped
\tat App.lambda$main$0(App.java:4)
\tat App.main(App.java:4)
Caused by: java.lang.IllegalStateException: read failed for 7
\tat App$Store.read(App.java:3)
\tat java.base/jdk.internal.reflect.NativeMethodAccessorImpl.invoke0(Native Method)
\t... 23 more
Caused by: java.lang.IndexOutOfBoundsException: Index: 7 Size: 1
\tat java.base/java.util.ImmutableCollections$List12.get(ImmutableCollections.java:585)
\t... 10 more"""
JAVA_LIBRARY = """java.lang.IllegalStateException: no
\tat org.springframework.web.Servlet.service(Servlet.java:897) ~[spring-web.jar:6.1]
\tat com.shop.Cart.add(Cart.java:12)
\tat java.base/java.lang.Thread.run(Thread.java:840)"""
GO = """2026/11/21 04:10:11 worker started
panic: runtime error: invalid memory address or nil pointer dereference
[signal SIGSEGV: segmentation violation code=0x1 addr=0x18 pc=0x47f2ab]

goroutine 19 [running]:
main.(*Store).Load(0x0, {0xc00001c0a8, 0x5})
\t/home/dev/agent/store.go:31 +0x2b
main.run.func1()
\t/home/dev/agent/main.go:18 +0x65
net/http.HandlerFunc.ServeHTTP(...)
\t/usr/local/go/src/net/http/server.go:2122 +0x2f
created by main.run in goroutine 1
\t/home/dev/agent/main.go:16 +0x9f

goroutine 1 [chan receive]:
main.main()
\t/home/dev/agent/main.go:40 +0x1d
exit status 2"""
GO_GENERIC = """panic: assertion failed [recovered]
\tpanic: assertion failed

goroutine 7 [running]:
testing.tRunner.func1.2({0x1, 0x2})
\t/usr/local/go/src/testing/testing.go:1545 +0x2
example.com/agent/pool.Map[...](0xc0)
\t/home/dev/agent/pool.go:9 +0x1"""
GO_DEADLOCK = """fatal error: all goroutines are asleep - deadlock!

goroutine 1 [chan receive]:
main.main()
\t/home/dev/main.go:5 +0x2d"""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (NODE_ASYNC, "Error: load 12 failed at app.mjs:load < app.mjs:Agent.run < app.mjs caused by SyntaxError"),
        (NODE_NET, "Error: connect ECONNREFUSED 127.0.0.1:1 at node:net:TCPConnectWrap.afterConnect"),
        (NODE_CODED, "Error: cannot read it (ERR_INVALID_STATE) at x.js:read"),
        (NODE_ECHO, "TypeError: Cannot read properties of undefined (reading 'z') at boom.js:pay < boom.js:Object.<anonymous>"),
        (JAVA, "java.lang.RuntimeException: agent stopped at App:lambda$main$ < App:main caused by IllegalStateException, IndexOutOfBoundsException"),
        (JAVA_LIBRARY, "java.lang.IllegalStateException: no at com.shop.Cart:add"),
        (GO, "panic: runtime error: invalid memory address or nil pointer dereference at store.go:main.(*Store).Load < main.go:main.run.func"),
        (GO_GENERIC, "panic: assertion failed [recovered] at pool.go:pool.Map[...]"),
        (GO_DEADLOCK, "fatal error: all goroutines are asleep - deadlock! at main.go:main.main"),
    ],
)  # fmt: skip
def test_a_captured_trace_says_what_where_and_why(text: str, line: str):
    assert condense(text) == line


def raised(fault: BaseException) -> str:
    try:
        raise fault  # noqa: TRY301 - a traceback needs one frame
    except BaseException:  # a group that holds only Exceptions is an Exception, one that does not is not
        return traceback.format_exc()


def test_an_exception_group_names_its_members_in_any_order_and_any_number():
    one = condense(raised(ExceptionGroup("several", [ValueError("a"), KeyError("b"), ValueError("c")])))
    assert one == "ExceptionGroup: several at test_trace_forms.py:raised caused by KeyError, ValueError"
    assert condense(raised(ExceptionGroup("several", [KeyError("z"), ValueError("y")]))) == one


def test_a_task_group_is_read_like_any_other_group():
    async def bad() -> None:
        raise TypeError("in a task")

    async def both() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(bad())

    try:
        asyncio.run(both())
    except ExceptionGroup:
        found = fingerprint(traceback.format_exc())
    assert found.error_type == "ExceptionGroup"
    assert found.template.startswith("unhandled errors in a TaskGroup at test_trace_forms.py:both")
    assert found.template.endswith("caused by TypeError")


def deep(n: int) -> int:
    return deep(n + 1)


def test_how_deep_a_recursion_went_does_not_matter():
    try:
        deep(0)
    except RecursionError:
        found = condense(traceback.format_exc())
    name = "test_how_deep_a_recursion_went_does_not_matter"
    assert (
        found
        == f"RecursionError: maximum recursion depth exceeded at test_trace_forms.py:deep < test_trace_forms.py:{name}"
    )


def test_marks_under_the_source_line_and_line_numbers_change_nothing():
    plain = 'Traceback (most recent call last):\n  File "/a/b.py", line 3, in f\n    x = y[0]["k"]\nKeyError: \'k\''
    marked = plain.replace("line 3", "line 9").replace('["k"]\n', '["k"]\n        ~~~~^^^^^\n')
    assert fingerprint(plain) == fingerprint(marked)


def test_both_kinds_of_chain_name_their_causes_innermost_first():
    def chained() -> None:
        try:
            try:
                {}["a"]
            except KeyError as error:
                raise ValueError("b") from error
        except ValueError:
            raise OSError("c")  # noqa: B904 - this chain is the one without `from`

    try:
        chained()
    except OSError:
        assert condense(traceback.format_exc()).endswith("caused by ValueError, KeyError")


@pytest.mark.parametrize("text", [NODE_ASYNC, JAVA, GO])
def test_a_trace_cut_anywhere_never_raises(text: str):
    for end in range(len(text)):
        fingerprint(text[:end])
        fingerprint(text[end:])

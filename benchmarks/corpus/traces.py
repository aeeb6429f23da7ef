"""Tracebacks: the packages' own frames inside an application's."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path

from occurrence import Made

HERE = str(Path(__file__).resolve().parent)
FRAMES = 9  # of one exception's frames, the innermost ones are kept
MODEL_CODE = [
    "reply = self.llm.invoke(messages)",
    "response = client.chat.completions.create(**payload)",
    "out = await model.generate(prompt)",
    "answer = ask_model(history)",
]
TOOL_CODE = [
    "result = tool(**args)",
    "out = await registry[name].run(args)",
    "rows = run_tool(call)",
    "data = fetch(url)",
]
FUNCTIONS = [
    "run_step",
    "handle",
    "main",
    "execute",
    "work",
    "plan",
    "process_order",
    "on_message",
    "loop_once",
    "answer",
]
FILES = ["agent.py", "runner.py", "steps/plan.py", "worker.py", "tools/orders.py", "app/main.py", "flows/review.py"]


def stack(made: Made) -> str:
    """The traceback, chained causes first; our own frames replaced by an application's."""
    if made.error is None:
        raise ValueError("a text has no traceback")
    chain = list(_chain(made.error))
    parts = []
    for place, (error, _) in enumerate(reversed(chain)):
        outer = place == len(chain) - 1
        parts.append("Traceback (most recent call last):\n" + _app(made) * outer + _frames(error) + _last(error))
        if not outer:
            parts.append(chain[len(chain) - 2 - place][1])
    return "\n".join(part for part in parts if part)


def _chain(error: BaseException) -> Iterator[tuple[BaseException, str]]:
    links = {
        True: "\nThe above exception was the direct cause of the following exception:\n",
        False: "\nDuring handling of the above exception, another exception occurred:\n",
    }
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in seen and len(seen) < 4:
        seen.append(current)
        cause = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
        yield current, links[current.__cause__ is not None] if cause else ""
        current = cause


def _last(error: BaseException) -> str:
    lines = traceback.format_exception_only(type(error), error)
    return "".join(lines)


def _frames(error: BaseException) -> str:
    found = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(HERE)]
    return "".join(traceback.format_list(found[-FRAMES:]))


def _app(made: Made) -> str:
    rng = made.slots.rng
    lines = []
    code = {"tool": TOOL_CODE, "model": MODEL_CODE}.get(made.template.context) or (
        MODEL_CODE if made.template.provider else [*MODEL_CODE, *TOOL_CODE]
    )
    where = {
        "tool": f"tools/{made.slots.tool()}.py",
        "model": "llm/client.py",
        "mcp": f"mcp/{made.slots.name()}.py",
    }.get(made.template.context)
    if where:
        lines.append(
            f'  File "/srv/app/{where}", line {rng.randint(3, 400)}, in {rng.choice(["run", "call", "invoke"])}\n    {rng.choice(["return await self._send(payload)", "found = self._ask(args)"])}\n'
        )
    for depth in range(rng.randint(1, 4)):
        call = (
            rng.choice(code)
            if depth == 0
            else f"{rng.choice(FUNCTIONS)}({rng.choice(['state', 'event', 'self.task', 'ctx'])})"
        )
        lines.insert(
            0,
            f'  File "{rng.choice(["/srv/app", "/app", "/home/agent/bot", "/workspace"])}/{rng.choice(FILES)}", line {rng.randint(3, 900)}, in {rng.choice(FUNCTIONS)}\n    {call}\n',
        )
    return "".join(lines)


def trace_tail(made: Made) -> str:
    """The end of a traceback: what a log that keeps the last lines shows."""
    if made.error is None:
        raise ValueError("a text has no traceback")
    last = len(_last(made.error).splitlines())
    return "\n".join(stack(made).splitlines()[-last - made.slots.n(2, 9) :])

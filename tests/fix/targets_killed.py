"""Run one operation again and again in a child process, killed (SIGKILL) before its 1st, 2nd, 3rd … system-level step.

`python targets_killed.py SCENARIO FOLDER EVERY` prints one JSON document (EVERY: only each n-th step); a test reads it.
A process of its own, with one thread, so that it may fork.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

from rsi.config import Config, Target
from rsi.fix.targets import resolve, standing
from rsi.model import Change

STEPS = [
    "open",
    "write",
    "fsync",
    "rename",
    "replace",
    "unlink",
    "mkdir",
    "rmdir",
    "fchmod",
    "fchown",
    "chmod",
    "close",
    "setxattr",
    "link",
    "stat",
    "read",
]
YAML = b"# c\r\nllm:\r\n  retries: 2   # tries\r\n  model: 'a'\r\n"
NOTES = b"# Notes\n\nmine"
LESSON = {
    "lesson": {"template": "missing_resource", "slots": {"task": "search", "failures": 3, "tasks": 9}, "quotes": []}
}
OTHER = {"lesson": {"template": "no_progress", "slots": {"task": "search", "failures": 3, "tasks": 9}, "quotes": []}}
CONFIG = Config(
    targets=[
        Target(file="conf/c.yaml", key="llm.retries", type="int", min=0, max=9),
        Target(file="AGENTS.md", type="lessons"),
        Target(file=".claude/rules/rsi-lessons.md", type="lessons"),
    ]
)
KEY, NOTE, OWN = "file:conf/c.yaml#llm.retries", "lessons:AGENTS.md", "lessons:.claude/rules/rsi-lessons.md"
#: Name → (target, the changes that stand before, the operation).
SCENARIOS = {
    "apply-key": (KEY, [], ("apply", {"llm.retries": 4})),
    "revert-key": (KEY, [{"llm.retries": 4}], ("revert", 0)),
    "apply-newer-key": (KEY, [{"llm.retries": 4}], ("apply", {"llm.retries": 5})),
    "revert-newer-key": (KEY, [{"llm.retries": 4}, {"llm.retries": 5}], ("revert", 1)),
    "revert-older-key": (KEY, [{"llm.retries": 4}, {"llm.retries": 5}], ("revert", 0)),
    "apply-lesson": (NOTE, [], ("apply", LESSON)),
    "revert-lesson": (NOTE, [LESSON], ("revert", 0)),
    "apply-own-file": (OWN, [], ("apply", LESSON)),
    "revert-own-file": (OWN, [LESSON], ("revert", 0)),
    "revert-first-of-two": (OWN, [LESSON, OTHER], ("revert", 0)),
}


def prepare(home: Path, scenario: str):
    """A fresh home in which the earlier changes stand."""
    shutil.rmtree(home, ignore_errors=True)
    (home / "conf").mkdir(parents=True)
    (home / "conf" / "c.yaml").write_bytes(YAML)
    (home / "conf" / "c.yaml").chmod(0o640)
    (home / "AGENTS.md").write_bytes(NOTES)
    name, earlier, (what, with_) = SCENARIOS[scenario]
    target = resolve(name, home, CONFIG)
    applied = [target.apply(target.make(after), undo=undo(home, i)) for i, after in enumerate(earlier)]
    return target, applied, target.make(with_) if what == "apply" else applied[with_]


def undo(home: Path, number: int) -> Path:
    return home / ".rsi" / "backups" / f"f{number}"


def operate(home: Path, target, applied, what) -> None:
    if isinstance(what, Change):
        target.apply(what, undo=undo(home, len(applied)))
    else:
        target.revert(what)


def picture(home: Path) -> dict[str, str]:
    """Every file of the user's with its mode; nothing of `.rsi`."""
    found = {}
    for path in sorted(home.rglob("*")):
        name = str(path.relative_to(home))
        if not name.startswith(".rsi/") and name != ".rsi" and path.is_file():
            found[name] = f"{path.stat().st_mode & 0o777:o} {path.read_bytes().hex()}"
    return found


def die_at(step: int) -> None:
    """Count system-level steps; before number `step` the process is killed."""
    left = [step]

    def counted(call):
        def wrapped(*args, **kwargs):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return wrapped

    for name in STEPS:
        if hasattr(os, name):
            setattr(os, name, counted(getattr(os, name)))


def killed(home: Path, prepared, step: int) -> bool:
    """Whether the operation was killed; False: it came to its end before that step."""
    child = os.fork()
    if child == 0:
        try:
            die_at(step)
            operate(home, *prepared)
            os._exit(0)
        except BaseException as error:  # reported by its exit code
            print(repr(error), file=sys.stderr)
            os._exit(3)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit(f"{home.name}: step {step}: the operation failed")
    return os.WIFSIGNALED(status)


def take_all_back(home: Path) -> dict[str, str]:
    """What a daemon does that finds edits whose fix is not live: oldest first, the hardest order."""
    for one in standing(home):
        resolve(one.target, home, CONFIG).revert(one)
    return picture(home)


def temporaries(home: Path) -> list[str]:
    return [str(path) for path in home.rglob("*.tmp") if ".rsi/" not in str(path.relative_to(home))]


def campaign(scenario: str, home: Path, every: int) -> dict[str, object]:
    prepared = prepare(home, scenario)
    before = picture(home)
    operate(home, *prepared)
    after = picture(home)
    clean = take_all_back(home)
    step, seen, wrong = 0, {"before": 0, "after": 0}, []
    while True:
        prepared = prepare(home, scenario)
        if not killed(home, prepared, step):
            break
        left = {name: text for name, text in picture(home).items() if not name.endswith(".tmp")}
        if left not in (before, after):
            wrong.append([step, "between", left])
        seen["before" if left == before else "after"] += 1
        if step // every % 2:  # again: it is finished, or confirmed, and nothing is doubled
            operate(home, *prepared)
            if picture(home) != after or temporaries(home):
                wrong.append([step, "again", picture(home)])
        if take_all_back(home) != clean or temporaries(home):
            wrong.append([step, "back", picture(home), temporaries(home)])
        if (home / ".claude").exists():
            wrong.append([step, "folders left"])
        step += every
    return {"steps": step, "seen": seen, "wrong": wrong, "changes": before != after, "restored": clean}


if __name__ == "__main__":
    print(json.dumps(campaign(sys.argv[1], Path(sys.argv[2]) / sys.argv[1], int(sys.argv[3]))))

"""Docker, when an engine answers, on a copy of the workspace. Untested here: there was no engine to test it with.

The command line is tested, the rest is written after Docker's reference and has never run. The engine's socket is
never shown to a command; the image must be there already, for nothing is pulled.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import Final

import msgspec

from rsi.errors import LaunchError
from rsi.sandbox.copied.backend import CopiedBackend
from rsi.sandbox.copied.place import inside
from rsi.sandbox.copied.process import Process
from rsi.sandbox.copied.runner import View
from rsi.sandbox.launch import Ended
from rsi.sandbox.model import Command, ExecResult, Limits
from rsi.sandbox.watch import Cgroup, rlimits

#: What runs when `$RSI_DOCKER_IMAGE` says nothing: a system with a shell and not much more.
DEFAULT_IMAGE: Final = "debian:stable-slim"
#: Of the user in the container when we are root: nobody on the host (`rsi.sandbox.bubblewrap.UNUSED_ID`).
_ROOT_RUNS_AS: Final = 2_000_012_345
#: An engine answers in some 10 ms or hangs; then it cannot be used.
_ASK_S: Final = 10.0
#: docker's own failures (`docker run --help`): 125 the engine, 126 not executable, 127 not found.
_NEVER_RAN: Final = 125
_NO_PROGRAM: Final = (126, 127)
HOME: Final = "/home/sandbox"


def docker(home: Path | None = None) -> CopiedBackend:
    """The back end `docker`."""
    return CopiedBackend(DockerRunner(), home)


class DockerRunner:
    """Starts commands with `docker run`, each in a container of its own."""

    name = "docker"

    def __init__(self) -> None:
        self.owner: int | None = _ROOT_RUNS_AS if os.getuid() == 0 else None
        self.image = os.environ.get("RSI_DOCKER_IMAGE", DEFAULT_IMAGE)

    def unavailable(self) -> str | None:
        """Whether there is a client, an engine that answers it, and the image."""
        client = shutil.which("docker")
        if client is None:
            return "no docker on PATH"
        code, said = _ask(client, "version", "--format", "{{.Server.Version}}")
        if code != 0:
            return f"docker is here, but no engine answers: {said}"
        code, said = _ask(client, "image", "inspect", "--format", "{{.Id}}", self.image)
        if code != 0:
            return f"no image {self.image}; pull it, or set RSI_DOCKER_IMAGE to one that is here ({said})"
        return None

    def prepare(self, view: View, command: Command, group: Cgroup | None) -> DockerRun:  # noqa: ARG002 - see below
        """Make its command line. The engine keeps control groups of its own, so ours has nothing in it."""
        user = self.owner if self.owner is not None else os.getuid()
        return DockerRun(view, command, self.image, f"{user}:{self.owner if self.owner is not None else os.getgid()}")


class DockerRun:
    """One command in one container."""

    def __init__(self, view: View, command: Command, image: str, user: str) -> None:
        self._name = f"rsi-{secrets.token_hex(8)}"
        self._line = arguments(view, command, name=self._name, image=image, user=user)

    def start(self, stdin: int, stdout: int, stderr: int) -> _Container:
        """Start the client, which stays as long as the container.

        Raises:
            LaunchError: there is no client any more.
        """
        client = shutil.which("docker") or "docker"
        process = Process.start((client, *self._line), (stdin, stdout, stderr), env=_environment(), cwd=Path("/"))
        return _Container(process, client, self._name)

    def finish(self, result: ExecResult) -> ExecResult:
        """With what the engine knows about its end; the container is removed.

        Raises:
            LaunchError: the engine could not start it.
        """
        client = shutil.which("docker") or "docker"
        code, said = _ask(client, "inspect", "--format", "{{json .State}}", self._name)
        state = _State() if code != 0 else msgspec.json.decode(said, type=_State)
        _ask(client, "rm", "--force", self._name)
        return judged(result, state)


class _State(msgspec.Struct, rename="pascal", frozen=True):
    """What `docker inspect` says of a container."""

    oom_killed: bool = msgspec.field(name="OOMKilled", default=False)
    error: str = ""


class _Container:
    """A client and its container, as a `Victim`."""

    def __init__(self, process: Process, client: str, name: str) -> None:
        self._process, self._client, self._name = process, client, name
        self._killing: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the client."""
        return self._process.pid

    def kill(self) -> None:
        """Ask the engine for SIGKILL to the container's init; the client ends with it."""
        if self._killing is None or self._killing.poll() is not None:
            self._killing = subprocess.Popen(  # noqa: S603 - the client that was found
                (self._client, "kill", self._name),
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

    def wait(self) -> Ended:
        """How the client ended, which repeats the container's status. CPU and memory are the client's own."""
        ended = self._process.wait()
        if self._killing is not None:
            self._killing.wait()
        return Ended(status=ended.status, cpu_s=0.0, max_rss=0)


def judged(result: ExecResult, state: _State) -> ExecResult:
    """The result, with the engine's word on what ended it."""
    if result.returncode in _NO_PROGRAM:  # an ordinary end, as in a shell: the client has said it on stderr
        return result
    if result.killed_by is None and (state.error or result.returncode == _NEVER_RAN):
        raise LaunchError(f"docker: {state.error or result.stderr.strip()}")
    if result.killed_by is None and state.oom_killed:
        return msgspec.structs.replace(result, killed_by="memory")
    return result


def arguments(view: View, command: Command, *, name: str, image: str, user: str) -> list[str]:
    """Everything after `docker`. Pure.

    Args:
        view: the copy appears at the workspace's own place, nothing else of the host but `readable`.
        command: what is run.
        name: of the container.
        image: must exist.
        user: `uid:gid`.
    """
    limits = command.limits
    return [
        *("run", "--name", name, "--interactive", "--init", "--pull", "never", "--log-driver", "none"),
        *("--network", "none", "--ipc", "none", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        *("--read-only", "--user", user, "--hostname", "sandbox"),
        *("--pids-limit", str(limits.processes)),
        *(() if limits.memory is None else ("--memory", str(limits.memory), "--memory-swap", str(limits.memory))),
        *(word for each in _ulimits(limits) for word in ("--ulimit", each)),
        *(word for place in ("/tmp", "/dev/shm", HOME) for word in ("--tmpfs", _tmpfs(place, limits.tmp, user))),  # noqa: S108
        *(word for path in view.readable for word in ("--mount", _bind(path, path, readonly=True))),
        *("--mount", _bind(view.tree, view.workspace, readonly=False)),
        *("--workdir", str(inside(view.workspace, command.cwd))),
        *(word for each in command.env.items() for word in ("--env", "=".join(each))),
        *("--entrypoint", command.argv[0], image, *command.argv[1:]),
    ]


def _bind(source: Path, target: Path, *, readonly: bool) -> str:
    """A `--mount` value; its fields are CSV, so that a comma in a path does not add one."""
    fields = ["type=bind", f"source={source}", f"target={target}", *(["readonly"] if readonly else [])]
    return ",".join('"' + field.replace('"', '""') + '"' if set(field) & set(',"\n') else field for field in fields)


def _tmpfs(place: str, size: int, user: str) -> str:
    uid, gid = user.split(":")
    return f"{place}:rw,nosuid,nodev,size={size},mode=0700,uid={uid},gid={gid}"


def _ulimits(limits: Limits) -> list[str]:
    values = rlimits(limits)
    del values["RLIMIT_NPROC"]  # --pids-limit counts the container, this would count the user
    return [f"{name.removeprefix('RLIMIT_').lower()}={value}:{value}" for name, value in sorted(values.items())]


def _environment() -> dict[str, str]:
    """What the client needs to find its engine."""
    wanted = ("PATH", "HOME", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "XDG_RUNTIME_DIR")
    return {name: os.environ[name] for name in wanted if name in os.environ}


def _ask(client: str, *words: str) -> tuple[int, str]:
    try:
        done = subprocess.run(  # noqa: S603 - the client that was found
            (client, *words), env=_environment(), capture_output=True, timeout=_ASK_S, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        return -1, str(error)
    said = done.stdout if done.returncode == 0 else done.stderr
    return done.returncode, said.decode("utf-8", "replace").strip()

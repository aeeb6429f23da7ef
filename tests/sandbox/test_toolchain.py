"""The toolchain behind a venv is found and shown, one prefix of it, and never anything that holds keys."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rsi.sandbox import toolchain
from rsi.sandbox.toolchain import is_toolchain, path_for, readable_for


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home with keys in it; the interpreter that runs the tests is nobody's here."""
    monkeypatch.setattr(sys, "prefix", "/nowhere/venv")
    monkeypatch.setattr(sys, "base_prefix", "/nowhere")
    monkeypatch.setattr(sys, "executable", "/nowhere/bin/python")
    folder = tmp_path / "home" / "me"
    (folder / ".ssh").mkdir(parents=True)
    (folder / ".netrc").touch()
    (folder / "project").mkdir()
    return folder


def interpreter(prefix: Path, name: str = "python3.11") -> Path:
    (prefix / "bin").mkdir(parents=True, exist_ok=True)
    (prefix / "bin" / name).write_text("#!/bin/sh\n")
    (prefix / "bin" / name).chmod(0o755)
    library = prefix / "lib" / ("node_modules/npm" if name == "node" else name)
    library.mkdir(parents=True, exist_ok=True)
    (library / "os.py").touch()
    if not (prefix / "bin" / "python3").exists():
        (prefix / "bin" / "python3").symlink_to(name)
    return prefix / "bin" / name


def venv(folder: Path, python: Path) -> Path:
    (folder / "bin").mkdir(parents=True)
    (folder / "pyvenv.cfg").write_text(f"home = {python.parent}\nversion = 3.11.7\n")
    (folder / "bin" / "python").symlink_to(python)
    return folder


def found(home: Path, env=None, argv=()) -> list[str]:
    return [str(path.relative_to(home)) for path in readable_for(home / "project", argv, env or {}, home=home)]


def test_the_interpreter_of_the_workspaces_venv_is_shown_and_the_venv_is_first_on_the_path(home):
    made = venv(home / "project/.venv", interpreter(home / ".pyenv/versions/3.11.7"))
    assert found(home) == [".pyenv/versions/3.11.7"]
    assert path_for(home / "project", {}).split(":")[0] == str(made / "bin")


def test_a_chain_of_links_is_shown_whole(home):
    python = interpreter(home / ".local/share/uv/python/cpython-3.12.4")
    (home / ".local/share/uv/python/cpython-3.12").symlink_to("cpython-3.12.4")
    venv(home / "project/venv", home / ".local/share/uv/python/cpython-3.12/bin" / python.name)
    assert found(home) == [f".local/share/uv/python/cpython-{version}" for version in ("3.12", "3.12.4")]


def test_the_callers_venv_and_node_count(home):
    venv(home / "envs/tool", interpreter(home / ".pyenv/versions/3.12.1"))
    interpreter(home / ".nvm/versions/node/v20.1.0", "node")
    env = {"VIRTUAL_ENV": str(home / "envs/tool"), "PATH": str(home / ".nvm/versions/node/v20.1.0/bin")}
    assert found(home, env) == [".nvm/versions/node/v20.1.0", ".pyenv/versions/3.12.1", "envs/tool"]
    path = path_for(home / "project", env, readable=readable_for(home / "project", (), env, home=home)).split(":")
    assert path[0] == str(home / "envs/tool/bin")
    assert path[-1] == "/bin"


def test_the_program_of_the_command_counts(home):
    venv(home / "envs/other", interpreter(home / "opt/python"))
    (home / "envs/other/bin/pytest").write_text("#!x")
    (home / "envs/other/bin/pytest").chmod(0o755)
    assert found(home, argv=[str(home / "envs/other/bin/pytest")]) == ["envs/other"]


def test_a_conda_right_under_the_home_is_one_toolchain(home):
    interpreter(home / "miniconda3")
    (home / "miniconda3/conda-meta").mkdir()
    venv(home / "project/.venv", home / "miniconda3/bin/python3.11")
    assert found(home) == ["miniconda3"]


@pytest.mark.parametrize("where", [".", "..", ".local", ".config/nvm", ".ssh/python", "stuff", "project/.."])
def test_what_is_broader_or_holds_keys_is_never_shown(home, where):
    place = home / where
    interpreter(place)
    if where == "stuff":
        (place / ".aws").mkdir()
    venv(home / "project/.venv", Path(os.path.normpath(place / "bin/python3.11")))
    assert found(home) == []


def test_a_link_out_of_a_toolchain_into_the_home_shows_nothing_of_it(home):
    python = interpreter(home / ".pyenv/versions/3.11.7")
    (home / "bin").mkdir()
    (home / "bin/python").symlink_to(python)
    venv(home / "project/.venv", home / "bin/python")
    assert found(home) == [".pyenv/versions/3.11.7"]


def test_a_parent_of_the_workspace_and_the_system_are_no_toolchain(home):
    interpreter(home / "project")
    inner = home / "project/inner"
    inner.mkdir()
    assert not is_toolchain(home / "project", inner, home)
    for folder in ("/", "/usr", "/usr/local", "/bin", "/etc", "/home", "/root", "/var/lib"):
        assert not is_toolchain(Path(folder), inner, home), folder


@pytest.fixture
def foreign(home) -> Path:
    """Somebody else's project, with a venv in its very folder."""
    place = home.parent / "other" / "project"
    made = venv(place, interpreter(home / ".pyenv/versions/3.11.7"))
    for name in ("lib/python3.11/site-packages", "lib/secret", "share", "src"):
        (made / name).mkdir(parents=True)
    for name in ("settings.py", "src/code.py", "lib/secret/code.py", "share/code.py"):
        (made / name).touch()
    return made


def _names_a_foreign_project(how: str, project: Path, foreign: Path) -> list[str]:
    if how == "config":
        (project / ".venv/bin").mkdir(parents=True)
        (project / ".venv/pyvenv.cfg").write_text(f"home = {foreign}/bin\n")
    elif how == "config through the workspace":
        (project / "way").symlink_to(foreign.parent)
        (project / ".venv/bin").mkdir(parents=True)
        (project / ".venv/pyvenv.cfg").write_text(f"home = {project}/way/{foreign.name}/bin\n")
    elif how == "link":
        venv(project / ".venv", foreign / "bin/python")
    elif how == "folder":
        (project / ".venv").symlink_to(foreign)
    elif how == "program":
        (project / "tool").symlink_to(foreign / "bin/python")
        return [str(project / "tool")]
    return []


@pytest.mark.parametrize("how", ["config", "config through the workspace", "link", "folder", "program"])
def test_a_foreign_project_that_the_workspace_names_is_not_shown(home, foreign, how):
    """Of the venv that lies in it, what makes a venv."""
    argv = _names_a_foreign_project(how, home / "project", foreign)
    shown = readable_for(home / "project", argv, {}, home=home)
    kept = [path for path in shown if path.is_relative_to(foreign)]
    assert {str(path.relative_to(foreign)) for path in kept} == {"bin", "lib/python3.11", "pyvenv.cfg"}


def test_a_project_with_a_program_called_python_is_no_toolchain_if_only_the_workspace_says_so(home):
    other = home.parent / "other" / "project"
    (other / "bin").mkdir(parents=True)
    (other / "bin/python").touch()
    (home / "project/.venv").mkdir()
    (home / "project/.venv/pyvenv.cfg").write_text(f"home = {other}/bin\n")
    assert readable_for(home / "project", (), {}, home=home) == ()


def test_of_an_interpreter_with_other_things_beside_it_only_its_parts_are_shown(home):
    python = interpreter(home / "stuff/python")
    (home / "stuff/python/notes.txt").touch()
    venv(home / "project/.venv", python)
    assert found(home) == ["stuff/python/bin", "stuff/python/lib"]
    shown = readable_for(home / "project", (), {}, home=home)
    assert str(home / "stuff/python/bin") in path_for(home / "project", {}, readable=shown).split(":")


def test_what_the_caller_named_is_shown_whole(home, foreign):
    assert foreign in readable_for(home / "project", (), {"VIRTUAL_ENV": str(foreign)}, home=home)


def test_the_callers_name_for_the_workspaces_venv_makes_it_no_more_trusted(home, foreign):
    alias = home / "alias"
    alias.symlink_to(home / "project")
    (home / "project/.venv").symlink_to(foreign)
    assert foreign not in readable_for(home / "project", (), {"VIRTUAL_ENV": str(alias / ".venv")}, home=home)


@pytest.mark.parametrize(
    "text",
    [b"home = /a\0b/bin", b"home = /" + b"x" * 5000 + b"/bin", b"home = /\xff\xfe/bin", b"home", b"=\nhome=\n", b"\0" * 100_000,
     b"home = /loop/bin", b"HOME = relative/bin\nhome = ../../bin"],
)  # fmt: skip
def test_a_hostile_pyvenv_cfg_shows_nothing_and_breaks_nothing(home, text):
    (home / "project/.venv").mkdir()
    (home / "loop").symlink_to("loop")
    (home / "project/.venv/pyvenv.cfg").write_bytes(text.replace(b"/loop", os.fsencode(home / "loop")))
    assert found(home) == []


@pytest.mark.parametrize("kind", ["fifo", "folder", "closed", "loop"])
def test_a_pyvenv_cfg_that_cannot_be_read_is_none(home, kind):
    config = home / "project/.venv/pyvenv.cfg"
    config.parent.mkdir()
    if kind == "fifo":
        os.mkfifo(config)
    elif kind == "folder":
        config.mkdir()
    elif kind == "loop":
        config.symlink_to(config)
    else:
        config.touch()
        config.parent.chmod(0)
    assert found(home) == []
    config.parent.chmod(0o755)


def test_a_user_without_a_home_gets_a_toolchain_all_the_same(home, monkeypatch):
    def nobody(*_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    venv(home / "project/.venv", interpreter(home / ".pyenv/versions/3.11.7"))
    assert readable_for(home / "project", (), {}) == (home / ".pyenv/versions/3.11.7",)


def test_a_loop_of_links_ends(home):
    (home / "project/.venv/bin").mkdir(parents=True)
    (home / "project/.venv/pyvenv.cfg").touch()
    (home / "project/.venv/bin/python").symlink_to("python")
    assert found(home) == []


def test_what_runs_these_tests_is_found_for_real(tmp_path):
    """The real interpreter starts when only these prefixes and the system's folders are there to be read."""
    shown = readable_for(tmp_path, (sys.executable,))
    real = Path(sys.base_prefix).resolve()
    assert any(real.is_relative_to(folder) for folder in (*shown, *toolchain.SYSTEM)), (shown, real)
    assert Path.home() not in shown
    assert (
        subprocess.run(
            [sys.executable, "-c", "pass"], env={"PATH": path_for(tmp_path, readable=shown)}, check=False
        ).returncode
        == 0
    )

"""The toolchain behind a venv is found and shown, one prefix of it, and never anything that holds keys."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rsi.sandbox import toolchain
from rsi.sandbox.toolchain import is_toolchain, path_for, readable_for, sources_for


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


@pytest.fixture
def site(home, monkeypatch) -> Path:
    """Where the environment that runs rsi has its distributions."""
    made = venv(home / "envs/rsi", interpreter(home / ".pyenv/versions/3.11.7"))
    monkeypatch.setattr(sys, "prefix", str(made))
    folder = made / "lib/python3.11/site-packages"
    folder.mkdir(parents=True)
    return folder


def package(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    return folder


def imported(home: Path, programs=(), env=None) -> list[str]:
    """Without those of rsi itself."""
    found = sources_for(home / "project", programs, env or {}, home=home)
    return [str(path.relative_to(home)) for path in found if path.is_relative_to(home)]


def editable(site: Path, root: str, name: str = "x-1.dist-info", *, url: str | None = None) -> None:
    (site / name).mkdir()
    text = f'{{"url": "{url or "file://" + root}", "dir_info": {{"editable": true}}}}'
    (site / name / "direct_url.json").write_text(text)


def test_a_folder_of_sources_is_shown_whole(home, site):
    package(home / "code/lib/src/lib")
    (home / "code/lib/src/lib.egg-info").mkdir()
    (site / "lib.pth").write_text(f"# a comment\nimport os; os.environ['X'] = '1'\n\n{home}/code/lib/src\n")
    assert imported(home) == ["code/lib/src"]


def test_of_a_project_what_can_be_imported_is_shown_and_not_its_keys(home, site):
    root = home / "code/lib"
    package(root / "lib")
    package(root / "space/part")
    package(root / ".git/hooks")
    package(root / "node-modules")
    package(root / "other")
    (root / "other/pyproject.toml").touch()
    for name in ("docs", "data"):
        (root / name).mkdir()
    for name in ("module.py", ".env", "settings.yaml", "pyproject.toml", "data/table.csv"):
        (root / name).touch()
    (root / "link").symlink_to(home / ".ssh")
    (site / "lib.pth").write_text(f"{root}\n")
    assert imported(home) == ["code/lib/lib", "code/lib/module.py", "code/lib/space"]


def test_an_editable_install_whose_pth_is_code_is_found_by_its_origin(home, site):
    """As setuptools, maturin and meson-python make them."""
    package(home / "code/a b/src/lib")
    (home / "code/a b/pyproject.toml").touch()
    (site / "__editable__.lib.pth").write_text("import __editable___lib_finder; __editable___lib_finder.install()")
    editable(site, str(home / "code/a b").replace(" ", "%20"))
    assert imported(home) == ["code/a b/src"]


def test_what_the_workspace_has_itself_is_left_to_the_view(home, site):
    package(home / "project/src/app")
    (site / "app.pth").write_text(f"{home}/project/src\n")
    assert imported(home) == []


@pytest.mark.parametrize("where", [".", "..", "/", "/usr/lib", ".config/lib", ".ssh", "gone", "project/way", "site\0"])
def test_what_is_broader_or_holds_keys_is_no_source(home, site, where):
    (home / "project/way").symlink_to(home / "other")
    package(home / "other/pkg")
    package(home / ".ssh/lib")
    package(home / ".config/lib/pkg")
    (site / "x.pth").write_text(f"{os.path.normpath(home / where)}\n")
    assert imported(home) == []


def test_a_folder_with_projects_in_it_is_not_shown_whole(home, site):
    package(home / "src/tool")
    package(home / "src/secret/secret")
    (home / "src/secret/setup.py").touch()
    (site / "x.pth").write_text(f"{home}/src\n")
    assert imported(home) == ["src/tool"]


def test_an_environment_that_only_the_workspace_names_shows_no_sources(home):
    made = venv(home / "project/.venv", interpreter(home / ".pyenv/versions/3.11.7"))
    folder = made / "lib/python3.11/site-packages"
    folder.mkdir(parents=True)
    package(home / "code/lib")
    (folder / "x.pth").write_text(f"{home}/code\n")
    assert imported(home) == []
    assert imported(home, env={"VIRTUAL_ENV": str(made)}) == []


def test_the_environment_that_runs_rsi_is_believed_wherever_it_lies(home, monkeypatch):
    """What its files say was run when rsi started."""
    made = venv(home / "project/.venv", interpreter(home / ".pyenv/versions/3.11.7"))
    folder = made / "lib/python3.11/site-packages"
    folder.mkdir(parents=True)
    package(home / "code/lib")
    (folder / "x.pth").write_text(f"{home}/code\n")
    monkeypatch.setattr(sys, "prefix", str(made))
    assert imported(home) == ["code"]


def test_the_callers_environment_and_that_of_a_named_program_count(home):
    for name in ("active", "asked"):
        made = venv(home / "envs" / name, interpreter(home / ".pyenv/versions/3.11.7"))
        folder = made / "lib/python3.11/site-packages"
        folder.mkdir(parents=True)
        package(home / f"code-{name}/src/lib")
        (folder / "x.pth").write_text(f"{home}/code-{name}/src\n")
        (made / "bin/pytest").write_text("#!x")
        (made / "bin/pytest").chmod(0o755)
    asked = [str(home / "envs/asked/bin/pytest")]
    assert imported(home, asked, {"VIRTUAL_ENV": str(home / "envs/active")}) == ["code-active/src", "code-asked/src"]


@pytest.mark.parametrize(
    "text", ["{", "[]", "null", '{"url": 3, "dir_info": {"editable": true}}', '{"url": "file://x"}']
)
def test_an_origin_that_cannot_be_understood_shows_nothing(home, site, text):
    editable(site, str(home / "code"))
    (site / "x-1.dist-info/direct_url.json").write_text(text)
    assert imported(home) == []


def test_an_origin_elsewhere_or_not_editable_shows_nothing(home, site):
    package(home / "code/lib")
    editable(site, "", url=f"https://host{home}/code")
    (site / "y-1.dist-info").mkdir()
    (site / "y-1.dist-info/direct_url.json").write_text(f'{{"url": "file://{home}/code", "dir_info": {{}}}}')
    assert imported(home) == []


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

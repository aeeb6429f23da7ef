"""What the host reads and writes after a hostile command. Run by the daemon's process."""

# ruff: noqa: PTH208 - names are enough

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from attacks.scenes_kit import box as _box
from attacks.scenes_kit import python as _python
from attacks.scenes_kit import refused as _refused
from attacks.scenes_kit import workspace as _workspace
from attacks.yard import Yard

from rsi.errors import RSIError
from rsi.sandbox import apply
from rsi.sandbox.patch import listing


def outputs_that_are_links(yard: Yard, folder: Path) -> dict[str, object]:
    """The host asks for `report`, and it is a link to a secret; so is a folder on the way."""
    place, target = _workspace(folder), folder / "target"
    target.mkdir()
    with _box(place) as box:
        assert box.exec(
            f"ln -s {yard.outside}/secret report; ln -s {yard.outside} folder; ln -s /proc/self/environ env; echo x > ok"
        ).ok
        naive = next((box.store.parents[1] / "layers").glob("*/report")).read_text()
        said = {
            "read_file": _refused(box.read_file, "report"),
            "read below": _refused(box.read_file, "folder/secret"),
            "apply": _refused(apply, box.diff(), target),
            "apply with links": _refused(apply, box.diff(), target, allow_links=True),
        }
        patch = box.patch().decode()
    secret = yard.secrets["file"]
    return {
        "said": said,
        "leaked": secret in patch or secret in str(said),
        "naive": secret in naive,
        "target": os.listdir(target),
    }


def a_folder_swapped_for_a_link(yard: Yard, folder: Path) -> dict[str, object]:
    """Between the diff and its use a command puts a link to the outside in a folder's place."""
    place, target = _workspace(folder), folder / "target"
    target.mkdir()
    with _box(place) as box:
        assert box.exec("mkdir -p out; echo harmless > out/secret").ok
        changes = box.diff()
        assert box.exec(f"rm -r out; ln -s {yard.outside} out").ok
        source = next(change.after.source for change in changes if change.path == "out/secret")
        said = {"patch": _refused(box.patch), "apply": _refused(apply, changes, target)}
        from rsi.sandbox.patch import patch

        text = b""
        with contextlib.suppress(RSIError):
            text = patch(changes, strict=False)
        naive = source.read_text()
    secret = yard.secrets["file"]
    left = "".join(path.read_text() for path in target.rglob("*") if path.is_file())
    return {"said": said, "leaked": secret in text.decode() + left, "naive": naive == secret}


_FORGE = """
import os, sys
os.chdir(sys.argv[1])
names = ("redirect", "metacopy", "opaque", "whiteout", "origin", "impure", "nlink", "upper", "protattr", "uuid")
kept = 0
os.mkdir("forged"); open("empty", "w").close(); open("forged/empty", "w").close()
for path in ("kept", "sub", "forged", "empty", "forged/empty", "."):
    for space in ("user.overlay.", "trusted.overlay.", "user.overlay.overlay."):
        for name in names:
            value = {"redirect": sys.argv[2].encode(), "metacopy": b"", "whiteout": b""}.get(name, b"x" if path == "forged" else b"y")
            try: os.setxattr(path, space + name, value); kept += 1
            except OSError: pass
for name, mode, device in (("white", 0o020666, 0), ("fifo", 0o010666, 0), ("null", 0o020666, os.makedev(1, 3))):
    try: os.mknod(name, mode, device)
    except OSError: pass
print(kept, sorted(os.listdir(".")), open("kept").read(), sorted(os.listdir("sub")))
"""


def forged_layers(yard: Yard, folder: Path) -> dict[str, object]:
    """Overlay attributes and whiteouts, set from inside and, as the control, on the layer itself."""
    place = _workspace(folder)
    secret = yard.secrets["file"]
    with _box(place) as box:
        said = _python(box, _FORGE, str(place), f"{yard.outside}/secret")
        assert said.ok, said
        box.checkpoint("forged")
        seen = box.exec("cat kept sub/inside empty; ls -a . sub forged; getfattr -d -m - kept 2>/dev/null; true")
        assert box.exec("echo more > forged/after").ok
        changes = {change.path: change.letter for change in box.diff()}
        texts = seen.stdout + seen.stderr + said.stdout + box.patch(strict=False).decode("latin-1")
        forged = [path for path in (box.store.parents[1] / "layers").rglob("*") if _forged(path)]
    with _box(place) as box:
        assert box.exec("echo changed > sub/inside").ok
        box.checkpoint("one")
        assert box.exec("echo changed > sub/inside").ok
        layer = max((box.store.parents[1] / "layers").glob("*/sub"), key=lambda path: path.stat().st_mtime_ns)
        os.setxattr(layer, "user.overlay.redirect", f"{yard.outside}/secret".encode())
        control = _refused(box.diff)
    return {
        "leaked": secret in texts, "changes": changes, "base seen": "from the host" in seen.stdout and "inside" in seen.stdout,
        "forged": [path.name for path in forged], "control": control, "host": sorted(os.listdir(place)),
    }  # fmt: skip


def _forged(path: Path) -> bool:
    """It has what only the kernel may write: not the escaped form (`user.overlay.overlay.…`)."""
    names = set(os.listxattr(path, follow_symlinks=False))
    return bool(names & {f"user.overlay.{name}" for name in ("redirect", "metacopy", "whiteout")})


_NAMES = (
    b"new\nline", b"bad\xff\xfename", b"esc\x1b[31m\x1b]0;pwned\x07", b"--help", b"-rf", b"back\bspace", b"tab\there",
    b"a b/c\rd", b"right\xe2\x80\xaeleft", b"quote\"'\\", b"$(id)", b"*",
)  # fmt: skip


def hostile_names(yard: Yard, folder: Path) -> dict[str, object]:
    """Names that break lines, drive terminals, look like options, are no UTF-8."""
    place, target = _workspace(folder), folder / "target"
    target.mkdir()
    words = [os.fsdecode(name) for name in _NAMES]
    script = "import os,sys\nfor n in sys.argv[1:]:\n if '/' in n: os.makedirs(os.path.dirname(n), exist_ok=True)\n open(n,'w').write('x\\x1b[2J\\n')"
    with _box(place) as box:
        assert _python(box, script, *words).ok
        changes = box.diff()
        paths = {os.fsencode(change.path) for change in changes}
        read = [box.read_file(word) == "x\x1b[2J\n" for word in words]
        shown = listing(changes)
        heads = [
            line
            for line in box.patch().splitlines()
            if not line.startswith((b"+", b"-")) or line.startswith((b"+++", b"---"))
        ]
        log = apply(changes, target)
        applied = {os.fsencode(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
        log.undo()
        refused = _refused(apply, changes, folder / "no such place")
    return {
        "missing": [repr(name) for name in _NAMES if name not in paths], "read": all(read),
        "raw in listing": [line for line in shown.splitlines() if not line.replace("\t", "").isascii() or not line.replace("\t", "").isprintable()],
        "raw in patch": [repr(line) for line in heads if any((byte < 32 and byte != 9) or byte > 126 for byte in line)],
        "applied": applied == set(_NAMES), "undone": os.listdir(target), "control": any(b"\x1b" in path for path in paths),
        "refused": refused is not None and "\x1b" not in refused,
    }  # fmt: skip


_OUTPUTS = {
    "link out": "ln -s {outside}/secret evil",
    "link by ..": "ln -s ../../../etc/passwd evil",
    "link to a folder": "ln -s {outside} evil",
    "fifo": "mkfifo evil",
    "socket": 'python3 -c "import socket; socket.socket(socket.AF_UNIX).bind(chr(101) + chr(118) + chr(105) + chr(108))"',
    "hook": "mkdir -p x/.git/hooks; echo e > x/.git/hooks/post-checkout",
    "repository": "mkdir -p x/.GIT; echo e > x/.GIT/config",
    "state": "mkdir -p x/.rsi; echo e > x/.rsi/secret",
    "too large": "head -c 20000000 /dev/zero > evil",
    "through a link in the target": "echo evil > sub/secret",
    "a folder for a link in the target": "mkdir -p way; echo evil > way/secret",
    "into a link in the target": "echo evil > file-way",
}


def merge_what_a_command_wrote(yard: Yard, folder: Path) -> dict[str, object]:
    """Each hostile output merged into a tree with links in it: all refused, and nothing outside is touched."""
    outside = folder / "outside"
    outside.mkdir()
    (outside / "secret").write_text("intact")
    said, control = {}, {}
    for number, (name, line) in enumerate(_OUTPUTS.items()):
        spot = folder / str(number)
        spot.mkdir()
        place, target = _workspace(spot), spot / "target"
        target.mkdir()
        for link in ("way", *(["sub"] if name.startswith("through") else [])):
            (target / link).symlink_to(outside)
        (target / "file-way").symlink_to(outside / "secret")
        with _box(place) as box:
            assert box.exec(line.format(outside=outside)).ok, name
            said[name] = _refused(apply, box.diff(), target)
            left = sorted(str(path.relative_to(target)) for path in target.rglob("*") if not path.is_symlink())
            naive = spot / "naive"
            naive.mkdir()
            source = max((box.store.parents[1] / "layers").iterdir(), key=lambda path: path.stat().st_mtime_ns)
            if name not in ("fifo", "socket"):
                shutil.copytree(source, naive, symlinks=True, dirs_exist_ok=True)
            control[name] = sorted(str(path.relative_to(naive)) for path in naive.rglob("*"))
        if said[name] is not None and left:
            said[name] = None
    return {
        "said": said,
        "secret": (outside / "secret").read_text(),
        "outside": os.listdir(outside),
        "control": control,
    }


def set_uid_is_not_merged(yard: Yard, folder: Path) -> dict[str, object]:
    place, target = _workspace(folder), folder / "target"
    target.mkdir()
    with _box(place) as box:
        assert box.exec("printf x > tool; chmod 6755 tool; printf x > wide; chmod 777 wide").ok
        layer = next((box.store.parents[1] / "layers").glob("*/tool"))
        inside = layer.stat().st_mode & 0o7777
        reach = [path for path in layer.parents if not path.stat().st_mode & 0o001]
        apply(box.diff(), target)
    return {
        "merged": oct((target / "tool").stat().st_mode & 0o7777),
        "wide": oct((target / "wide").stat().st_mode & 0o7777),
        "inside": oct(inside),
        "closed above": bool(reach),
    }

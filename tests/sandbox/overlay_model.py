"""What the model test does to a tree: the same program inside a box and on a plain copy. Standard library only.

`python3 overlay_model.py < operations`: JSON in, a list of `[name, arguments…]`; the tree after them out, as JSON.
"""
# It runs inside, where every import costs an example a few milliseconds.
# ruff: noqa: PTH101, PTH102, PTH104, PTH108, PTH110, PTH112, PTH114, PTH115, PTH116, PTH118, PTH123

import json
import os
import shutil
import stat
import sys


def write(path, text, flags):
    if os.path.exists(path) and stat.S_ISFIFO(os.stat(path).st_mode):
        raise OSError("nobody reads it: opening it would wait for ever")
    with open(path, flags) as file:
        file.write(text)


def rename(old, new):
    """Folders as `mv` does across layers: a copy. A rename onto itself or into itself is an error on both sides."""
    if os.path.isdir(old) and not os.path.islink(old):
        if (os.path.realpath(new) + "/").startswith(os.path.realpath(old) + "/"):
            raise OSError("into itself, perhaps through a link: the copy would not end")
        shutil.copytree(old, new, symlinks=True)
        shutil.rmtree(old)
    else:
        os.rename(old, new)


def rmtree(path):
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        raise NotADirectoryError(path)  # a fifo would be opened, and waited for
    shutil.rmtree(path)


def remake(path):
    """An opaque folder: gone, and back, empty."""
    rmtree(path)
    os.mkdir(path)


def link(old, new):
    os.link(old, new, follow_symlinks=False)


def chmod(path, mode):
    """Folders stay open: one of the two sides may be root, for whom nothing is closed."""
    if not os.path.islink(path):
        os.chmod(path, mode | 0o700 if os.path.isdir(path) else mode)


def replace(path):
    """A folder becomes a file, a file a folder."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
        write(path, "was a folder", "w")
    else:
        os.unlink(path)
        os.mkdir(path)


WAYS = {
    "write": lambda path, text: write(path, text, "w"),
    "append": lambda path, text: write(path, text, "a"),
    "truncate": os.truncate,
    "delete": os.unlink,
    "rename": rename,
    "mkdir": os.mkdir,
    "rmtree": rmtree,
    "remake": remake,
    "link": link,
    "symlink": os.symlink,
    "chmod": chmod,
    "touch": os.utime,
    "replace": replace,
    "fifo": os.mkfifo,
}


def perform(operations):
    """Each of them; one that cannot be done is not done, on either side."""
    os.umask(0o022)
    for name, *arguments in operations:
        try:
            WAYS[name](*arguments)
        except (OSError, shutil.Error):
            continue


def listing():
    """path → what it is, of the present folder."""
    found = {}
    for folder, folders, files in os.walk("."):
        for name in [*folders, *files]:
            path = os.path.join(folder, name)[2:]
            st = os.lstat(path)
            mode = stat.S_IMODE(st.st_mode)
            if stat.S_ISLNK(st.st_mode):
                found[path] = ["symlink", os.readlink(path)]
            elif stat.S_ISREG(st.st_mode):
                with open(path, encoding="latin-1", newline="") as file:
                    found[path] = ["file", mode, file.read()]
            else:
                found[path] = ["directory" if stat.S_ISDIR(st.st_mode) else "other", mode]
    return found


if __name__ == "__main__":
    perform(json.load(sys.stdin))
    json.dump(listing(), sys.stdout)

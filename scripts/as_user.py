#!/usr/bin/env python3
"""Runs a command as an ordinary user without any capability: ``scripts/as_user.py COMMAND...``, started as root.

Where the interpreter or this checkout lies below a directory that is closed to others (``/root``), the command gets a
mount namespace of its own, in which that directory holds only them. Its home, temporary files and caches are in a
fresh directory that is removed at the end; the checkout is left as it was.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

USER = 12_345
"""Any id that owns nothing."""
ROOT = Path(__file__).resolve().parents[1]
CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE = 0x20000, 4096, 16384, 1 << 18
PR_CAPBSET_DROP, LAST_POSSIBLE_CAPABILITY = 24, 63

libc = ctypes.CDLL(None, use_errno=True)


def main(command: list[str]) -> int:
    if not command or os.geteuid() != 0:
        print("usage, as root: scripts/as_user.py COMMAND...", file=sys.stderr)
        return 2
    home = tempfile.mkdtemp(prefix="ordinary-user-")
    os.chown(home, USER, USER)
    child = os.fork()
    if not child:
        become(command, home)
    _, status = os.waitpid(child, 0)
    shutil.rmtree(home)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def become(command: list[str], home: str) -> NoReturn:
    """Turn this process into the command, run by the ordinary user."""
    open_closed_directories({str(ROOT), sys.prefix, sys.base_prefix, os.path.realpath(sys.base_prefix)})
    give_up_root()
    environment = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "LANG": "C.UTF-8",
        "HOME": home,
        "PYTEST_DEBUG_TEMPROOT": home,
        "PYTEST_ADDOPTS": "-p no:cacheprovider",
        "HYPOTHESIS_STORAGE_DIRECTORY": f"{home}/hypothesis",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    passed_on = {name: value for name, value in os.environ.items() if name.startswith(("HOTCELL_", "HC_"))}
    os.chdir(ROOT)
    os.execvpe(command[0], command, environment | passed_on)


def open_closed_directories(paths: set[str]) -> None:
    """Cover each directory that others may not pass with one that they may, holding only ``paths``."""
    needed = sorted(path for path in paths if closed_ancestor(path))
    check(libc.unshare(CLONE_NEWNS))
    # Opened before anything is covered; a descriptor still leads there afterwards.
    sources = {path: os.open(path, os.O_PATH | os.O_DIRECTORY) for path in needed}
    mount(None, "/", MS_REC | MS_PRIVATE)
    for path, source in sources.items():
        if ancestor := closed_ancestor(path):
            mount("tmpfs", ancestor, 0, b"mode=755")
        if not os.path.exists(path):
            os.makedirs(path)
            mount(f"/proc/self/fd/{source}", path, MS_BIND | MS_REC)
        os.close(source)


def closed_ancestor(path: str) -> str | None:
    """The outermost directory on the way to ``path`` that others may not pass."""
    for place in reversed(Path(path).parents):
        if place.exists() and not place.stat().st_mode & stat.S_IXOTH:
            return str(place)
    return None


def give_up_root() -> None:
    """No capability is left, and none can come back through a set-uid program."""
    for number in range(LAST_POSSIBLE_CAPABILITY + 1):
        libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0)  # fails for those that this kernel does not have
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)


def mount(source: str | None, target: str, flags: int, options: bytes | None = None) -> None:
    check(libc.mount(os.fsencode(source) if source else None, os.fsencode(target), b"tmpfs", flags, options))


def check(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

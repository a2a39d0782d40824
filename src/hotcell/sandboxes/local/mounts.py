"""The root file system a cell sees: an empty tmpfs with what Python needs bound read-only, and nothing else.

Built once for a fork server, in its own mount namespace. Each cell copies that namespace and puts its own /proc and
its own writable tmpfs (``CELL``) on top.
"""

from __future__ import annotations

import os
import site
import stat
import struct
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from hotcell.sandboxes.local.kernel import (
    MNT_DETACH,
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    call,
)

HOLDER = "/run"
"""Holds the mount point: Landlock looks for rules above a mount, not under it."""
CELL = f"{HOLDER}/cell"
"""The cell's own tmpfs: its home, with its work directory, /tmp and /dev/shm in it, under one quota."""
WORK = f"{CELL}/work"
DIRECTORIES = ("work", "tmp", "shm")

_LINKS = {"/tmp": f"{CELL}/tmp", "/var/tmp": f"{CELL}/tmp", "/dev/shm": f"{CELL}/shm"}  # noqa: S108
_STASH = "/.python"
"""Where a Python that is installed below one of those is bound instead."""
DEVICES = ("null", "full", "random", "urandom")
ZERO = "zero"
"""Mapped shared, it is memory that only a memory group counts."""
_DEVICE_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
_ETC = {
    "passwd": f"nobody:x:65534:65534:cell:{CELL}:/usr/sbin/nologin\nroot:x:0:0:root:/:/usr/sbin/nologin\n",
    "group": "nogroup:x:65534:\nroot:x:0:\n",
    "hosts": "127.0.0.1 localhost hotcell\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}
# Programs of the C library and data that Python's libraries read by fixed names.
_SYSTEM = (
    "/lib",
    "/lib32",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/share/zoneinfo",
    "/usr/share/fonts",
    "/etc/fonts",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/mime.types",
)

_NO_PROGRAMS: Mapping[str, str] = MappingProxyType({})

_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV = 1, 2, 4


def python_paths() -> list[str]:
    """What the running interpreter needs to start and import: never its project, home or user site."""
    binary = os.path.realpath(sys.executable)
    found = [sys.executable, binary, os.path.join(sys.prefix, "pyvenv.cfg"), *site.getsitepackages()]
    found += [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    found += [os.path.join(sys.base_prefix, name) for name in ("lib", "share/zoneinfo")]
    found += [os.path.join(sys.prefix, "bin", name) for name in ("python", "python3")]
    return list(dict.fromkeys(path for path in found if os.path.lexists(path)))


def build_root(
    *,
    devices: tuple[str, ...],
    programs: Mapping[str, str] = _NO_PROGRAMS,
    paths: Sequence[str] = (),
    show_host: bool = False,
    environment: str | None = None,
) -> list[tuple[str, str]]:
    """Replace the root of this mount namespace for good. Needs CAP_SYS_ADMIN over it; raises OSError.

    ``programs`` (place to file, see ``toolbox``) and ``paths`` are what another language than Python needs;
    ``environment`` is a virtual environment to bring whole: some packages keep files beside their modules.
    ``show_host`` lets the host's /etc in, to prove by an attack that this layer is what keeps it out.
    Returns the links that each cell's own tmpfs must hold, as (link, target): a Python installed below /tmp.
    """
    # A directory before what lies in it: once it is bound, all of that is there.
    also = [*(["/etc"] if show_host else []), *([environment] if environment else [])]
    sources = sorted([*_SYSTEM, *python_paths(), *paths, *also], key=len)
    call("mount", None, b"/", None, MS_REC | MS_PRIVATE, None)
    # A tmpfs over /tmp becomes the root; the old root, /tmp included, moves below it, to be read from and let go.
    staging = b"/tmp"
    call("mount", b"tmpfs", staging, b"tmpfs", MS_NOSUID | MS_NODEV, b"mode=755,size=1m,nr_inodes=4k")
    os.mkdir("/tmp/old")  # noqa: S108
    os.chdir("/tmp")  # noqa: S108
    call("pivot_root", b".", b"old")
    os.chdir("/")
    stashed: list[tuple[str, str]] = []
    for path in sources:
        shadow = next((link for link in _LINKS if path.startswith(link + "/")), None)
        if shadow:
            _stash(path, _LINKS[shadow] + path[len(shadow) :], stashed)
        else:
            _bring(path)
    _bring_programs(programs)
    _make_devices(devices)
    for name, text in _ETC.items():
        if not os.path.exists(f"/etc/{name}"):
            _write(f"/etc/{name}", text)
    os.makedirs("/proc", exist_ok=True)
    call("mount", b"proc", b"/proc", b"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, None)
    os.makedirs(CELL, exist_ok=True)
    for link, target in _LINKS.items():
        os.makedirs(os.path.dirname(link), exist_ok=True)
        os.symlink(target, link)
    call("umount2", b"/old", MNT_DETACH)
    os.rmdir("/old")
    call("mount", None, b"/", None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, None)
    return stashed


def _stash(path: str, shown: str, stashed: list[tuple[str, str]]) -> None:
    """Bind ``path`` where no cell's tmpfs covers it, and note the link that shows it at its own place."""
    old = "/old" + path
    if any(shown.startswith(link + "/") for link, _ in stashed):
        return
    if os.path.islink(old):
        link = os.readlink(old)
        stashed.append((shown, link))
        if os.path.isabs(link):
            _bring(link)
        return
    target = f"{_STASH}/{len(stashed)}"
    if os.path.isdir(old):
        os.makedirs(target)
    elif os.path.exists(old):
        _write(target, "")
    else:
        return
    _bind(old, target)
    stashed.append((shown, target))


def make_own_place(links: list[tuple[str, str]]) -> None:
    """For the fork server itself, while it imports: the writable tmpfs that each cell covers with its own."""
    call("mount", b"tmpfs", CELL.encode(), b"tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, b"mode=700,size=64m")
    for name in DIRECTORIES:
        os.mkdir(f"{CELL}/{name}")
    for link, target in links:
        os.makedirs(os.path.dirname(link), exist_ok=True)
        os.symlink(target, link)
    os.chdir(WORK)


def others_can_read() -> bool:
    """True when a user without any rights can reach the interpreter and its libraries."""
    for path in python_paths():
        for place in (path, *_parents(os.path.realpath(path))):
            mode = os.stat(place).st_mode
            if not mode & (stat.S_IXOTH if os.path.isdir(place) else stat.S_IROTH):
                return False
    return True


def _parents(path: str) -> Iterator[str]:
    parts = path.strip("/").split("/")[:-1]
    for count in range(1, len(parts) + 1):
        yield "/" + "/".join(parts[:count])


def _bring(path: str) -> None:
    """Make ``path`` of the old root appear at the same place, read-only; links are copied as links."""
    for parent in _parents(path):
        if os.path.islink(parent):
            return _bring(os.path.realpath(parent) + path[len(parent) :])
        if not os.path.lexists(parent):
            if os.path.islink("/old" + parent):
                _copy_link(parent)
                return _bring(os.path.realpath(parent) + path[len(parent) :])
            os.mkdir(parent)
    old = "/old" + path
    if os.path.lexists(path) and not _is_empty_directory(path):
        return None  # an ancestor was bound already, and it holds this
    if os.path.islink(old):
        return _copy_link(path)
    if os.path.isdir(old):
        os.makedirs(path, exist_ok=True)
    elif os.path.exists(old):
        _write(path, "")
    else:
        return None
    _bind(old, path)
    return None


def _bring_programs(programs: Mapping[str, str]) -> None:
    """Each program alone: a link such as /bin is made anew, as following it would bring all that is in there."""
    for place, file in programs.items():
        _bring(file)
        if not os.path.lexists(place):
            os.makedirs(os.path.dirname(place), exist_ok=True)
            os.symlink(file, place)
    if programs and os.path.islink("/old/bin") and not os.path.lexists("/bin"):
        os.symlink(os.readlink("/old/bin"), "/bin")


def _is_empty_directory(path: str) -> bool:
    return os.path.isdir(path) and not os.listdir(path)


def _copy_link(path: str) -> None:
    target = os.readlink("/old" + path)
    os.symlink(target, path)
    _bring(os.path.normpath(os.path.join(os.path.dirname(path), target)))


def _bind(source: str, target: str) -> None:
    call("mount", source.encode(), target.encode(), None, MS_BIND | MS_REC, None)
    read_only = struct.pack("<QQQQ", _ATTR_RDONLY | _ATTR_NOSUID | _ATTR_NODEV, 0, 0, 0)
    call("mount_setattr", _AT_FDCWD, target.encode(), _AT_RECURSIVE, read_only, len(read_only))


def _make_devices(devices: tuple[str, ...]) -> None:
    os.makedirs("/dev", exist_ok=True)
    for name in devices:
        _write(f"/dev/{name}", "")
        call("mount", f"/old/dev/{name}".encode(), f"/dev/{name}".encode(), None, MS_BIND, None)
    for name, target in _DEVICE_LINKS.items():
        os.symlink(target, f"/dev/{name}")


def _write(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "x", encoding="utf-8") as file:
        file.write(text)

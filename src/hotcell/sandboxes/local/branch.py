"""A session's process splits in two; runs inside the wall, in that process and its copy.

The copy moves into a shell that the trusted side made (``shells``). Nothing here keeps hostile code from anything: what
it can reach is decided by the descriptors it is given and by the kernel. What is done here keeps honest code apart from
its copy: files, pipes and shared memory that both would hold.
"""

from __future__ import annotations

import fcntl
import gc
import mmap
import os
import random
import stat
import sys
import warnings
from typing import Any

from hotcell.sandboxes.local import jail, kernel, mappings, mounts, pages
from hotcell.worker import awaiting, serve, treecopy, wire

_NOTHING = os.devnull
_DEVICE = stat.S_ISCHR
_MAP_FIXED = 0x10
_STDERR = 4
"""Which of the handles is the copy's stderr: what goes wrong is said there."""


def split(order: dict[str, Any], handles: list[int]) -> bool:
    """Make the copy; True in it, False in the original. Whatever fails ends the copy, which the other side sees.

    ``handles``: the shell's mount and PID namespaces, and the copy's wire, stdout and stderr.
    """
    try:
        mount, pid, *streams = handles
        old = os.open(mounts.CELL, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        handles.append(old)
        state = _random_state() if order["keep_random"] else None
        # What exists now is out of the collector's sight, or its first run in the copy would copy every page.
        gc.freeze()
        if not _fork_into(pid):
            _close(handles)
            gc.unfreeze()
            return False
    except (OSError, ValueError) as error:  # without room for descriptors some of them did not come
        gc.unfreeze()
        if len(handles) > _STDERR:
            os.write(handles[_STDERR], str(error).encode())
        return _close(handles)
    try:
        for number, handle in zip((serve.CHANNEL, 1, 2), streams, strict=True):
            os.dup2(handle, number)
        os.write(serve.CHANNEL, wire.encode(wire.HERE))  # so that the other side does its part meanwhile
        kernel.call("setns", mount, kernel.CLONE_NEWNS)
        jail.use_capabilities(0)
        _close([mount, pid, *streams])
        _settle(old)
        _renew_random(state)
    except BaseException as error:  # noqa: BLE001  # the copy must not go on in the original's place
        os.write(2, str(error).encode())
        os._exit(1)
    return True


def _close(handles: list[int]) -> bool:
    for handle in handles:
        os.close(handle)
    return False


def _fork_into(pid: int) -> bool:
    """Fork; the copy is in the PID namespace, has the capabilities in effect, and is no child of this process."""
    has_threads = len(os.listdir("/proc/self/task")) > 1
    # A lock that another thread holds would stay locked in a copy: then the C library and Python must get ready for it,
    # which only an ordinary fork does, and the copy is left to the init of this place by a child that ends.
    if has_threads and (child := _fork_with_threads()):
        os.waitpid(child, 0)
        return False
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    is_copy = False
    try:
        jail.use_capabilities(jail.TO_BRANCH)
        kernel.call("setns", pid, kernel.CLONE_NEWPID)
        is_copy = (kernel.fork() if has_threads else kernel.fork_sibling()) == 0
    finally:
        if has_threads and not is_copy:
            os._exit(0)
        if not is_copy:
            kernel.call("setns", own, kernel.CLONE_NEWPID)
            jail.use_capabilities(0)
        os.close(own)
    return is_copy


def _fork_with_threads() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads do not come along: documented
        return os.fork()


def _settle(old: int) -> None:
    """Have files and memory of its own, and let go of all that the original has as well."""
    where = os.fstat(old).st_dev
    os.chdir(mounts.WORK)
    treecopy.copy_tree(old, mounts.CELL)
    _renew_descriptors(where, keep={0, 1, 2, serve.CHANNEL})
    _renew_mappings()
    awaiting.forget()


def _renew_descriptors(where: int, keep: set[int]) -> None:
    """Open our own copy of each file; close the original's folders, and put the null device in the place of pipes."""
    null = os.open(_NOTHING, os.O_RDWR | os.O_CLOEXEC)
    for name in os.listdir("/proc/self/fd"):
        handle = int(name)
        if handle in keep or handle == null:
            continue
        try:
            status = os.fstat(handle)
        except OSError:
            continue  # the listing's own
        if status.st_dev == where and stat.S_ISREG(status.st_mode):
            _reopen(handle)
        elif status.st_dev == where:
            os.close(handle)
        elif not (stat.S_ISREG(status.st_mode) or _DEVICE(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            os.dup2(null, handle, inheritable=os.get_inheritable(handle))
    os.close(null)


def _reopen(handle: int) -> None:
    """The same file in the copy's own tree, at the same place; one without a name gets a copy without a name."""
    path = os.readlink(f"/proc/self/fd/{handle}")
    flags = fcntl.fcntl(handle, fcntl.F_GETFL)
    place = os.lseek(handle, 0, os.SEEK_CUR)
    inheritable = os.get_inheritable(handle)
    if path.endswith(" (deleted)") or not path.startswith(mounts.CELL):
        own = os.open(f"{mounts.CELL}/{mounts.DIRECTORIES[1]}", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        original = os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_CLOEXEC)  # with an offset of its own
        treecopy.copy_content(original, own)
        os.close(original)
    else:
        own = os.open(path, flags & ~(os.O_CREAT | os.O_EXCL | os.O_TRUNC) | os.O_CLOEXEC)
    os.dup2(own, handle, inheritable=inheritable)
    os.close(own)
    os.lseek(handle, place, os.SEEK_SET)


def _renew_mappings() -> None:
    """Files of the original that are mapped become the copy's; nameless shared memory becomes private."""
    for mapping in mappings.shared():
        start, end, permissions, offset, path = mapping
        if path.startswith(mounts.CELL):
            writable = mmap.PROT_WRITE if "w" in permissions else 0
            own = os.open(path, os.O_RDWR if writable else os.O_RDONLY)
            flags = mmap.MAP_SHARED | _MAP_FIXED
            kernel.call("mmap", start, end - start, mmap.PROT_READ | writable, flags, own, offset)
            os.close(own)
        elif pages.is_shared_memory(mapping):
            pages.make_private([(start, end)])


def _random_state() -> tuple[Any, Any]:
    numpy_random: Any = sys.modules.get("numpy.random")
    return random.getstate(), numpy_random and numpy_random.get_state()


def _renew_random(state: tuple[Any, Any] | None) -> None:
    """Go on as the original would have, or with numbers of its own."""
    numpy_random: Any = sys.modules.get("numpy.random")
    if state is None:
        pages.reseed()
        pages.reseed_libraries()
        return
    random.setstate(state[0])
    if numpy_random and state[1] is not None:
        numpy_random.set_state(state[1])

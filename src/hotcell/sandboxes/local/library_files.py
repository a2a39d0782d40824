"""Descriptors that libraries hold open from their import on, such as matplotlib's fonts: each cell gets its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat


class LibraryFiles:
    """Those of the fork server. ``learn`` after the imports; the rest is for a fresh cell."""

    def __init__(self) -> None:
        self._before = _descriptors()
        self._paths: dict[int, str] = {}

    def learn(self) -> None:
        """What was opened since this was made."""
        self._paths = _readable_files(_descriptors() - self._before)

    def reopen(self) -> None:
        """A description shared with siblings would share its offset too."""
        for handle, path in self._paths.items():
            offset = os.lseek(handle, 0, os.SEEK_CUR)
            own = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            os.dup2(own, handle, inheritable=False)
            os.close(own)
            os.lseek(handle, offset, os.SEEK_SET)

    def close_others(self, low: int) -> None:
        """Close all descriptors from ``low`` on but these."""
        for handle in sorted(self._paths):
            os.closerange(low, handle)
            low = handle + 1
        os.closerange(low, 1 << 20)


def _descriptors() -> set[int]:
    # Without the listing's own: its number is free again, and the next file that a library opens gets it.
    return {handle for handle in map(int, os.listdir("/proc/self/fd")) if _is_open(handle)}


def _is_open(handle: int) -> bool:
    try:
        os.fstat(handle)
    except OSError:
        return False
    return True


def _readable_files(handles: set[int]) -> dict[int, str]:
    """Those of the descriptors that are regular files open for reading, with their paths."""
    found = {}
    for handle in handles:
        with contextlib.suppress(OSError):
            reading = fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
            if reading and stat.S_ISREG(os.fstat(handle).st_mode):
                found[handle] = os.readlink(f"/proc/self/fd/{handle}")
    return found

"""Copying a work directory: files with their modes and times, links as links, holes as holes."""

from __future__ import annotations

import contextlib
import os
import stat

_CHUNK = 1 << 20


def copy_tree(source: int, target: str) -> None:
    """All below the descriptor ``source`` into the directory ``target``, which may hold some of the folders already.

    Hard links stay links of one another; FIFOs and sockets are left out. Raises OSError.
    """
    names: dict[int, str] = {}
    waiting = [(os.dup(source), target)]
    while waiting:
        handle, place = waiting.pop()
        try:
            for name in os.listdir(handle):
                status = os.stat(name, dir_fd=handle, follow_symlinks=False)
                path = f"{place}/{name}"
                if stat.S_ISDIR(status.st_mode):
                    try:
                        os.mkdir(path, stat.S_IMODE(status.st_mode) | 0o700)
                    except FileExistsError:
                        pass  # one of those that every place has
                    waiting.append((os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=handle), path))
                elif stat.S_ISLNK(status.st_mode):
                    with contextlib.suppress(FileExistsError):
                        os.symlink(os.readlink(name, dir_fd=handle), path)
                elif stat.S_ISREG(status.st_mode):
                    _copy_file(handle, name, status, path, names)
        finally:
            os.close(handle)


def _copy_file(parent: int, name: str, status: os.stat_result, path: str, names: dict[int, str]) -> None:
    if status.st_nlink > 1 and status.st_ino in names:
        os.link(names[status.st_ino], path)
        return
    names[status.st_ino] = path
    readable = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=parent)
    writable = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        copy_content(readable, writable)
        os.fchmod(writable, stat.S_IMODE(status.st_mode))
        os.utime(writable, ns=(status.st_atime_ns, status.st_mtime_ns))
    finally:
        os.close(readable)
        os.close(writable)


def copy_content(source: int, target: int) -> None:
    """All of one open file into another that is empty; holes stay holes."""
    size = os.fstat(source).st_size
    os.ftruncate(target, size)
    place = 0
    while place < size:
        try:
            place = os.lseek(source, place, os.SEEK_DATA)
        except OSError:
            return  # nothing but a hole is left
        end = os.lseek(source, place, os.SEEK_HOLE)
        while place < end:
            data = os.pread(source, min(_CHUNK, end - place), place)
            if not data:
                return
            place += os.pwrite(target, data, place)

"""The work directory of a session, from outside: hostile ground, so no link is followed and no name is trusted."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from hotcell.errors import ConfigurationError
from hotcell.sandboxes.artifacts import is_safe_part, open_directory

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MOST_ENTRIES = 20_000
_MOST_DEPTH = 16


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """A regular file in a session's work directory."""

    name: str
    """Relative, with ``/`` between parts."""
    size: int
    """In bytes."""


class WorkFiles:
    """Lists, reads and deletes below a descriptor of the directory, which it does not own."""

    def __init__(self, directory: int) -> None:
        self._directory = directory

    def list(self) -> tuple[FileEntry, ...]:
        """The regular files, by name; at most 20,000 entries and 16 folders deep are looked at."""
        return tuple(sorted(self._walk(), key=lambda entry: entry.name))

    def read(self, name: str, most_bytes: int) -> bytes:
        """A file's content. Raises FileNotFoundError, and ConfigurationError for one that is larger or not regular."""
        with self._parent_of(name) as (parent, part):
            try:
                handle = os.open(part, _READ, dir_fd=parent)
            except OSError as error:
                raise _no_file(name, error) from error
            try:
                size = _size_to_read(name, os.fstat(handle), most_bytes)
                content = bytearray()
                while chunk := os.read(handle, min(1 << 20, size - len(content))):
                    content += chunk
                return bytes(content)
            finally:
                os.close(handle)

    def delete(self, name: str) -> None:
        """Remove a file, or a link, itself. Raises FileNotFoundError, and ConfigurationError for a folder."""
        with self._parent_of(name) as (parent, part):
            try:
                os.unlink(part, dir_fd=parent)
            except IsADirectoryError as error:
                raise ConfigurationError(f"files: {name!r} is a folder; delete the files in it.") from error
            except OSError as error:
                raise _no_file(name, error) from error

    @contextlib.contextmanager
    def _parent_of(self, name: str) -> Iterator[tuple[int, str]]:
        *parts, last = name.split("/")
        try:
            parent = open_directory(self._directory, tuple(parts))
        except OSError as error:
            raise _no_file(name, error) from error
        try:
            yield parent, last
        finally:
            os.close(parent)

    def _walk(self) -> Iterator[FileEntry]:
        seen = 0
        waiting: list[tuple[str, ...]] = [()]
        while waiting:
            parts = waiting.pop()
            with contextlib.suppress(OSError):  # it was taken away, or is not ours to look into
                handle = open_directory(self._directory, parts)
                try:
                    names = os.listdir(handle)
                    for name in names:
                        seen += 1
                        if seen > _MOST_ENTRIES:
                            return
                        if not is_safe_part(name):
                            continue
                        status = os.stat(name, dir_fd=handle, follow_symlinks=False)
                        if stat.S_ISDIR(status.st_mode) and len(parts) < _MOST_DEPTH:
                            waiting.append((*parts, name))
                        elif stat.S_ISREG(status.st_mode):
                            yield FileEntry(name="/".join((*parts, name)), size=status.st_size)
                finally:
                    os.close(handle)


def _size_to_read(name: str, status: os.stat_result, most_bytes: int) -> int:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigurationError(f"files: {name!r} is not a regular file.")
    if status.st_nlink != 1:
        raise ConfigurationError(f"files: {name!r} has a second name (a hard link) and is not read.")
    if status.st_size > most_bytes:
        raise ConfigurationError(f"files: {name!r} holds {status.st_size} bytes; {most_bytes} may be read.")
    return status.st_size


def _no_file(name: str, error: OSError) -> OSError:
    # ELOOP: a link stands there, which is not followed.
    return FileNotFoundError(error.errno, f"files: there is no file {name!r} in the session", name)

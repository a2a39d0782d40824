"""Collecting the files that a cell left, as if its author had prepared them for us: because he may have.

Works beneath a descriptor of the work directory, follows no link, opens only regular files with one name, reads no more
than it may, and starts when every process of the cell is dead.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass

from hotcell.config import SandboxConfig
from hotcell.results import Artifact

# O_NONBLOCK: a FIFO that took the file's place must not make us wait.
_READ_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAX_DEPTH = 16
_MAX_ENTRIES = 20_000
_MAX_NOTES = 20


@dataclass(frozen=True, kw_only=True)
class Given:
    """A file as it was put into a cell."""

    size: int
    sha256: str


def collect(
    directory: int,
    globs: tuple[str, ...],
    config: SandboxConfig,
    given: Mapping[str, Given],
    mounted: frozenset[str] = frozenset(),
) -> tuple[tuple[Artifact, ...], tuple[str, ...]]:
    """The files whose relative name, or whose last part, matches a glob; and a note for each that was passed over.

    A file that was ``given`` and is unchanged is no artifact, nor is one that is ``mounted``.
    """
    collector = _Collector(globs, config, given, mounted)
    collector.walk(directory)
    notes = collector.notes[:_MAX_NOTES]
    if len(collector.notes) > _MAX_NOTES:
        notes.append(f"{len(collector.notes) - _MAX_NOTES} more files were not collected.")
    return tuple(sorted(collector.artifacts, key=lambda item: item.name)), tuple(notes)


class _Collector:
    def __init__(
        self, globs: tuple[str, ...], config: SandboxConfig, given: Mapping[str, Given], mounted: frozenset[str]
    ) -> None:
        self._globs = globs
        self._mounted = mounted
        self._given = given
        self._config = config
        self._room = config.artifact_bytes
        self.artifacts: list[Artifact] = []
        self.notes: list[str] = []

    def walk(self, directory: int) -> None:
        entries = 0
        waiting: list[tuple[str, ...]] = [()]
        while waiting:
            parts = waiting.pop()
            try:
                handle = open_directory(directory, parts)
            except OSError as error:
                self.notes.append(f"{'/'.join(parts)} was not looked into: {error.strerror}.")
                continue
            try:
                with os.scandir(handle) as listing:
                    for entry in listing:
                        entries += 1
                        if entries > _MAX_ENTRIES:
                            self.notes.insert(0, f"Only the first {_MAX_ENTRIES} files were looked at.")
                            return
                        if self._visit(handle, parts, entry.name):
                            waiting.append((*parts, entry.name))
            finally:
                os.close(handle)

    def _visit(self, parent: int, parts: tuple[str, ...], part: str) -> bool:
        """Take the file if it is wanted; returns True for a directory to look into."""
        name = "/".join((*parts, part))
        if name in self._mounted:
            return False
        if not is_safe_part(part):
            self.notes.append(f"{name!a} was not collected: its name is not plain text.")
            return False
        try:
            status = os.stat(part, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                if len(parts) >= _MAX_DEPTH:
                    self.notes.append(f"{name} was not looked into: it is more than {_MAX_DEPTH} folders deep.")
                return len(parts) < _MAX_DEPTH
            if any(fnmatch.fnmatchcase(candidate, glob) for glob in self._globs for candidate in (name, part)):
                if self._is_unchanged(parent, part, name, status):
                    return False
                reason = self._objection(status) or self._take(parent, part, name)
                if reason:
                    self.notes.append(f"{name} was not collected: {reason}.")
        except OSError as error:
            self.notes.append(f"{name} was not collected: {error.strerror}.")
        return False

    def _take(self, parent: int, part: str, name: str) -> str:
        """Read the file; returns why not, or nothing."""
        with open(os.open(part, _READ_FILE, dir_fd=parent), "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            reason = self._objection(status)
            if reason:
                return reason
            content = bytearray()
            while chunk := file.read(min(1 << 20, status.st_size - len(content))):
                content += chunk
        data = bytes(content)
        self._room -= len(data)
        digest = hashlib.sha256(data).hexdigest()
        self.artifacts.append(Artifact(name=name, size=len(data), sha256=digest, content=data))
        return ""

    def _is_unchanged(self, parent: int, part: str, name: str, status: os.stat_result) -> bool:
        given = self._given.get(name)
        if given is None or not stat.S_ISREG(status.st_mode) or status.st_size != given.size:
            return False
        with open(os.open(part, _READ_FILE, dir_fd=parent), "rb") as file:
            return hashlib.sha256(file.read(given.size)).hexdigest() == given.sha256

    def _objection(self, status: os.stat_result) -> str:
        if stat.S_ISLNK(status.st_mode):
            return "it is a symbolic link"
        if not stat.S_ISREG(status.st_mode):
            return "it is not a regular file"
        if status.st_nlink != 1:
            return "it has a second name (a hard link)"
        if len(self.artifacts) >= self._config.artifact_count:
            return f"artifact_count={self._config.artifact_count} is reached"
        if status.st_size > self._room:
            return f"it does not fit artifact_bytes={self._config.artifact_bytes}"
        return ""


def open_directory(root: int, parts: tuple[str, ...]) -> int:
    """Step by step from the root, following no link, so that only one descriptor is held at a time."""
    handle = os.dup(root)
    for part in parts:
        try:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=handle)
        finally:
            os.close(handle)
        handle = inner
    return handle


def is_safe_part(part: str) -> bool:
    # Bytes that are not UTF-8 come as lone surrogates, which are not printable either.
    return part.isprintable() and part not in ("", ".", "..") and "/" not in part and "\\" not in part

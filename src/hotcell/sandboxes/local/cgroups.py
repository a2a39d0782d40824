"""A memory group for each cell, where the host lets us make one: the kernel bounds the cell's processes together.

Version 1 as root is what this can use today without help; version 2 needs a delegated subtree. Groups are kept and used
again, because making one costs 0.4 ms and moving a process 0.05 ms (10 ms when nobody has moved one just before; it
happens while a cell is prepared). Without groups the watchdog in ``cell`` does the work.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import threading
from pathlib import Path

V1 = Path("/sys/fs/cgroup/memory")
V2 = Path("/sys/fs/cgroup")
_LIMIT = {1: "memory.limit_in_bytes", 2: "memory.max"}


class Group:
    """One cell's memory group."""

    def __init__(self, path: Path, version: int) -> None:
        self.path = path
        self._limit = _LIMIT[version]
        self._peak, self._events = (
            ("memory.max_usage_in_bytes", "memory.oom_control") if version == 1 else ("memory.peak", "memory.events")
        )
        self._tasks = "tasks" if version == 1 else "cgroup.threads"
        self._version = version
        self._limit_bytes = 0
        self._kills = 0
        self._handles: dict[str, int] = {}

    def admit(self, pid: int, limit_bytes: int) -> None:
        """Put a process, and all it will start, into the group. Raises OSError."""
        if limit_bytes != self._limit_bytes:
            if self._version == 1:
                with contextlib.suppress(OSError):  # memory and swap together: never below the limit that is coming
                    self.write("memory.memsw.limit_in_bytes", "-1")
            self.write(self._limit, str(limit_bytes))
            with contextlib.suppress(OSError):  # no swap accounting here
                swap = (
                    ("memory.memsw.limit_in_bytes", str(limit_bytes))
                    if self._version == 1
                    else ("memory.swap.max", "0")
                )
                self.write(*swap)
            self._limit_bytes = limit_bytes
        # Both files are open from here on, so that later a lack of descriptors cannot come between.
        self.start_over()
        self.peak_bytes()
        self.write("cgroup.procs", str(pid))

    def start_over(self) -> None:
        """Count from here, for the next call of a session; version 2 goes on counting its peak."""
        if self._version == 1:
            self.write(self._peak, "0")
        self._kills = self._read_kills()

    def write(self, name: str, text: str) -> None:
        """Set one of the group's files."""
        handle = os.open(self.path / name, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(handle, text.encode())
        finally:
            os.close(handle)

    def _read(self, name: str) -> bytes:
        """The file's text; nothing when the file or the group is gone, as after the fork server's end."""
        # On the request path: a kept descriptor costs a fifth of opening the file each time.
        try:
            if name not in self._handles:
                self._handles[name] = os.open(self.path / name, os.O_RDONLY | os.O_CLOEXEC)
            return os.pread(self._handles[name], 4096, 0)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENODEV):
                return b""
            raise

    def peak_bytes(self) -> int:
        """The most its processes held at once; 0 when the kernel does not say (memory.peak is Linux 5.19)."""
        return int(self._read(self._peak) or 0)

    def was_out_of_memory(self) -> bool:
        """True when the kernel killed one of its processes for want of memory since ``admit``."""
        return self._read_kills() > self._kills

    def _read_kills(self) -> int:
        fields = dict(line.split() for line in self._read(self._events).decode().splitlines())
        return int(fields.get("oom_kill", 0))

    def tasks(self) -> int:
        """How many threads are in the group now, over all processes; 0 also when the group is gone."""
        # Opened each time: version 1 answers reads of a kept descriptor from a list that may be a second old
        # (cgroup_pidlist_start in kernel/cgroup/cgroup-v1.c).
        try:
            handle = os.open(self.path / self._tasks, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return 0
        try:
            return os.read(handle, 65536).count(b"\n")
        finally:
            os.close(handle)

    @property
    def is_fresh(self) -> bool:
        """True when the next cell can use it: version 2 cannot forget a peak before Linux 6.12."""
        return self._version == 1

    def close(self) -> None:
        """Let go of the descriptors."""
        for handle in self._handles.values():
            os.close(handle)
        self._handles.clear()

    def remove(self) -> None:
        """Take the group away; it must be empty."""
        self.close()
        with contextlib.suppress(FileNotFoundError):
            self.path.rmdir()


class Groups:
    """The groups of one sandbox, below one directory of its own."""

    def __init__(self, path: Path, version: int) -> None:
        self.path = path
        self.version = version
        self._lock = threading.Lock()
        self._free: list[Group] = []
        self._all: list[Group] = []
        self._numbers = itertools.count(1)

    def take(self) -> Group:
        """A group that holds no process. Raises OSError."""
        with self._lock:
            if self._free:
                return self._free.pop()
            group = Group(self.path / f"cell{next(self._numbers)}", self.version)
            group.path.mkdir()
            self._all.append(group)
            return group

    def give_back(self, group: Group, *, is_clean: bool = True) -> None:
        """Every process that was in it is dead: keep it for the next cell, unless something is still charged to it."""
        with self._lock:
            if group.is_fresh and is_clean:
                self._free.append(group)
                return
            with contextlib.suppress(OSError):  # a process is still in it: it goes with all the others, at the end
                group.remove()
                self._all.remove(group)

    def close(self) -> None:
        """Remove everything. A group whose process is still dying stays, and the launcher removes it at its end."""
        with self._lock:
            for group in self._all:
                with contextlib.suppress(OSError):
                    group.remove()
            self._all.clear()
            self._free.clear()
        with contextlib.suppress(OSError):
            self.path.rmdir()

    def forget_in_fork(self) -> None:
        """In a forked copy of the application: let go of the descriptors, remove nothing."""
        self._lock = threading.Lock()
        for group in self._all:
            group.close()


def open_groups(name: str) -> Groups | None:
    """A place for groups by this name, proven by making one; None where the host does not let us."""
    for parent, version in ((V1, 1), (own_v2(), 2)):
        if parent is None or not os.access(parent, os.W_OK):
            continue
        path = parent / name
        try:
            path.mkdir()
        except OSError:
            continue
        groups = Groups(path, version)
        try:
            groups.give_back(_probe(groups))
        except OSError:
            groups.close()
            continue
        return groups
    return None


def _probe(groups: Groups) -> Group:
    if groups.version == 2:
        (groups.path / "cgroup.subtree_control").write_text("+memory")
    group = groups.take()
    group.write(_LIMIT[groups.version], str(1 << 30))
    return group


def own_v2() -> Path | None:
    """Our own group in the version 2 tree, when the memory controller is handed down to it."""
    try:
        line = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
        own = V2 / line.removeprefix("0::").lstrip("/")
        return own if "memory" in (own / "cgroup.controllers").read_text().split() else None
    except (OSError, StopIteration):
        return None

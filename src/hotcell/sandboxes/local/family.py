"""What a session and its copies share: who they are, who buries them, and that nothing else lives beside them."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Collection, Iterator
from typing import Protocol

from hotcell.sandboxes.local.witness import Witness, numbers_of

_MOST_AT_ONCE = 256
"""Each takes a descriptor for a moment, and the application has not many."""


class Member(Protocol):
    """A cell of a family."""

    @property
    def is_running(self) -> bool: ...
    def numbers(self) -> list[int]: ...


class Family:
    """Thread-safe. A copy is its original's sibling, so the members are children of the witness, and nobody else is."""

    def __init__(self, witness: Witness) -> None:
        self.lock = threading.RLock()
        self.witness = witness
        self._members: set[Member] = set()
        self._copying = 0

    def add(self, member: Member) -> None:
        """It is born."""
        with self.lock:
            self._members.add(member)

    def discard(self, member: Member) -> None:
        """It is dead, and nothing lives in its namespace."""
        with self.lock:
            self._members.discard(member)

    def known(self, but: Member | None = None) -> set[int]:
        """The processes of its members and their inits; those of ``but`` left out."""
        with self.lock:
            return {pid for member in self._members if member is not but for pid in member.numbers()}

    def has_running(self, but: Member) -> bool:
        """True while code of another member may run."""
        with self.lock:
            return any(member.is_running for member in self._members if member is not but)

    @contextlib.contextmanager
    def copying(self) -> Iterator[None]:
        """A copy is born meanwhile, which nobody knows yet."""
        with self.lock:
            self._copying += 1
        try:
            yield
        finally:
            with self.lock:
                self._copying -= 1

    def sweep(self) -> bool:
        """Kill what has made itself a sibling, where no account would find it; True when there was nothing."""
        with self.lock:
            if self._copying or self.witness.is_gone:
                return True
            return kill_found(lambda: unknown_children(self.witness.pid, self.known()))  # no copy is born meanwhile

    @property
    def is_copying(self) -> bool:
        """True while a copy is born."""
        return self._copying > 0

    def forget_in_fork(self) -> None:
        """In a forked copy of the application."""
        self.lock = threading.RLock()  # another thread of the parent may have held it
        self.witness.let_go()


def unknown_children(parent: int, known: Collection[int]) -> list[int]:
    """A trusted process's children but for these and the inits of shells."""
    return [pid for pid in children_of(parent) if pid not in known and not is_init(pid)]


def kill_found(find: Callable[[], list[int]]) -> bool:
    """Kill the processes that ``find`` finds, or a good part of many; True when there were none."""
    handles: dict[int, int] = {}
    for pid in find()[:_MOST_AT_ONCE]:
        with contextlib.suppress(OSError):
            handles[pid] = os.pidfd_open(pid)
    still = set(find()) if handles else ()  # a number may have become somebody else's before it was opened
    for pid, handle in handles.items():
        if pid in still:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        os.close(handle)
    return not handles


def children_of(pid: int) -> list[int]:
    """Of a process with one thread; none when it is gone."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb", buffering=0) as file:
            return [int(number) for number in file.readall().split()]
    except OSError:
        return []


def parent_of(pid: int) -> int:
    """0 when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            return int(file.readall().rpartition(b")")[2].split()[1])
    except OSError:
        return 0


def is_init(pid: int) -> bool:
    """True for PID 1 of a namespace below ours: only the trusted side makes any."""
    return numbers_of(pid)[-1:] == [1]

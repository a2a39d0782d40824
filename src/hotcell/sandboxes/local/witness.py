"""What the init of a family of sessions tells of how its children ended; the other end is in ``shells``."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading

from hotcell.sandboxes.local.cell import pid_of
from hotcell.sandboxes.local.shells import WITNESSED

_PATIENCE_SECONDS = 2.0
_MOST_ENDS = 10_000


class Witness:
    """Shared by the cells of a family. Thread-safe."""

    def __init__(self, handle: int, process: int) -> None:
        """``handle`` is the pipe that it writes to, ``process`` a pidfd of it; both are ours from here on."""
        self._handle = handle
        self._process = process
        self._lock = threading.Lock()
        self._ends: dict[int, tuple[int, float]] = {}
        self.level = len(numbers_of(pid_of(process))) - 1
        """Where in the list of a process's numbers the one is that the witness knows it by."""

    def ending_of(self, number: int) -> tuple[int, float] | None:
        """Wait status and CPU seconds of a child that is dead, by its number there; None when that is not known."""
        with self._lock:
            while number not in self._ends:
                if not self._read():
                    return None
            return self._ends.pop(number)

    def _read(self) -> bool:
        if self._handle < 0:
            return False
        poller = select.poll()
        poller.register(self._handle, select.POLLIN)
        if not poller.poll(_PATIENCE_SECONDS * 1000):
            return False
        data = os.read(self._handle, WITNESSED.size * 64)
        for pid, status, user, system in WITNESSED.iter_unpack(data):
            self._ends[pid] = (status, (user + system) / 1e6)
        while len(self._ends) > _MOST_ENDS:  # of processes that nobody will ask for
            self._ends.pop(next(iter(self._ends)))
        return bool(data)

    def close(self) -> None:
        """The family is gone; if anything of it were not, the kernel would end it with the witness."""
        with self._lock:
            handle, process = self._handle, self._process
            self._handle = self._process = -1
        if handle >= 0:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(process, signal.SIGKILL)
            os.close(handle)
            os.close(process)


def numbers_of(pid: int) -> list[int]:
    """A process's PID in every namespace that it is in, ours first; empty when it is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            line = next((line for line in file if line.startswith("NSpid:")), "")
    except OSError:
        return []
    return [int(number) for number in line.split()[1:]]

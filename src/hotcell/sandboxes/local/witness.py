"""What the inits of a family of sessions tell of how their children ended; the other end is in ``shells``."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time

from hotcell.sandboxes.local.cell import is_over, pid_of
from hotcell.sandboxes.local.shells import WITNESSED

_PATIENCE_SECONDS = 2.0
_PAUSE_SECONDS = 0.05


class Witness:
    """Hears one init. Thread-safe."""

    def __init__(self, handle: int, process: int) -> None:
        """``handle`` is the pipe that it writes to, ``process`` a pidfd of it; both are ours from here on."""
        self._handle = handle
        self._process = process
        self._lock = threading.Lock()
        self._ends: dict[int, tuple[int, float] | None] = {}
        self.pid = pid_of(process)
        self.level = len(numbers_of(self.pid)) - 1
        """Where in the list of a process's numbers the one is that the init knows it by."""
        self.others_seconds = 0.0
        """CPU time of its children that ended, but for those that are asked for."""

    def expect(self, number: int) -> None:
        """The end of this child will be asked for."""
        with self._lock:
            self._read()  # it lives, so what was told of its number was another's end
            self._ends[number] = None

    def listen(self) -> None:
        """Take what was told: a pipe that is full takes no more."""
        with self._lock:
            self._read()

    def ending_of(self, number: int, process: int) -> tuple[int, float] | None:
        """Wait status and CPU seconds of a child that is dead, by its number there and a pidfd; None if not told."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            is_buried = pid_of(process) < 0  # and that is told in the next moment
            with self._lock:
                told = self._ends.get(number) if self._read(_PAUSE_SECONDS, until=number) else None
                if told or is_buried or time.monotonic() > deadline:
                    self._ends.pop(number, None)
                    return told

    def _read(self, seconds: float = 0.0, *, until: int = 0) -> bool:
        """Take all that is there; wait for the end of one child if there is a number. False when it ended itself."""
        if self._handle < 0:
            return False
        poller = select.poll()
        poller.register(self._handle, select.POLLIN)
        deadline = time.monotonic() + seconds
        while poller.poll(max(0.0, deadline - time.monotonic()) * 1000 if until and not self._ends.get(until) else 0):
            data = os.read(self._handle, WITNESSED.size * 64)
            if not data:
                return bool(self._ends.get(until))
            for pid, status, user, system in WITNESSED.iter_unpack(data):
                if pid in self._ends:
                    self._ends[pid] = self._ends[pid] or (status, (user + system) / 1e6)
                else:
                    self.others_seconds += (user + system) / 1e6
        return True

    @property
    def is_gone(self) -> bool:
        """True when the init is dead, and with it everything below."""
        with self._lock:
            return is_over(self._process)

    def close(self) -> None:
        """End the init; the kernel ends what lives in its namespace first."""
        with self._lock:
            if self._process >= 0:
                with contextlib.suppress(OSError):
                    signal.pidfd_send_signal(self._process, signal.SIGKILL)
        self.let_go()

    def let_go(self) -> None:
        """Close our descriptors, and touch nothing else."""
        with self._lock:
            handles = self._handle, self._process
            self._handle = self._process = -1
        for handle in handles:
            if handle >= 0:
                os.close(handle)


def numbers_of(pid: int) -> list[int]:
    """A process's PID in every namespace that it is in, ours first; empty when it is gone."""
    try:
        with open(f"/proc/{pid}/status", "rb", buffering=0) as file:
            _, _, after = file.readall().partition(b"\nNSpid:")
    except OSError:
        return []
    return [int(number) for number in after.partition(b"\n")[0].split()]

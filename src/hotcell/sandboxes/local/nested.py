"""A session that may be copied, and its copies: cells whose PID namespaces lie inside one another.

A copy's namespace lies below the one it was forked in, so the kernel would end it together with that. A cell whose code
is dead keeps its namespace until the last copy below it is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket
import struct
import threading
import time

from hotcell.errors import ConfigurationError
from hotcell.sandboxes.local.cell import Ending, LocalCell, pid_of
from hotcell.sandboxes.local.jail import Limits

MOST_DEEP = 24
"""The kernel nests 32 PID namespaces (MAX_PID_NS_LEVEL); the fork server's own and a container's are among them."""
_BURIAL_SECONDS = 5.0
_PAUSE_SECONDS = 0.001

# struct pidfd_info of <linux/pidfd.h>, its first version; the exit code is there since Linux 6.15.
_PIDFD_INFO = struct.Struct("<2Q11Ii")
_PIDFD_GET_INFO = 0xC040FF0B
_PIDFD_INFO_EXIT = 1 << 3


class NestedCell(LocalCell):
    """A cell of a family. What ends it is its own; what ends its namespace is the end of all that live in it."""

    def __init__(self, handles: list[int], directory: str | None, limits: Limits) -> None:
        self._init_handle = -1
        self.namespaces: list[int] = []
        """Descriptors of the user namespace that owns the shells, and of its PID namespace."""
        self._family = threading.RLock()
        self.depth = 0
        self._parent: NestedCell | None = None
        self._below: set[NestedCell] = set()
        self._is_buried = False
        super().__init__(handles, directory, limits)

    def _keep_init(self, handle: int) -> None:
        self._init_handle = handle

    def take_handles(self, handles: list[int]) -> None:
        """What came with its word that it is ready: its namespaces."""
        self.namespaces = handles

    def adopt(self, copy: NestedCell) -> None:
        """``copy`` lives below this one."""
        with self._family:
            copy._parent, copy.depth = self, self.depth + 1
            copy._family = self._family
            self._below.add(copy)

    def require_room(self) -> None:
        """Raises ConfigurationError when a copy would be too deep."""
        if self.depth >= MOST_DEEP:
            raise ConfigurationError(
                f"This session is a copy of a copy, {self.depth} times over, and the kernel nests no deeper: fork from "
                "an earlier one, or open a new session."
            )

    def strangers(self) -> frozenset[int]:
        """The copies below it, and their inits."""
        with self._family:
            return frozenset(pid for copy in self._below for pid in (copy.pid, copy.init))

    def holds_more_than(self, memory_bytes: int) -> bool:
        """Also when it has more processes than it may: the kernel counts those of the whole family together."""
        too_much = super().holds_more_than(memory_bytes)
        if self.peak_processes > self.limits.processes:
            self.kill()
        return too_much

    def bury(self) -> None:
        """Its first process is dead. End its namespace; where copies live below, end all that is not theirs."""
        with self._family:
            if not self._is_buried:
                self._is_buried = True
                self._end_what_is_empty()

    def _end_what_is_empty(self) -> None:
        cell: NestedCell | None = self
        while cell is not None and cell._is_buried:
            if cell._below:
                cell._kill_leftovers()
                return
            cell._end_namespace()
            above, cell._parent = cell._parent, None
            if above is not None:
                above._below.discard(cell)
            cell = above

    def _kill_leftovers(self) -> None:
        deadline = time.monotonic() + _BURIAL_SECONDS
        while left := [pid for pid in self.processes() if pid != self.pid]:
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > deadline:  # a bomb that outruns us takes its copies along
                self._signal_init()
                return
            time.sleep(_PAUSE_SECONDS)

    def _end_namespace(self) -> None:
        """Kill its init; the kernel ends everything in it first."""
        if self._init_handle < 0:
            return
        self._signal_init()
        poller = select.poll()
        poller.register(self._init_handle, select.POLLIN)
        poller.poll(_BURIAL_SECONDS * 1000)
        handle, self._init_handle = self._init_handle, -1
        os.close(handle)

    def _signal_init(self) -> None:
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self._init_handle, signal.SIGKILL)

    def close(self) -> None:
        """Let go of every descriptor but the init's, which goes when the namespace does."""
        with self._family:
            handles, self.namespaces = self.namespaces, []
            for handle in handles:
                os.close(handle)
        super().close()


class CopiedCell(NestedCell):
    """A copy of a session. Its parent is the kernel's: how it ended is asked of the kernel, where that knows."""

    def __init__(self, streams: tuple[socket.socket, int, int], pid: int, init_handle: int, limits: Limits) -> None:
        channel, stdout, stderr = streams
        handle = os.pidfd_open(pid)
        end = os.dup(handle)
        super().__init__([channel.detach(), stdout, stderr, end, handle, init_handle], None, limits)

    def take_handles(self, handles: list[int]) -> None:
        """It is ready without any."""

    def _look_at_end(self) -> Ending:
        status = _exit_status(self.end)
        if status is None:
            return Ending(exit_code=None, signal=None, cpu_seconds=0.0)
        code = os.waitstatus_to_exitcode(status)
        return Ending(exit_code=code if code >= 0 else None, signal=-code if code < 0 else None, cpu_seconds=0.0)


def _exit_status(handle: int) -> int | None:
    """The wait status of a dead process by its pidfd; None where the kernel does not tell (before Linux 6.15)."""
    buffer = bytearray(_PIDFD_INFO.pack(_PIDFD_INFO_EXIT, *[0] * 13))
    try:
        fcntl.ioctl(handle, _PIDFD_GET_INFO, buffer)
    except OSError:
        return None
    mask, *_, status = _PIDFD_INFO.unpack(buffer)
    return status if mask & _PIDFD_INFO_EXIT else None


def verify_copy(pid: int, init_handle: int) -> bool:
    """True when the process is the first that entered the PID namespace of that init."""
    init = _numbers(pid_of(init_handle))
    return len(init) > 1 and len(copy := _numbers(pid)) == len(init) and copy[-1] == 2


def _numbers(pid: int) -> list[int]:
    """Its PID in every namespace that it is in, ours first."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            line = next((line for line in file if line.startswith("NSpid:")), "")
    except OSError:
        return []
    return [int(number) for number in line.split()[1:]]

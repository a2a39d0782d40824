"""Cells prepared ahead, and one thread that makes more and buries the used ones.

A cell is used once. The request path takes a prepared one, or asks for one when there is none; everything slower than
that happens here: refilling, waiting for the kernel to take a dead cell's namespace apart, giving its group back.
"""

from __future__ import annotations

import collections
import contextlib
import os
import select
import threading
import time

from hotcell.errors import HotcellError
from hotcell.sandboxes.conversation import wait_until_ready
from hotcell.sandboxes.local.cell import Ending, LocalCell
from hotcell.sandboxes.local.forkserver import ForkServer
from hotcell.sandboxes.local.jail import Limits

_REST_SECONDS = 0.05
_END_TIMEOUT_SECONDS = 10.0


class Pool:
    """The warm cells of one fork server for one set of limits; other limits are served without warmth."""

    def __init__(self, server: ForkServer, limits: Limits, size: int) -> None:
        self.server = server
        self._limits = limits
        self._size = size
        self._ready: collections.deque[LocalCell] = collections.deque()
        self._busy = 0
        self._ending: dict[int, LocalCell] = {}
        self._lock = threading.Lock()
        self._closed = False
        self.broken = False
        """True once the fork server is known to be gone."""
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll = select.epoll()
        self._epoll.register(self._wake, select.EPOLLIN)
        self._thread = threading.Thread(target=self._keep, name="hotcell-pool", daemon=True)
        self._thread.start()

    def take(self, limits: Limits) -> LocalCell:
        """A cell that is ready for its request. Raises SandboxError when none can be made."""
        if limits == self._limits:
            with contextlib.suppress(IndexError):
                cell = self._ready.popleft()
                self._busy += 1
                return cell
        self._busy += 1
        try:
            cell = self.server.make(limits, touch=False)
            try:
                wait_until_ready(cell)
            except HotcellError:
                cell.kill()
                self.discard(cell)
                self._busy += 1
                raise
        except BaseException:
            self._busy -= 1
            raise
        return cell

    def bury(self, cell: LocalCell) -> Ending | None:
        """Kill the cell and wait until nothing of it is left. None when the fork server died with it."""
        cell.kill()
        ending = cell.read_ending() if _becomes_readable(cell.end, _END_TIMEOUT_SECONDS) else None
        if ending is None:
            self.broken = True
        self._forget(cell)
        self._busy -= 1
        self.nudge()
        return ending

    def discard(self, cell: LocalCell) -> None:
        """Kill the cell and let the keeper wait for its end."""
        cell.kill()
        self._busy -= 1
        with self._lock:
            if self._closed:
                cell.close()
                return
            self._ending[cell.end] = cell
            # Its end wakes the keeper, which then also makes a new cell: off the path of whoever is waiting now.
            self._epoll.register(cell.end, select.EPOLLIN)

    def nudge(self) -> None:
        """Let the keeper look whether there is something to do."""
        with contextlib.suppress(OSError):
            os.eventfd_write(self._wake, 1)

    def wait_until_full(self, timeout_seconds: float) -> bool:
        """For benchmarks and tests: True when every warm cell is there in time."""
        deadline = time.monotonic() + timeout_seconds
        while len(self._ready) < self._size and time.monotonic() < deadline:
            self.nudge()
            time.sleep(0.002)
        return len(self._ready) >= self._size

    def close(self) -> None:
        """Kill every cell and end the server; waits until they are gone."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self.nudge()
        if self._thread is not threading.current_thread():
            self._thread.join(_END_TIMEOUT_SECONDS)
        self.server.close()
        for cell in [*self._ready, *self._ending.values()]:
            cell.close()
        self._ready.clear()
        self._ending.clear()
        self._epoll.close()
        os.close(self._wake)

    def forget_in_fork(self) -> None:
        """In a forked copy of the application: let go of the parent's descriptors, touch nothing else."""
        for cell in [*self._ready, *self._ending.values()]:
            cell.close()
        self._epoll.close()
        os.close(self._wake)
        self.server.forget_in_fork()

    def _keep(self) -> None:
        while not self._closed:
            # Nothing to make: sleep until a cell ends or somebody nudges. Else come back when the callers have paused.
            short = self._lacks() and not self.broken
            for handle, _ in self._epoll.poll(_REST_SECONDS if short else None):
                if handle == self._wake:
                    with contextlib.suppress(BlockingIOError):
                        os.eventfd_read(self._wake)
                else:
                    self._see_end(handle)
            self._refill()

    def _lacks(self) -> bool:
        return len(self._ready) < self._size

    def _see_end(self, handle: int) -> None:
        with self._lock:
            cell = self._ending.pop(handle)
            self._epoll.unregister(handle)
        if cell.read_ending() is None:
            self.broken = True
        self._forget(cell)

    def _forget(self, cell: LocalCell) -> None:
        cell.close()
        self.server.recycle(cell)

    def _refill(self) -> None:
        while self._lacks() and not self._closed and not self.broken:
            try:
                cell = self.server.make(self._limits, touch=self._busy == 0)
            except HotcellError:
                return  # the next caller meets the same trouble and is told
            try:
                wait_until_ready(cell)
            except HotcellError:
                cell.kill()
                self._busy += 1
                self.discard(cell)
                return
            self._ready.append(cell)
            if self._epoll.poll(0):
                return  # ends to be seen first


def _becomes_readable(handle: int, timeout_seconds: float) -> bool:
    poller = select.poll()  # select() refuses descriptors above 1023
    poller.register(handle, select.POLLIN)
    return bool(poller.poll(timeout_seconds * 1000))

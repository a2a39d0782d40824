"""Cells prepared ahead, and one thread that makes more and buries the used ones.

A cell is used once. The request path takes a prepared one, or asks for one when there is none; everything slower than
that happens here: refilling, waiting for the kernel to take a dead cell's namespace apart, giving its group back.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import os
import select
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from types import MappingProxyType

from hotcell.errors import HotcellError, SandboxCrashed
from hotcell.sandboxes.conversation import wait_until_ready
from hotcell.sandboxes.local.cell import Ending, LocalCell
from hotcell.sandboxes.local.forkserver import ForkServer
from hotcell.sandboxes.local.jail import Limits
from hotcell.sandboxes.local.nested import NestedCell
from hotcell.worker import wire

_log = logging.getLogger("hotcell")
_NOTHING: Mapping[str, int] = MappingProxyType({})
_MOST_STRANGERS = 4
_PAUSE_SECONDS = 0.01
_IDLE_SECONDS = 0.005
_END_TIMEOUT_SECONDS = 10.0
_MOST_CELLS = 20_000
_MOST_SECONDS = 3600.0


class Pool:
    """The warm cells of one fork server for one set of limits: those that are asked for.

    Other limits are served without warmth; when nothing else is asked for any more, the pool turns to them.
    """

    def __init__(self, server: ForkServer, limits: Limits, size: int) -> None:
        self.server = server
        self._limits = limits
        self._size = size
        self._touched: collections.deque[LocalCell] = collections.deque()
        self._fresh: collections.deque[LocalCell] = collections.deque()
        self._last_take = 0.0
        self._strangers = _MOST_STRANGERS - 1  # the first request already shows which limits are in use
        self._ending: dict[int, LocalCell] = {}
        self._lock = threading.RLock()  # a session that is let go of, anywhere, releases its cell
        # Weak: a cell that an exception took from its holder must not be kept by this alone.
        self._held: weakref.WeakSet[LocalCell] = weakref.WeakSet()
        self._kept: weakref.WeakSet[LocalCell] = weakref.WeakSet()
        """By sessions, which are idle most of the time."""
        self._chores: collections.deque[Callable[[], None]] = collections.deque()
        """What the keeper does when it comes to it."""
        self._taking = 0
        self._made = 0
        self._started = time.monotonic()
        self._retiring = self._closed = False
        self.broken = False
        """True once the fork server is known to be gone."""
        self.tainted = False
        """True once code has crashed in one of its cells, which may have been an attempt at something."""
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll = select.epoll()
        self._epoll.register(self._wake, select.EPOLLIN)
        self._thread = threading.Thread(target=self._keep, name="hotcell-pool", daemon=True)
        self._thread.start()

    @property
    def is_stale(self) -> bool:
        """True when a new fork server should take over: siblings share hash seed and addresses, so none lives long."""
        return self.tainted or self._made > _MOST_CELLS or self.age_seconds > _MOST_SECONDS

    @property
    def is_retiring(self) -> bool:
        """True when a new fork server has taken over."""
        return self._retiring

    @property
    def age_seconds(self) -> float:
        """Since the fork server came up."""
        return time.monotonic() - self._started

    def take(self, limits: Limits) -> LocalCell:
        """A cell that is ready for its request. Raises SandboxError when none can be made."""
        with self._lock:
            if self._retiring or self._closed:  # between the check and the end nobody may come in
                raise SandboxCrashed("This fork server is being replaced; the new one takes over.")
            self._last_take = time.monotonic()
            outgrown = self._follow(limits)
            for ready in (self._touched, self._fresh):
                if limits == self._limits and ready:
                    cell = ready.popleft()
                    self._held.add(cell)
                    return cell
            self._taking += 1
        try:
            for old in outgrown:
                self.release(old)
            cell = self._make(limits)
            with self._lock:
                self._held.add(cell)
            return cell
        finally:
            with self._lock:
                self._taking -= 1

    def make_apart(self, limits: Limits, mounted: Mapping[str, int] = _NOTHING) -> LocalCell:
        """A cell for a session, made now, under limits that nobody else has. Raises SandboxError.

        Until it is released the pool does not retire.
        """
        with self._lock:
            if self._retiring or self._closed:
                raise SandboxCrashed("This fork server is being replaced; the new one takes over.")
            self._taking += 1
        try:
            cell = self._make(limits, mounted)
            with self._lock:
                self._kept.add(cell)
            return cell
        finally:
            with self._lock:
                self._taking -= 1

    def _follow(self, limits: Limits) -> list[LocalCell]:
        """Count requests for other limits than the pool's; returns the cells that are of no use any more."""
        if limits == self._limits:
            self._strangers = 0
            return []
        self._strangers += 1
        if self._strangers < _MOST_STRANGERS:
            return []
        outgrown = [*self._touched, *self._fresh]
        self._touched.clear()
        self._fresh.clear()
        self._limits, self._strangers = limits, 0
        return outgrown

    def _make(self, limits: Limits, mounted: Mapping[str, int] = _NOTHING) -> LocalCell:
        cell = self.server.make(limits, mounted)
        self._made += 1
        self._receive(cell)
        return cell

    def _receive(self, cell: LocalCell) -> None:
        try:
            cell.take_handles(wait_until_ready(cell))
        except BaseException:
            self.release(cell)
            raise

    def keep_copy(self, cell: NestedCell) -> None:
        """A cell that came about as a copy of another is ours to bury, too; it gets a memory group of its own soon.

        Moving a process between groups of version 1 can take 10 ms; who has something else to do need not wait.
        """
        with self._lock:
            self._kept.add(cell)
        self._do_soon(lambda: self.admit(cell))

    def prepare_shell(self, cell: NestedCell) -> None:
        """Have a place ready for the next copy of the cell."""
        self._do_soon(lambda: cell.keep_spare(self.server))

    def admit(self, cell: NestedCell) -> None:
        """See to it that it is in a memory group of its own; until then it is charged to its original."""
        try:
            with cell.admission:
                if cell.group is None and not cell.released:
                    self.server.admit(cell)
        except OSError as error:
            if not cell.is_dead():
                _log.error("A copy of a session got no memory group and was ended: %s", error)
            self.release(cell)  # without its limit it may not live

    def _do_soon(self, chore: Callable[[], None]) -> None:
        self._chores.append(chore)
        self.nudge()

    def end(self, cell: LocalCell) -> Ending | None:
        """Kill the cell and wait until nothing in it lives. None when the fork server died with it."""
        cell.kill()
        ending = cell.read_ending() if _becomes_readable(cell.end, _END_TIMEOUT_SECONDS) else None
        if ending is None:
            self.broken = True
        cell.bury()
        return ending

    def release(self, cell: LocalCell) -> None:
        """Kill the cell and leave the rest to the keeper. May be called twice; the caller has no more use of the cell.

        Only the keeper closes descriptors: no signal handler's exception can interrupt it half-way.
        """
        cell.kill()
        with self._lock:
            self._held.discard(cell)
            self._kept.discard(cell)
            if cell.released:
                return
            cell.released = True
            if self._closed:  # the server is dead, and with it all cells
                cell.bury()
                cell.close()
                return
            # Its end wakes the keeper, which then makes a new cell too: off the path of whoever is waiting now.
            self._ending[cell.end] = cell
            self._epoll.register(cell.end, select.EPOLLIN)

    def nudge(self) -> None:
        """Let the keeper look whether there is something to do."""
        with self._lock:  # a number that was closed meanwhile may be somebody else's
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def wait_until_full(self, timeout_seconds: float) -> bool:
        """For benchmarks and at a server's start: True when every warm cell is there in time, pages touched."""
        deadline = time.monotonic() + timeout_seconds
        while len(self._touched) < self._size and time.monotonic() < deadline:
            self.nudge()
            time.sleep(0.002)
        return len(self._touched) >= self._size

    def retire(self) -> None:
        """Serve whoever holds a cell, then close."""
        self._retiring = True
        self.nudge()

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
        for cell in self._ending.values():
            cell.bury()
        self._let_go()

    def forget_in_fork(self) -> None:
        """In a forked copy of the application: let go of the parent's descriptors, touch nothing else."""
        self._lock = threading.RLock()  # another thread of the parent may have held it
        self._closed = True
        for cell in [*self._held, *self._kept, *self._ending.values()]:  # by threads that are not here
            cell.let_go()
        self._let_go()
        self.server.forget_in_fork()

    def _let_go(self) -> None:
        for cell in [*self._touched, *self._fresh, *self._ending.values()]:
            cell.close()
        self._touched.clear()
        self._fresh.clear()
        self._ending.clear()
        self._epoll.close()
        with self._lock:
            os.close(self._wake)
            self._wake = -1

    def _keep(self) -> None:
        try:
            while not self._closed:
                self._keep_once()
        except Exception:  # noqa: BLE001  # the pool must not go on without its keeper: the next caller starts a new one
            _log.exception("The keeper of a pool of cells failed")
            self.broken = True

    def _keep_once(self) -> None:
        # With nothing to do it sleeps until a cell ends or somebody nudges; else it tries again soon.
        timeout = _PAUSE_SECONDS if (self._lacks() or self._fresh) and not self.broken else None
        for handle, _ in self._epoll.poll(timeout):
            if handle == self._wake:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(self._wake)
            else:
                self._see_end(handle)
        with self._lock:
            done = self._retiring and not self._held and not self._kept and not self._taking
        if done:
            self.close()
        else:
            while self._chores:
                self._chores.popleft()()
            self._refill()
            self._touch_while_idle()

    def _lacks(self) -> bool:
        return len(self._touched) + len(self._fresh) < self._size and not self._retiring

    def _see_end(self, handle: int) -> None:
        with self._lock:
            cell = self._ending.pop(handle)
            self._epoll.unregister(handle)
        if cell.read_ending() is None:
            self.broken = True
        self._forget(cell)

    def _forget(self, cell: LocalCell) -> None:
        cell.bury()
        cell.close()
        self.server.recycle(cell)

    def _refill(self) -> None:
        while self._lacks() and not self._closed and not self.broken:
            try:
                cell = self._make(self._limits)
            except HotcellError as error:
                self.broken = isinstance(error, SandboxCrashed)
                return  # the next caller meets the same trouble and is told
            self._shelve(cell, self._fresh)
            if self._epoll.poll(0):
                return  # ends to be seen first

    def _touch_while_idle(self) -> None:
        """Have the waiting cells touch the pages they will write, when no request has come for a moment."""
        while not self._closed and not self._held and time.monotonic() - self._last_take > _IDLE_SECONDS:
            with self._lock:
                if not self._fresh:
                    return
                cell = self._fresh.popleft()
            try:
                cell.channel.sendall(wire.encode(wire.TOUCH))
                wait_until_ready(cell)
            except (OSError, HotcellError):
                self.release(cell)
                return
            self._shelve(cell, self._touched)

    def _shelve(self, cell: LocalCell, ready: collections.deque[LocalCell]) -> None:
        with self._lock:
            if cell.limits == self._limits:
                ready.append(cell)
                return
        self.release(cell)


def _becomes_readable(handle: int, timeout_seconds: float) -> bool:
    poller = select.poll()  # select() refuses descriptors above 1023
    poller.register(handle, select.POLLIN)
    return bool(poller.poll(timeout_seconds * 1000))

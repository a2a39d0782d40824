"""A session that may be copied, and its copies: cells whose PID namespaces lie inside one another.

A copy's namespace lies below the one it was forked in, so the kernel would end it together with that. A cell whose code
is dead keeps its namespace until the last copy below it is gone.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Protocol

from hotcell.errors import ConfigurationError, SandboxError
from hotcell.sandboxes.local.cell import Ending, LocalCell, is_over, pid_of
from hotcell.sandboxes.local.family import Family, children_of, is_init, kill_found, parent_of, unknown_children
from hotcell.sandboxes.local.jail import Limits
from hotcell.sandboxes.local.shells import Shell
from hotcell.sandboxes.local.witness import Witness, numbers_of

MOST_DEEP = 24
"""The kernel nests 32 PID namespaces (MAX_PID_NS_LEVEL); the fork server's own and a container's are among them."""
_MOST_TOO_MANY = 100
"""A bomb may grow quicker than it can be counted: how many it is over its limit is of no interest."""
_BURIAL_SECONDS = 5.0
_SWEEP_SECONDS = 1.0
_PAUSE_SECONDS = 0.001


class ShellMaker(Protocol):
    """What makes places for copies: the fork server."""

    def make_shell(self, namespaces: list[int], limits: Limits) -> Shell: ...


class NestedCell(LocalCell):
    """A cell of a family. What ends it is its own; what ends its namespace is the end of all that live in it."""

    def __init__(
        self,
        streams: Sequence[int],
        process: int,
        shell: Shell,
        limits: Limits,
        family: Family,
        *,
        origin: NestedCell | None = None,
    ) -> None:
        """``streams``: wire, stdout and stderr; ``process``: a pidfd. They and the shell are its own from here on.

        ``origin`` is what it is a copy of.
        """
        self._init_handle = -1
        self._below: set[NestedCell] = set()
        self._is_buried = False
        self._rests = False
        """True between two calls: then everything in it stands still."""
        self._others_before = 0.0
        super().__init__([*streams, os.dup(process), process, shell.init], None, limits)
        os.close(shell.mount)
        self._most_found = limits.processes + _MOST_TOO_MANY
        self.work = shell.work
        """A descriptor of its work directory, opened before any code was there; the session takes it."""
        self._namespaces = [shell.user, shell.pid]
        """Descriptors of the user namespace that owns the family's shells, and of its own PID namespace."""
        self._heard = Witness(shell.report, os.dup(shell.init))
        """The init of its own namespace."""
        self.family = family
        self._origin = origin
        self._depth: int = origin._depth + 1 if origin else 0
        self._witness, self._up = self._find_parent(origin)
        """Who buries it, and whose init that is, if it is a member's."""
        numbers = numbers_of(self.pid)
        self._number = numbers[self._witness.level] if len(numbers) > self._witness.level else 0  # it died at once
        self._witness.expect(self._number)
        self.admission = threading.Lock()
        """Held while it is put into a memory group of its own."""
        self._making = threading.Lock()
        """Held while a place for a copy is made."""
        self._spare: Shell | None = None
        self._spare_init = 0
        """A place for its next copy."""
        family.add(self)
        if origin:
            with family.lock:
                origin._below.add(self)

    def _find_parent(self, origin: NestedCell | None) -> tuple[Witness, NestedCell | None]:
        if origin is None:
            return self.family.witness, None
        # By the detour for processes with threads it was left to its original's init.
        if parent_of(self.pid) == origin.init:
            return origin._heard, origin
        return origin._witness, origin._up

    def parents_of_copies(self) -> tuple[int, int]:
        """Who may bury its copies: the init that buries it, and its own."""
        return self._witness.pid, self.init

    def _keep_init(self, handle: int) -> None:
        self._init_handle = handle

    def take_handles(self, handles: list[int]) -> None:
        """It is ready, and nothing comes with that word."""
        for handle in handles:
            os.close(handle)

    def require_room(self) -> None:
        """Raises ConfigurationError when a copy would be too deep."""
        if self._depth >= MOST_DEEP:
            raise ConfigurationError(
                f"This session is a copy of a copy, {self._depth} times over, and the kernel nests no deeper: fork "
                "from an earlier one, or open a new session."
            )

    # --- places for its copies

    def make_shell(self, maker: ShellMaker) -> Shell:
        """A place for a copy; its descriptors are the caller's. Raises SandboxError."""
        with self.family.lock:  # another thread may close them meanwhile
            handles = [os.dup(handle) for handle in self._namespaces]
        try:
            return maker.make_shell(handles, self.limits)
        finally:
            for handle in handles:
                os.close(handle)

    def keep_spare(self, maker: ShellMaker) -> None:
        """Make a place for its next copy ahead of time, which is most of the time that a copy takes."""
        if self._spare is not None or self.released or self._depth >= MOST_DEEP:
            return
        with self._making:
            try:
                spare = self.make_shell(maker)
            except (OSError, SandboxError):
                return  # whoever asks for the copy meets the same trouble and is told
            with self.family.lock:
                self._spare, self._spare_init = spare, pid_of(spare.init)
                is_late = not self._namespaces
        if is_late:
            self._let_spare_go()

    def take_shell(self, maker: ShellMaker) -> Shell:
        """The place that was made ahead, or is being made; else one is made now. Raises SandboxError."""
        with self._making:
            return self._take_spare() or self.make_shell(maker)

    def _take_spare(self) -> Shell | None:
        with self.family.lock:
            spare, self._spare = self._spare, None
        return spare

    def _let_spare_go(self) -> None:
        spare = self._take_spare()
        if spare:
            end_shell(spare)

    # --- who belongs to it

    def strangers(self) -> frozenset[int]:
        """The others of the family, their inits and its spare one."""
        with self.family.lock:
            spare = {self._spare_init} if self._spare else set()
            return frozenset(self.family.known(but=self) | spare)

    def numbers(self) -> list[int]:
        """What the others know it by."""
        with self.family.lock:
            return [*self.roots(), *([self._spare_init] if self._spare else [])]

    def roots(self) -> list[int]:
        """Its process and its init, those of them that live."""
        handles = ((self.init, self._init_handle), (self.pid, self._handle))
        return [pid for pid, handle in handles if not is_over(handle)]

    def _walk(self, waiting: list[int]) -> list[int]:
        found = super()._walk(waiting)
        if len(found) > 1:  # the init of a place that is being made is nobody's yet
            shells = {pid for pid in children_of(self.init) if pid in found and is_init(pid)}
            found = [pid for pid in found if pid not in shells]
        return found

    def start_measuring(self) -> None:
        """Count from here."""
        self.family.witness.listen()
        self._others_before = self.family.witness.others_seconds  # first: they are not to be counted off twice
        super().start_measuring()

    def cpu_seconds(self) -> float:
        """With that of processes that made themselves its siblings and are dead."""
        return super().cpu_seconds() + self.family.witness.others_seconds - self._others_before

    def holds_more_than(self, memory_bytes: int) -> bool:
        """Also when it has more processes than it may: the kernel counts those of the whole family together."""
        too_much = super().holds_more_than(memory_bytes)
        if self.peak_processes > self.limits.processes:
            self._end_all()
        self._sweep()
        for witness in (self.family.witness, self._heard):
            witness.listen()
        return too_much

    # --- between two calls

    def freeze(self) -> None:
        """Stop every process in it, and see to it that it left none where its copies and siblings are."""
        deadline = time.monotonic() + _SWEEP_SECONDS
        while True:
            super().freeze()
            with self.family.lock:
                self._rests = True
            outruns_us = not self._leaves_nothing() or time.monotonic() > deadline
            if outruns_us or len(self._stopped) >= self.limits.processes:
                return self._end_all()
            # A hidden sibling may have woken it before it was found.
            if self.stands_still():
                return None

    def thaw(self) -> None:
        """Let everything go on that ``freeze`` stopped."""
        with self.family.lock:
            self._rests = False
            super().thaw()

    def _leaves_nothing(self) -> bool:
        """False when something outruns us. While a sibling runs, that one's turn is still to come."""
        deadline = time.monotonic() + _SWEEP_SECONDS
        while not self._sweep():
            if self.family.has_running(self):
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(_PAUSE_SECONDS)
        return True

    def _sweep(self) -> bool:
        """Kill what it planted beside it and in the places of its copies; True when there was nothing."""
        is_clean = self.family.sweep()
        with self.family.lock:
            for cell in (*self._with_all_below(), *([self._up] if self._up else [])):
                is_clean &= kill_found(cell._planted)
        return is_clean

    def _with_all_below(self) -> Iterator[NestedCell]:
        yield self
        for copy in self._below:
            yield from copy._with_all_below()

    def _planted(self) -> list[int]:
        """What was left to its init and is not its own: it is in a namespace further below, or came while it rested."""
        if is_over(self._init_handle) or self.family.is_copying:
            return []
        unknown = unknown_children(self.init, self.strangers() | self._stopped.keys())
        if self._rests or self._is_buried or not unknown:
            return unknown
        level = len(numbers_of(self.init))
        return [pid for pid in unknown if len(numbers_of(pid)) > level]

    @property
    def is_running(self) -> bool:
        """True while code of it may run."""
        return not self._rests and not self.is_dead()

    def is_quiet(self) -> bool:
        """Also when a copy that was just born is still in its group."""
        try:
            return super().is_quiet() or (self.group is not None and self._is_alone())
        except OSError:
            return False

    # --- its end

    def _end_all(self) -> None:
        """Kill it, with as much of what lives in it as can be had at once."""
        self.kill()
        with self.family.lock:
            if not self._below:
                self._signal_init()  # which has to come to its turn first, and a bomb leaves it few
        deadline = time.monotonic() + _SWEEP_SECONDS
        while not kill_found(self.processes) and time.monotonic() < deadline:
            time.sleep(_PAUSE_SECONDS)

    def _look_at_end(self) -> Ending | None:
        told = self._witness.ending_of(self._number, self._handle)
        if told is None and self.family.witness.is_gone:
            return None
        status, cpu = told or (signal.SIGKILL, 0.0)  # how is not known, and whoever wanted it so was its own family
        code = os.waitstatus_to_exitcode(status)
        return Ending(
            exit_code=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            cpu_seconds=max(0.0, cpu - self._cpu_before),
        )

    def bury(self) -> None:
        """Its first process is dead. End its namespace; where copies live below, end all that is not theirs."""
        with self.family.lock:
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
            if cell._origin is None:
                cell.family.witness.close()
            else:
                cell._origin._below.discard(cell)
            cell = cell._origin

    def _kill_leftovers(self) -> None:
        deadline = time.monotonic() + _BURIAL_SECONDS
        while not kill_found(self.processes):
            if time.monotonic() > deadline:  # a bomb that outruns us takes its copies along
                self._signal_init()
                return
            time.sleep(_PAUSE_SECONDS)
        if not self._leaves_nothing():
            self._signal_init()

    def _end_namespace(self) -> None:
        """Kill its init; the kernel ends everything in it first."""
        self._signal_init()
        poller = select.poll()
        poller.register(self._init_handle, select.POLLIN)
        poller.poll(_BURIAL_SECONDS * 1000)
        self._let_init_go()

    def _let_init_go(self) -> None:
        handle, self._init_handle = self._init_handle, -1
        os.close(handle)
        self._heard.let_go()
        self.family.discard(self)

    def _signal_init(self) -> None:
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self._init_handle, signal.SIGKILL)

    def close(self) -> None:
        """Let go of every descriptor but the init's, which goes when the namespace does."""
        self._let_spare_go()
        self._close_namespaces()
        super().close()

    def _close_namespaces(self) -> None:
        with self.family.lock:
            handles, self._namespaces = self._namespaces, []
        for handle in handles:
            os.close(handle)

    def let_go(self) -> None:
        """In a forked copy of the application: close every descriptor and touch nothing else."""
        self.family.forget_in_fork()
        for handle in self._take_spare() or ():
            os.close(handle)
        self._close_namespaces()
        if self._init_handle >= 0:
            self._let_init_go()
        super().let_go()


def end_shell(shell: Shell) -> None:
    """Nobody is to live in it."""
    with contextlib.suppress(OSError):
        signal.pidfd_send_signal(shell.init, signal.SIGKILL)
    for handle in shell:
        os.close(handle)


def is_first_in(pid: int, init_handle: int) -> bool:
    """True when the process is the first that entered a PID namespace as deep as that of the init."""
    init, process = numbers_of(pid_of(init_handle)), numbers_of(pid)
    return len(init) > 1 and len(process) == len(init) and process[-1] == 2

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
from collections.abc import Sequence
from typing import Protocol

from hotcell.errors import ConfigurationError, SandboxError
from hotcell.sandboxes.local.cell import Ending, LocalCell, pid_of
from hotcell.sandboxes.local.jail import Limits
from hotcell.sandboxes.local.shells import Shell
from hotcell.sandboxes.local.witness import Witness, numbers_of

MOST_DEEP = 24
"""The kernel nests 32 PID namespaces (MAX_PID_NS_LEVEL); the fork server's own and a container's are among them."""
_BURIAL_SECONDS = 5.0
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
        *,
        witness: Witness | None = None,
        origin: NestedCell | None = None,
    ) -> None:
        """``streams``: wire, stdout and stderr; ``process``: a pidfd. They and the shell are its own from here on.

        ``witness`` for the first of a family; ``origin`` for a copy.
        """
        self._init_handle = -1
        self._below: set[NestedCell] = set()
        self._is_buried = False
        super().__init__([*streams, os.dup(process), process, shell.init], None, limits)
        os.close(shell.mount)
        self.work = shell.work
        """A descriptor of its work directory, opened before any code was there; the session takes it."""
        self.namespaces = [shell.user, shell.pid]
        """Descriptors of the user namespace that owns the family's shells, and of its own PID namespace."""
        self._origin = origin
        self._family: threading.RLock = origin._family if origin else threading.RLock()
        self._witness: Witness = origin._witness if origin else witness  # type: ignore[assignment]  # one is given
        self._depth: int = origin._depth + 1 if origin else 0
        numbers = numbers_of(self.pid)
        self._number = numbers[self._witness.level] if len(numbers) > self._witness.level else 0  # it died at once
        self._spare: Shell | None = None
        self._spare_init = 0
        """A place for its next copy."""
        if origin:
            with self._family:
                origin._below.add(self)

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

    def keep_spare(self, maker: ShellMaker) -> None:
        """Make a place for its next copy ahead of time, which is most of the time that a copy takes."""
        if self._spare is not None or self.released or self._depth >= MOST_DEEP:
            return
        try:
            spare = maker.make_shell(self.namespaces, self.limits)
        except SandboxError:
            return  # whoever asks for the copy meets the same trouble and is told
        with self._family:
            self._spare, self._spare_init = spare, pid_of(spare.init)
            is_late = not self.namespaces
        if is_late:
            self._let_spare_go()

    def take_spare(self) -> Shell | None:
        """The place that was made ahead; its descriptors are the caller's."""
        with self._family:
            spare, self._spare = self._spare, None
        return spare

    def _let_spare_go(self) -> None:
        spare = self.take_spare()
        if spare:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(spare.init, signal.SIGKILL)
            for handle in spare:
                os.close(handle)

    def strangers(self) -> frozenset[int]:
        """The copies below it, and their inits."""
        with self._family:
            inits = {self._spare_init} if self._spare else set()
            return frozenset({pid for copy in self._below for pid in (copy.pid, copy.init)} | inits)

    def holds_more_than(self, memory_bytes: int) -> bool:
        """Also when it has more processes than it may: the kernel counts those of the whole family together."""
        too_much = super().holds_more_than(memory_bytes)
        if self.peak_processes > self.limits.processes:
            self.kill()
        return too_much

    def _look_at_end(self) -> Ending | None:
        told = self._witness.ending_of(self._number)
        if told is None:
            return None
        status, cpu = told
        code = os.waitstatus_to_exitcode(status)
        return Ending(
            exit_code=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            cpu_seconds=max(0.0, cpu - self._cpu_before),
        )

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
            if cell._origin is None:
                cell._witness.close()
            else:
                cell._origin._below.discard(cell)
            cell = cell._origin

    def _kill_leftovers(self) -> None:
        deadline = time.monotonic() + _BURIAL_SECONDS
        # From the init alone: it lives, and the number of the dead one may be somebody else's by now.
        while left := self._walk([self.init]):
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > deadline:  # a bomb that outruns us takes its copies along
                self._signal_init()
                return
            time.sleep(_PAUSE_SECONDS)

    def _end_namespace(self) -> None:
        """Kill its init; the kernel ends everything in it first."""
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
        self._let_spare_go()
        with self._family:
            handles, self.namespaces = self.namespaces, []
        for handle in handles:
            os.close(handle)
        super().close()


def is_first_in(pid: int, init_handle: int) -> bool:
    """True when the process is the first that entered the PID namespace of that init."""
    init, process = numbers_of(pid_of(init_handle)), numbers_of(pid)
    return len(init) > 1 and len(process) == len(init) and process[-1] == 2

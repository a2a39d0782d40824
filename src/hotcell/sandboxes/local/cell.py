"""A prepared cell as the application sees it: three streams, a handle to kill it by, and the kernel's word on it.

What is measured here comes from the kernel and from our clocks; nothing asks the process inside.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from hotcell.sandboxes.local import seccomp
from hotcell.sandboxes.local.cgroups import Group
from hotcell.sandboxes.local.jail import Limits
from hotcell.sandboxes.local.zygote import END

_PAGE = resource.getpagesize()
_TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
_FREEZE_SECONDS = 1.0
"""A process is stopped when its turn on a processor comes; honest ones need no more than that."""
_FREEZE_LOOKS = 3
_FREEZE_PAUSE_SECONDS = 0.0001
_CPUCLOCK_SCHED = 2
"""How the kernel numbers the CPU clock of a process; see clock_getcpuclockid(3) in the C library's source."""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How the cell's process ended, as the fork server saw it."""

    exit_code: int | None
    signal: int | None
    cpu_seconds: float


class LocalCell:
    """One cell: prepared, used once, then gone. Not thread-safe; one thread owns it, any thread may ``kill``."""

    def __init__(self, handles: list[int], directory: str | None, limits: Limits) -> None:
        self._lock = threading.Lock()
        self.limits = limits
        self.released = False
        """True once its burial is the keeper's business."""
        self.channel = socket.socket(fileno=handles[0])
        self.alarm = -1
        self.stdout, self.stderr, self.end, self._handle = handles[1:5]
        self.pid = pid_of(self._handle)
        self.init = 0
        if len(handles) > 5:
            try:
                self.init = pid_of(handles[5])
            finally:
                self._keep_init(handles[5])
        for handle in (self.stdout, self.stderr):
            os.set_blocking(handle, False)
        self.directory = directory
        self.group: Group | None = None
        self._clock = (~self.pid << 3) | _CPUCLOCK_SCHED
        self._cpu_before = 0.0
        self._measures = False
        self._stopped: dict[int, int] = {}
        """In a session between calls: pidfds of what else lives in it."""
        self._seen_seconds: dict[int, float] = {}
        self._dead_seconds = 0.0
        self._ending: Ending | None = None
        self._memory_before = self._peak_before = 0
        self.own_memory_bytes = 0
        """What an interpreter that the cell starts holds by itself; 0 for Python, which is there before the fork."""
        self.peak_bytes = 0
        self.peak_processes = 1
        self._most_found = 1 << 20
        """After so many processes a look at them stops."""

    def _keep_init(self, handle: int) -> None:
        os.close(handle)

    def bury(self) -> None:
        """Its first process is dead: see to it that nothing else of it lives. Here the fork server has done that."""

    def take_handles(self, handles: list[int]) -> None:
        """What came with its word that it is ready: the filter's listener."""
        if handles:
            self.alarm = handles[0]

    def expect_program(self, own_memory_bytes: int) -> None:
        """It will start a program of another language, which holds so much before it has run anything."""
        self.own_memory_bytes = own_memory_bytes
        self.peak_processes = 2

    def read_alarm(self) -> str:
        """The name of the system call that a process in it asked for and waits in; empty when it is gone."""
        return seccomp.read_report(self.alarm)

    def pending_alarm(self) -> str:
        """The same, when one of them waits in such a call now."""
        if self.alarm < 0:
            return ""
        poller = select.poll()
        poller.register(self.alarm, select.POLLIN)
        return self.read_alarm() if any(event & select.POLLIN for _, event in poller.poll(0)) else ""

    def start_measuring(self) -> None:
        """Count from here: at first on top of what preparing it took, in a session on top of the last call."""
        if self._measures:
            self._cpu_before += self.cpu_seconds()
            self.peak_processes = 1
            if self.group is not None:
                self.group.start_over()
            else:
                self.peak_bytes, self._peak_before = 0, _peak_resident_bytes(self.pid)
            return
        self._measures = True
        with contextlib.suppress(OSError):  # it is dead; sending the request will tell
            self._cpu_before = time.clock_gettime(self._clock)
            if self.own_memory_bytes:  # an interpreter may have been started ahead
                self._cpu_before = self.cpu_seconds() + self._cpu_before
        if self.group is None:
            self._memory_before = _resident_bytes(self.pid)

    def cpu_seconds(self) -> float:
        """CPU time since ``start_measuring``, of every process that lives or has lived.

        The dead are in the times of whoever waited for them; where nobody did, what was last seen of them counts.
        """
        living: dict[int, float] = {}
        waited_for = 0.0
        for pid in self.processes():
            with contextlib.suppress(OSError):
                living[pid] = time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)
                waited_for += _waited_for_seconds(pid)
        self._dead_seconds += sum(spent for pid, spent in self._seen_seconds.items() if pid not in living)
        self._seen_seconds = living
        return max(0.0, sum(living.values()) + max(waited_for, self._dead_seconds) - self._cpu_before)

    def own_cpu_seconds(self) -> float:
        """The same for its first process alone, at the price of one system call, when it is to start no other."""
        if self.own_memory_bytes:
            return self.cpu_seconds()
        with contextlib.suppress(OSError):
            return time.clock_gettime(self._clock) - self._cpu_before
        return 0.0

    def is_quiet(self) -> bool:
        """True when nothing but the one thread of its one process is left. False when in doubt."""
        try:
            if self.group is not None:
                return self.group.tasks() == 1
            return self._is_alone()
        except OSError:
            return False

    def _is_alone(self) -> bool:
        return len(os.listdir(f"/proc/{self.pid}/task")) <= 1 and self.processes() == [self.pid]

    def processes(self) -> list[int]:
        """Its processes, by the host's numbers."""
        return self._walk(self.roots())

    def roots(self) -> list[int]:
        """What all others are below. The number of one that is dead may be anybody's by now."""
        if is_over(self._handle):
            return []
        # The last is looked at first. What loses its parent meanwhile is found below the init.
        return [self.init, self.pid] if self.init else [self.pid]

    def _walk(self, waiting: list[int]) -> list[int]:
        found: list[int] = []
        strangers = self.strangers()
        while waiting and len(found) < self._most_found:
            pid = waiting.pop()
            if pid in strangers:
                continue
            if pid != self.init:
                found.append(pid)
            with contextlib.suppress(OSError):
                waiting += _children(pid)
        return found

    def strangers(self) -> frozenset[int]:
        """Processes that are below its own and not of it."""
        return frozenset()

    def holds_more_than(self, memory_bytes: int) -> bool:
        """True when all its processes together hold more on top of the preloaded heap; counts them on the way."""
        processes = self.processes()
        self.peak_processes = max(self.peak_processes, len(processes))
        if self.group is not None:  # the kernel watches, and may have killed one of them already
            return self.group.was_out_of_memory()
        held = sum(max(0, _resident_bytes(pid) - self._memory_before) for pid in processes)
        if len(processes) > 1 and held > self.peak_bytes:
            # Forked children share pages with their parent: count each page once.
            held = max(0, sum(_proportional_bytes(pid) for pid in processes) - self._memory_before)
        self.peak_bytes = max(self.peak_bytes, held)
        return held > memory_bytes + self.own_memory_bytes

    def measure_peak(self) -> int:
        """The most memory it held at once, in bytes."""
        if self.group is not None:
            return self.group.peak_bytes()
        peak = _peak_resident_bytes(self.pid)
        if peak == self._peak_before:  # of an earlier call; this one has not been as high
            peak = _resident_bytes(self.pid)
        self.peak_bytes = max(self.peak_bytes, peak - self._memory_before)
        return self.peak_bytes

    def kill(self) -> None:
        """Send SIGKILL; its namespace follows. Harmless when it is dead already or closed."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with self._lock, contextlib.suppress(OSError):
            if self._handle >= 0:
                signal.pidfd_send_signal(self._handle, number)

    def interrupt(self) -> None:
        """Send SIGINT to its first process, as Ctrl-C does. Harmless when it is dead already or closed."""
        self._signal(signal.SIGINT)

    def stop(self) -> None:
        """Send SIGSTOP to its first process, which will stand still when its turn on a processor comes."""
        self._signal(signal.SIGSTOP)

    def freeze(self) -> None:
        """Stop every process in it, so that between the calls of a session nothing runs; what evades that is killed."""
        deadline = time.monotonic() + _FREEZE_SECONDS
        looks = 0
        # What was forked while we looked is found by looking again. Nothing can wake a thread that is alone; where
        # there are several, one that was looked at may be woken by the next, so all are looked at more than once.
        while looks < _FREEZE_LOOKS:
            self.stop()
            # Seen first: what stands still leaves nothing that could be missed. One that sends itself SIGCONT in that
            # moment takes the stop back, so it is waited for.
            stands_still = _is_stopped_task(f"/proc/{self.pid}")
            if self.is_quiet():
                if stands_still:
                    return
            elif self._stop_all():
                looks += 1
                continue
            else:
                looks = 0
            if time.monotonic() > deadline:
                self.kill()
                return
            time.sleep(_FREEZE_PAUSE_SECONDS)

    def _stop_all(self) -> bool:
        """Stop every other process too; True when all of them stood still already."""
        processes = self.processes()
        for pid in processes:
            with contextlib.suppress(OSError):
                if pid != self.pid and pid not in self._stopped:
                    self._stopped[pid] = os.pidfd_open(pid)
        still = all(_is_stopped(pid) for pid in processes)
        # The others' numbers may be somebody else's by now.
        for pid in set(self.processes()) & self._stopped.keys() if self._stopped else ():
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self._stopped[pid], signal.SIGSTOP)
        return still

    def stands_still(self) -> bool:
        """True when nothing that ``freeze`` stopped has gone on."""
        return all(_is_stopped(pid) for pid in (self.pid, *self._stopped))

    def thaw(self) -> None:
        """Let everything go on that ``freeze`` stopped."""
        stopped, self._stopped = self._stopped, {}
        for handle in stopped.values():
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(handle, signal.SIGCONT)
            os.close(handle)
        self._signal(signal.SIGCONT)

    def is_dead(self) -> bool:
        """True when it has come to its end, and everything in it; or was let go of."""
        if self.released or self.end < 0:
            return True
        poller = select.poll()
        poller.register(self.end, select.POLLIN)
        return bool(poller.poll(0))

    def read_ending(self) -> Ending | None:
        """Its end, once ``end`` is readable; None when the fork server died without a word. May be asked again."""
        if self._ending is None and self.end >= 0:
            self._ending = self._look_at_end()
        return self._ending

    def _look_at_end(self) -> Ending | None:
        return self._decode_ending(os.read(self.end, END.size))

    def _decode_ending(self, data: bytes) -> Ending | None:
        if len(data) != END.size:
            return None
        status, user, system = END.unpack(data)
        cpu = max(0.0, (user + system) / 1e6 - self._cpu_before)
        code = os.waitstatus_to_exitcode(status)
        return Ending(exit_code=code if code >= 0 else None, signal=-code if code < 0 else None, cpu_seconds=cpu)

    def close(self) -> None:
        """Let go of every descriptor; it must have been killed before."""
        with self._lock:
            # The numbers are forgotten before they are closed: a second call must not close what others have by then.
            handles = (self.stdout, self.stderr, self.end, self.alarm, self._handle, *self._stopped.values())
            self._stopped = {}
            self.stdout = self.stderr = self.end = self.alarm = self._handle = -1
            self.channel.close()
            for handle in handles:
                if handle >= 0:
                    os.close(handle)

    def let_go(self) -> None:
        """In a forked copy of the application: close every descriptor and touch nothing else."""
        LocalCell.close(self)

    def __del__(self) -> None:
        # Only where an exception out of a signal handler came between taking it and giving it back.
        if getattr(self, "_handle", -1) >= 0:
            self.kill()
            self.close()


def is_over(handle: int) -> bool:
    """True when a pidfd's process has ended, or the descriptor is closed."""
    poller = select.poll()
    if handle >= 0:
        poller.register(handle, select.POLLIN)
    return handle < 0 or bool(poller.poll(0))


def pid_of(handle: int) -> int:
    for line in Path(f"/proc/self/fdinfo/{handle}").read_text().splitlines():
        if line.startswith("Pid:"):
            return int(line.split()[1])
    raise OSError("this kernel does not tell a pidfd's process")


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(FileNotFoundError):
            found += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
    return found


def _is_stopped(pid: int) -> bool:
    """True when each of its threads is, or is dead."""
    try:
        return all(_is_stopped_task(f"/proc/{pid}/task/{task}") for task in os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return True


def _is_stopped_task(place: str) -> bool:
    try:
        return Path(place, "stat").read_text(errors="replace").rpartition(")")[2][1] in "TZX"
    except OSError:
        return True  # it has ended


def _waited_for_seconds(pid: int) -> float:
    # The name in parentheses may hold anything; cutime and cstime are fields 16 and 17 of proc_pid_stat(5).
    fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) * _TICK_SECONDS


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _field_bytes(path: str, field: str) -> int:
    try:
        for line in Path(path).read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) << 10
    except OSError:
        pass  # it is gone, or not ours to look at
    return 0


def _peak_resident_bytes(pid: int) -> int:
    return _field_bytes(f"/proc/{pid}/status", "VmHWM:")


def _proportional_bytes(pid: int) -> int:
    return _field_bytes(f"/proc/{pid}/smaps_rollup", "Pss:") or _resident_bytes(pid)

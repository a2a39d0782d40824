"""What a sandbox has of the machine: counted from outside, to see that nothing of it stays."""

from __future__ import annotations

import gc
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from observers.processes import descendants


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Counts; two are equal when nothing was added and nothing lost."""

    processes: int
    """Below this process, zombies left out."""
    descriptors: int
    threads: int
    mounts: int
    groups: int
    """Control groups of sandboxes and their cells."""
    directories: int
    """In the temporary directory."""
    segments: int
    """System V shared memory of this machine."""

    def covers(self, seen: Footprint) -> bool:
        """True when nothing was added. Less may be there: a sandbox that tests share may have been at replacing its
        fork server when this was counted."""
        return all(getattr(seen, name) <= most for name, most in vars(self).items())


def footprint() -> Footprint:
    """What this process has now."""
    gc.collect()
    return Footprint(
        processes=len(descendants(os.getpid())),
        descriptors=len(os.listdir("/proc/self/fd")),
        threads=len(os.listdir("/proc/self/task")),
        mounts=Path("/proc/self/mountinfo").read_text().count("\n"),
        groups=len(groups(os.getpid())),
        directories=len(directories(os.getpid())),
        segments=Path("/proc/sysvipc/shm").read_text().count("\n"),
    )


def groups(pid: int) -> frozenset[str]:
    """The control groups that belong to a supervisor's sandboxes, its cells' groups included."""
    found: set[str] = set()
    for place, below, _ in os.walk("/sys/fs/cgroup"):  # what vanishes meanwhile is passed over
        found |= {f"{place}/{name}" for name in below if name.startswith(f"hotcell-{pid}-")}
        if f"/hotcell-{pid}-" in place:
            found |= {f"{place}/{name}" for name in below}
    return frozenset(found)


def directories(pid: int) -> frozenset[str]:
    """The temporary directories that belong to a supervisor's sandboxes."""
    return frozenset(name for name in os.listdir(tempfile.gettempdir()) if name.startswith(f"hotcell-{pid}-"))


def settles(is_fine: Callable[[Footprint], bool], within_seconds: float = 5.0) -> Footprint:
    """The footprint as soon as it is fine, else the last one seen: for use in an assertion."""
    deadline = time.monotonic() + within_seconds
    while not is_fine(seen := footprint()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return seen


def descriptors_settle(most: int) -> int:
    """How many are open here, once there are no more than so many, else a moment later: for use in an assertion."""
    return settles(lambda seen: seen.descriptors <= most).descriptors


def resting(for_seconds: float = 0.5) -> Footprint:
    """The footprint once nothing changes any more: a sandbox that tests share may be filling its pool."""
    seen, since = footprint(), time.monotonic()
    deadline = since + 10 * for_seconds
    while time.monotonic() - since < for_seconds and time.monotonic() < deadline:
        time.sleep(0.05)
        if (now := footprint()) != seen:
            seen, since = now, time.monotonic()
    return seen

"""What a prepared cell costs while it waits: the memory that it alone holds, by the kernel's own count."""

from __future__ import annotations

import contextlib
import os
import statistics
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.measure import Row, absent
from benchmarks.subjects import PRINT, execute, executor

CELLS = 6
MiB = 1 << 20


def measure() -> Iterator[Row]:
    """Cells as an idle pool makes them, with pages touched ahead, and those it makes while code runs, without."""
    with executor(pool_size=CELLS) as (runner, _):
        time.sleep(0.2)
        before = set(cells())
        yield _row("idle prepared cell, pages touched ahead", before, 8)
        long = threading.Thread(target=execute, args=(runner, "import time\ntime.sleep(2)"))
        long.start()
        time.sleep(0.1)
        for _ in range(2 * CELLS):  # uses up those made before the long execution
            execute(runner, PRINT)
        time.sleep(0.5)
        yield _row("idle prepared cell, untouched", set(cells()) - before, 1.5)
        long.join()


def _row(what: str, pids: Iterable[int], most: float) -> Row:
    try:
        sizes = [private_bytes(pid) / MiB for pid in pids]
    except PermissionError:
        return absent(what, "only root may look into a cell", unit="MiB", most=most)
    return Row(what=what, value=statistics.median(sizes), unit="MiB", least=min(sizes), most=most)


def cells() -> list[int]:
    """The processes at the leaves below this one, but for the inits of their namespaces, which hold no memory."""
    found, waiting = [], children(os.getpid())
    while waiting:
        pid = waiting.pop()
        below = children(pid)
        waiting += below
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if not below and _fields(f"/proc/{pid}/status")["NSpid"].split()[-1] != "1":
                found.append(pid)
    return found


def children(pid: int) -> list[int]:
    """Of all its threads."""
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def private_bytes(pid: int) -> int:
    """What would be free if the process were gone. Raises PermissionError where the kernel does not tell us."""
    fields = _fields(f"/proc/{pid}/smaps_rollup")
    return sum(int(text.split()[0]) << 10 for name, text in fields.items() if name.startswith("Private_"))


def _fields(path: str) -> dict[str, str]:
    lines = Path(path).read_text().splitlines()
    return {name: text.strip() for name, colon, text in (line.partition(":") for line in lines) if colon}

"""Memory: more than allowed, hidden where nobody counts, or spread over many processes."""

from __future__ import annotations

import threading
import time

import pytest
from observers.cells import RAW, ask
from observers.wall import Attack

from hotcell.results import Status
from hotcell.sandboxes.local.sandbox import LocalSandbox

MiB = 1 << 20


@pytest.mark.threat("mem.huge")
@pytest.mark.parametrize(
    "code", ["x = bytearray(50 << 30)", "x = 'a' * (2 << 30)", "x = [0] * (10 ** 10)", "x = 1 << (10 ** 12)"]
)
def test_a_huge_allocation_is_refused(attack: Attack, code: str) -> None:
    """One allocation beyond the limit ends the cell with MEMORY_LIMIT at once."""
    outcome = attack(code, memory_bytes=64 * MiB)
    assert outcome.status is Status.MEMORY_LIMIT, outcome
    assert outcome.decided_by == "limits"


@pytest.mark.threat("mem.slow")
def test_slow_growth_is_stopped_and_others_are_well(sandbox: LocalSandbox) -> None:
    """Memory taken in small pieces ends with MEMORY_LIMIT; a neighbour notices nothing."""
    outcomes = []
    neighbour = threading.Thread(
        target=lambda: outcomes.append(ask(sandbox, "import time; time.sleep(0.5); print('well')"))
    )
    neighbour.start()
    outcome = ask(sandbox, "x = []\nwhile True: x.append(bytes(100_000))", memory_bytes=64 * MiB)
    neighbour.join()
    assert outcome.status is Status.MEMORY_LIMIT, outcome
    assert outcome.usage.peak_memory_bytes <= 96 * MiB
    assert outcomes[0].stdout == "well\n"


@pytest.mark.threat("mem.caught")
def test_catching_memory_errors_gains_nothing(attack: Attack) -> None:
    """Code that swallows MemoryError goes on, within its limit."""
    outcome = attack(
        """
held, refused = [], 0
while refused < 3:
    try:
        held.append(bytearray(10 << 20))
    except MemoryError:
        refused += 1
print(len(held) * 10)
""",
        memory_bytes=64 * MiB,
    )
    assert outcome.status in (Status.OK, Status.MEMORY_LIMIT), outcome
    if outcome.status is Status.OK:
        assert int(outcome.stdout) <= 64


@pytest.mark.threat("mem.reserved")
def test_memory_that_was_only_reserved_is_counted_when_touched(attack: Attack) -> None:
    """A shared or unreserved mapping is free until it is written to; then the limit holds."""
    outcome = attack(
        """
import mmap
NORESERVE = 0x4000
for flags in (mmap.MAP_SHARED | mmap.MAP_ANONYMOUS, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE):
    try:
        page = mmap.mmap(-1, 512 << 20, flags=flags)
    except (OSError, MemoryError):
        print("refused")
        continue
    for offset in range(0, 512 << 20, 4096):
        page[offset] = 1
    print("had it")
    page.close()
""",
        memory_bytes=64 * MiB,
    )
    assert "had it" not in outcome.stdout
    assert outcome.status in (Status.MEMORY_LIMIT, Status.OK, Status.KILLED), outcome


@pytest.mark.threat("mem.hidden")
def test_memory_hidden_from_processes_is_bounded(attack: Attack) -> None:
    """tmpfs, memfd, pipe buffers and System V segments together stay below the memory limit or are refused."""
    outcome = attack(
        RAW
        + """
import fcntl, os
hidden = 0
def hide_in_files():
    global hidden
    for number in range(100):
        with open(f"/dev/shm/{number}", "wb", buffering=0) as file:
            hidden += file.write(bytes(1 << 20))
def hide_in_memfd():
    global hidden
    handle = os.memfd_create("x")
    for _ in range(100):
        hidden += os.write(handle, bytes(1 << 20))
def hide_in_pipes():
    global hidden
    for _ in range(1000):
        reading, writing = os.pipe()
        fcntl.fcntl(writing, 1031, 1 << 20)
        os.set_blocking(writing, False)
        hidden += os.write(writing, bytes(1 << 20))
def hide_in_segments():
    global hidden
    for number in range(100):
        if raw(29, 0, 1 << 20, 0o600) < 0:
            return
        hidden += 1 << 20
for hide in (hide_in_files, hide_in_memfd, hide_in_pipes, hide_in_segments):
    try: hide()
    except OSError: pass
print(hidden >> 20)
""",
        memory_bytes=64 * MiB,
        disk_bytes=32 * MiB,
        open_files=64,
    )
    if outcome.status is Status.OK:
        assert int(outcome.stdout) <= 64 + 32
    else:
        assert outcome.status is Status.MEMORY_LIMIT, outcome


@pytest.mark.threat("mem.many-processes")
def test_memory_of_all_processes_is_summed(attack: Attack, needs_namespaces: None) -> None:
    """Fifteen processes of 16 MiB each end a cell of 64 MiB."""
    outcome = attack(
        """
import os, time
for _ in range(15):
    if os.fork() == 0:
        held = os.urandom(16 << 20)
        time.sleep(1)
        os._exit(0)
time.sleep(1)
""",
        memory_bytes=64 * MiB,
    )
    assert outcome.status is Status.MEMORY_LIMIT, outcome


@pytest.mark.threat("mem.stack")
@pytest.mark.parametrize(
    "code",
    [
        "import sys; sys.setrecursionlimit(10 ** 9)\ndef f(): f()\nf()",
        "import sys; sys.setrecursionlimit(10 ** 9)\nclass A:\n    def __repr__(self): return repr(self)\nrepr(A())",
        "x = []\nfor _ in range(10 ** 6): x = [x]\nrepr(x)",
        "import json\njson.loads('[' * 10 ** 6)",
        "compile('(' * 10 ** 5 + ')' * 10 ** 5, 'x', 'eval')",
        "import ast\nast.literal_eval('-' * 10 ** 6 + '1')",
        "import re\nre.compile('(' * 10 ** 5 + ')' * 10 ** 5)",
        "import pickle\nx = []\nfor _ in range(10 ** 5): x = [x]\npickle.dumps(x)",
        "f = lambda: None\nfor _ in range(10 ** 6): f = f.__class__.__get__(f, object())\ndel f",
    ],
    ids=["recursion", "repr-of-self", "nested-repr", "nested-json", "compile", "literal", "regex", "pickle", "chain"],
)
def test_a_deep_stack_is_contained(attack: Attack, code: str) -> None:
    """Recursion that overflows Python's or the C stack ends the cell with a named status, and nothing else."""
    started = time.monotonic()
    outcome = attack(code, timeout_seconds=8, memory_bytes=64 * MiB)
    assert time.monotonic() - started < 10
    assert outcome.status in (Status.OK, Status.ERROR, Status.KILLED, Status.MEMORY_LIMIT), outcome
    assert outcome.reason
    assert attack("print('next')").stdout == "next\n"

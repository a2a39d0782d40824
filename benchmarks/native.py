"""Code inside beside the same code outside: the wall must not slow down what runs in it."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from functools import partial

import hotcell
from benchmarks.measure import Contender, Row, interleave, ratio
from benchmarks.subjects import PYTHON, execute, executor, rested

CPU_BOUND = """
import time
def work():
    total, table = 0, {}
    for n in range(300_000):
        total += n * n % 7
        table[n & 1023] = table.get(n & 1023, 0) + total
    return sum(table.values()) + sum(len(str(n)) for n in range(60_000))
work()
start = time.thread_time()
work()
result = time.thread_time() - start
"""
FILE_CALLS = """
import os, time
path = place + "/file"
with open(path, "wb") as file:
    file.write(bytes(100))
def work():
    for _ in range(20_000):
        handle = os.open(path, os.O_RDONLY)
        os.read(handle, 100)
        os.close(handle)
        os.stat(path)
start = time.perf_counter()
work()
result = time.perf_counter() - start
"""


def measure(rounds: int) -> Iterator[Row]:
    """Both programs in turn inside and outside; each times itself, so that no start is counted."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(dir=memory) as outside,
        executor([], policy=hotcell.Policy.permissive()) as (runner, sandbox),
    ):
        contenders = [
            contender
            for name, code in (("cpu", CPU_BOUND), ("files", FILE_CALLS))
            for contender in (
                Contender(name=f"{name} inside", once=partial(_inside, runner, code)),
                Contender(name=f"{name} outside", once=partial(_outside, code, outside)),
            )
        ]
        found = interleave(contenders, rounds, rested(sandbox))
    for what, name, most in (
        ("CPU-bound code, inside / outside", "cpu", 1.03),
        ("20,000 open, read, close and stat, inside / outside", "files", 1.3),
    ):
        inside, native = found[f"{name} inside"], found[f"{name} outside"]
        note = f"{statistics.median(inside) * 1000:.0f} ms inside, {statistics.median(native) * 1000:.0f} outside"
        yield ratio(what, inside, native, most=most, note=note)


def _inside(runner: hotcell.Executor, code: str) -> float:
    return float(execute(runner, f"place = '.'\n{code}").value)


def _outside(code: str, place: str) -> float:
    """In a process of its own, as inside; in this one our other threads would take their share."""
    program = f"place = {place!r}\n{code}\nprint(result)"
    return float(subprocess.run([PYTHON, "-I", "-c", program], check=True, capture_output=True).stdout)

"""Code inside beside the same code outside: the wall must not slow down what runs in it."""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from typing import Any

import hotcell
from benchmarks.measure import Contender, Row, interleave, ratio
from benchmarks.subjects import execute, executor

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
    outside = tempfile.mkdtemp(dir="/dev/shm") if os.path.isdir("/dev/shm") else tempfile.mkdtemp()
    try:
        with executor([], policy=hotcell.Policy.permissive()) as (runner, _):
            yield from _rows(runner, outside, rounds)
    finally:
        shutil.rmtree(outside)


def _rows(runner: hotcell.Executor, outside: str, rounds: int) -> Iterator[Row]:
    contenders = [
        Contender(name="cpu inside", once=lambda: _inside(runner, CPU_BOUND)),
        Contender(name="cpu outside", once=lambda: _outside(CPU_BOUND, outside)),
        Contender(name="files inside", once=lambda: _inside(runner, FILE_CALLS)),
        Contender(name="files outside", once=lambda: _outside(FILE_CALLS, outside)),
    ]
    found = interleave(contenders, rounds)
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
    names: dict[str, Any] = {"place": place}
    exec(compile(code, "<code>", "exec"), names)
    return float(names["result"])

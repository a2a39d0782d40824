"""Executions per second when the pool cannot keep up, beside the rate of bare forks, and a hundred at once."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import hotcell
from benchmarks.measure import Row, milliseconds
from benchmarks.subjects import HEAP, PRINT, PROGRAMS, bare_fork, execute, executor

HEAPS: dict[str, tuple[Sequence[str], float]] = {"numpy to matplotlib": (HEAP, 350), "stdlib alone": ((), 800)}
AT_ONCE = 100
POOL_SIZE = 8


def sustained(slices: int, seconds: float) -> Iterator[Row]:
    """Slices of ours with one and two callers, and of bare forks, in turn."""
    for name, (preload, floor) in HEAPS.items():
        rates: dict[str, list[float]] = {"bare": [], "1 caller": [], "2 callers": []}
        with executor(preload, pool_size=POOL_SIZE) as (runner, _), bare_fork(preload) as bare:
            for _ in range(slices):
                count, took = bare.ask(f"seconds {seconds}").split()
                rates["bare"].append(int(count) / float(took))
                rates["1 caller"].append(_rate(runner, 1, seconds))
                rates["2 callers"].append(_rate(runner, 2, seconds))
        yield _row(f"sustained, {name}, 1 caller", rates["1 caller"])
        yield _row(f"sustained, {name}, 2 callers", rates["2 callers"], floor=floor)
        yield _row(f"  fork + exit + wait, {name}", rates["bare"])
        share = statistics.median(rates["2 callers"]) / statistics.median(rates["bare"])
        yield Row(what="  sustained with 2 callers / that rate", value=share, unit="x", floor=0.5)


def _row(what: str, rates: Sequence[float], floor: float | None = None) -> Row:
    return Row(what=what, value=statistics.median(rates), unit="/s", note=f"best slice {max(rates):.0f}/s", floor=floor)


def _rate(runner: hotcell.Executor, callers: int, seconds: float) -> float:
    """Executions per second from when the pool is dry."""
    for _ in range(2 * POOL_SIZE):
        execute(runner, PRINT)
    deadline = time.perf_counter() + seconds
    counts = [0] * callers

    def call(number: int) -> None:
        while time.perf_counter() < deadline:
            execute(runner, PRINT)
            counts[number] += 1

    start = time.perf_counter()
    _together(callers, call)
    return sum(counts) / (time.perf_counter() - start)


def burst(rounds: int) -> Iterator[Row]:
    """A hundred callers ask in the same moment; each gets a fresh cell with numpy."""
    for pool_size in (AT_ONCE, POOL_SIZE):
        took = []
        with executor(["numpy"], pool_size=pool_size) as (runner, sandbox):
            for _ in range(rounds):
                sandbox.wait_until_warm()
                time.sleep(0.1)
                took.append(_all_at_once(runner))
        yield milliseconds(f"{AT_ONCE} numpy cells at once, pool of {pool_size}", took, most=300)


def _all_at_once(runner: hotcell.Executor) -> float:
    """Seconds from the first request to the last result; the callers' threads exist beforehand."""
    first, last = [0.0] * AT_ONCE, [0.0] * AT_ONCE
    gate = threading.Barrier(AT_ONCE)

    def call(number: int) -> None:
        gate.wait()
        first[number] = time.perf_counter()
        execute(runner, PROGRAMS["numpy sum"])
        last[number] = time.perf_counter()

    _together(AT_ONCE, call)
    return max(last) - min(first)


def _together(callers: int, call: Callable[[int], None]) -> None:
    """Run in as many threads; what one of them raises is raised here."""
    with ThreadPoolExecutor(callers) as threads:
        list(threads.map(call, range(callers)))

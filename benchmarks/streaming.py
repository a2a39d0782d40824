"""What a reader waits for: from a write inside a cell to its event outside, and a session's call there and back."""

from __future__ import annotations

import time
from collections.abc import Iterator

import hotcell
from benchmarks.branches import run
from benchmarks.measure import Contender, Row, interleave, milliseconds, timed
from benchmarks.subjects import executor
from hotcell.events import Stdout

_TALK = """
import time
for _ in range({count}):
    time.sleep(0.003)
    print(time.time_ns(), flush=True)
"""


def measure(rounds: int) -> Iterator[Row]:
    """Both clocks are the machine's own; the code prints the moment just before it writes."""
    with executor(pool_size=2) as (runner, _):
        yield milliseconds("from the write to its event", list(_delays(runner, rounds)), most=2)
        with runner.session() as session:
            found = interleave([Contender(name="call", once=timed(lambda: run(session, "1")))], rounds)
        yield milliseconds("a session's call, there and back", found["call"])


def _delays(runner: hotcell.Executor, count: int) -> Iterator[float]:
    for event in runner.stream(_TALK.format(count=count)):
        now = time.time_ns()
        if isinstance(event, Stdout):
            for line in event.text.split():
                yield (now - int(line)) / 1e9

"""Copies of a live session: how long they take, and what an untouched one costs."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

import hotcell
from benchmarks.measure import Contender, Row, absent, interleave, milliseconds, timed
from benchmarks.memory import MiB, private_bytes
from benchmarks.subjects import executor

FRAME = "import numpy as np, pandas as pd\nframe = pd.DataFrame(np.arange(13_107_200.0).reshape(-1, 8))"
"""A DataFrame of 100 MiB."""
_REST_SECONDS = 0.1


def measure(rounds: int) -> Iterator[Row]:
    """A session with pandas loaded and 100 MB alive; before each turn its next place has been made."""
    config = hotcell.SandboxConfig(memory_bytes=1 << 30)
    with executor(pool_size=1) as (runner, sandbox):
        if not sandbox.supports_fork:
            yield absent("session.fork(), 100 MB alive", "this host refuses namespaces", most=10)
            return
        with contextlib.ExitStack() as stack:
            session, other = (stack.enter_context(runner.session(config=config, branchable=True)) for _ in range(2))
            for each in (session, other):
                run(each, FRAME)
            contenders = [
                Contender(name="fork", once=partial(_fork, session, 1)),
                Contender(name="fork(3)", once=partial(_fork, session, 3), every=2),
                Contender(name="back", once=timed(partial(_back, other)), every=2),
                Contender(name="call", once=timed(partial(run, session, "1"))),
            ]
            found = interleave(contenders, rounds, partial(time.sleep, _REST_SECONDS))
            yield milliseconds("session.fork(), 100 MB alive", found["fork"], most=10)
            yield milliseconds("session.fork(3), 100 MB alive", found["fork(3)"])
            yield milliseconds("checkpoint(), a call, rollback()", found["back"])
            yield milliseconds("a call between them", found["call"])
            yield _memory(session)


def run(session: hotcell.Session, code: str) -> hotcell.ExecutionResult:
    """Run and insist on success."""
    result = session.execute(code)
    if not result.success:
        raise RuntimeError(f"{code!r} ended as {result.status.value}: {result.reason}\n{result.stderr}")
    return result


def _fork(session: hotcell.Session, n: int) -> float:
    once: Callable[[], hotcell.Branches] = partial(session.fork, n)
    start = time.perf_counter()
    copies = once()
    seconds = time.perf_counter() - start
    copies.close()
    return seconds


def _back(session: hotcell.Session) -> None:
    session.checkpoint()
    run(session, "x = 1")
    session.rollback()


def _memory(session: hotcell.Session) -> Row:
    what = "an untouched copy's own memory"
    with session.fork(5) as copies:
        time.sleep(_REST_SECONDS)
        try:
            sizes = [private_bytes(copy._cell._cell.pid) / MiB for copy in copies]  # type: ignore[attr-defined]
        except PermissionError:
            return absent(what, "only root may look into a cell", unit="MiB", most=5)
    return Row(what=what, value=statistics.median(sizes), unit="MiB", least=min(sizes), most=5)

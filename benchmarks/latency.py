"""Request to full result in a fresh process each time, beside what others need for the same programs."""

from __future__ import annotations

import contextlib
import io
import statistics
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from benchmarks.companion import Companion, CompanionError
from benchmarks.measure import Contender, Row, absent, interleave, milliseconds, ratio, timed
from benchmarks.peers import companion
from benchmarks.subjects import HEAP, PROGRAMS, bare_fork, bare_python, execute, executor, rested

MOST_MILLISECONDS = {"print(1+1)": 0.8, "numpy sum": 1.2, "describe().to_csv()": 3.5}


def measure(rounds: int) -> Iterator[Row]:
    """One interleaved run of ours, bare Python, a Jupyter kernel, a bare fork and the code in this process."""
    with contextlib.ExitStack() as stack:
        runner, sandbox = stack.enter_context(executor())
        kernel: Companion | str
        try:
            kernel = stack.enter_context(companion("jupyter"))
        except CompanionError as error:
            kernel = str(error)
        fork = stack.enter_context(bare_fork(HEAP))
        contenders = [bare_python(), _fork(fork)]
        for name, code in PROGRAMS.items():
            contenders += [
                Contender(name=f"ours {name}", once=timed(partial(execute, runner, code))),
                Contender(name=f"in process {name}", once=timed(partial(_in_process, code))),
            ]
            if isinstance(kernel, Companion):
                contenders.append(Contender(name=f"jupyter {name}", once=partial(kernel.time, code)))
        found = interleave(contenders, rounds, rested(sandbox))
    yield from _rows(found, "" if isinstance(kernel, Companion) else kernel)


def _fork(bare: Companion) -> Contender:
    return Contender(name="fork", once=lambda: float(bare.ask("count 1").split()[1]))


def _in_process(code: str) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(code, "<code>", "exec"), {"__name__": "__main__"})


def _rows(found: Mapping[str, Sequence[float]], no_kernel: str) -> Iterator[Row]:
    python = found["python3 -I -S"]
    middle = statistics.median(python)

    def times(what: str, name: str, most: float | None = None) -> Row:
        return milliseconds(what, found[name], of_python=statistics.median(found[name]) / middle, most=most)

    for name, most in MOST_MILLISECONDS.items():
        ours = found[f"ours {name}"]
        yield times(f"execute {name}", f"ours {name}", most)
        if name == "print(1+1)":
            yield ratio(f"  of python3 -I -S, {name}", ours, python, most=0.1)
        if no_kernel:
            yield absent(f"  of a warm Jupyter kernel, {name}", no_kernel, unit="x", most=1.0)
        else:
            yield ratio(f"  of a warm Jupyter kernel, {name}", ours, found[f"jupyter {name}"], most=1.0)
    yield times("python3 -I -S print(1+1)", "python3 -I -S")
    yield times("fork + exit + wait of the same heap", "fork")
    for name in PROGRAMS:
        if not no_kernel:
            yield times(f"warm Jupyter kernel, no isolation, {name}", f"jupyter {name}")
        yield times(f"in this process, no isolation, {name}", f"in process {name}")

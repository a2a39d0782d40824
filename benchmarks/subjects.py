"""What is measured everywhere: the programs, the heap they want, our executor, and the bare interpreter."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import hotcell
from benchmarks.companion import Companion
from benchmarks.measure import Contender, pause, timed

HEAP = ("numpy", "pandas", "matplotlib")
PRINT = "print(1 + 1)"
PROGRAMS = {
    "print(1+1)": PRINT,
    "numpy sum": "import numpy as np\nprint(np.arange(1000).sum())",
    "describe().to_csv()": (
        "import pandas as pd\n"
        "df = pd.DataFrame({'a': range(100), 'b': [n * 0.5 for n in range(100)]})\n"
        "print(df.describe().to_csv())"
    ),
}

PYTHON: str = getattr(sys, "_base_executable", sys.executable)
"""The interpreter itself: a shim or the link of a virtual environment would measure more than Python."""


@contextlib.contextmanager
def executor(
    preload: Sequence[str] = HEAP, *, pool_size: int = 8, policy: hotcell.Policy | None = None
) -> Iterator[tuple[hotcell.Executor, hotcell.LocalSandbox]]:
    """Ours, warm, with all six layers on."""
    sandbox = hotcell.LocalSandbox(preload=preload, pool_size=pool_size)
    try:
        sandbox.wait_until_warm()
        yield hotcell.Executor(sandbox, policy=policy), sandbox
    finally:
        sandbox.close()


def rested(sandbox: hotcell.LocalSandbox) -> Callable[[], None]:
    """Waits until the pool is full and the machine has had a moment to bury the last cell."""

    def rest() -> None:
        sandbox.wait_until_warm()
        pause()

    return rest


def execute(runner: hotcell.Executor, code: str) -> hotcell.ExecutionResult:
    """Run and insist on success: a quick failure must not count as speed."""
    result = runner.execute(code)
    if not result.success:
        raise RuntimeError(f"{code!r} ended as {result.status.value}: {result.reason}\n{result.stderr}")
    return result


def bare_fork(preload: Sequence[str]) -> Companion:
    """The process of ``bare.py`` with these modules."""
    return Companion([sys.executable, "-I", str(Path(__file__).with_name("bare.py")), *preload])


def command(name: str, arguments: Sequence[str], *, every: int = 1) -> Contender:
    """A contender that is a command; it must print 2."""

    def run() -> None:
        done = subprocess.run(arguments, capture_output=True, stdin=subprocess.DEVNULL, check=False)
        if done.returncode or done.stdout != b"2\n":
            raise RuntimeError(f"{name}: {done.stderr.decode(errors='replace').strip()[-300:] or done.stdout!r}")

    return Contender(name=name, once=timed(run), every=every)


def bare_python() -> Contender:
    """What everything else is set in relation to."""
    return command("python3 -I -S", [PYTHON, "-I", "-S", "-c", PRINT])

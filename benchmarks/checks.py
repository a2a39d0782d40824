"""The steps around the run: both validators for a hundred lines, the output check per megabyte, the command's start."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hotcell
from benchmarks.measure import Contender, Row, interleave, milliseconds, timed
from benchmarks.redaction import MB, TYPICAL, milliseconds_per_mb
from benchmarks.subjects import bare_python
from benchmarks.validators import HUNDRED_LINES


def measure(rounds: int) -> Iterator[Row]:
    """The validators and the output check."""
    if not hotcell.check(HUNDRED_LINES).accepted:
        raise RuntimeError("the hundred honest lines are refused")
    check = timed(lambda: hotcell.check(HUNDRED_LINES))
    found = interleave([Contender(name="check", once=check)], rounds)
    yield milliseconds("syntax and policy together, 100 lines", found["check"], most=1.0)
    speeds = {name: milliseconds_per_mb(make(MB), 3) for name, make in TYPICAL.items()}
    ordered = sorted(speeds, key=lambda name: speeds[name])
    for what, name in (("median", ordered[len(ordered) // 2]), ("slowest", ordered[-1])):
        yield Row(
            what=f"output check, {what} of {len(ordered)} typical texts",
            value=speeds[name],
            unit="ms/MB",
            most=10,
            note=name,
        )


def start(rounds: int) -> Iterator[Row]:
    """``hotcell --help`` beside the bare interpreter."""
    command = Path(sys.executable).with_name("hotcell")
    arguments = [str(command)] if command.exists() else [sys.executable, "-m", "hotcell"]

    def run() -> None:
        subprocess.run([*arguments, "--help"], check=True, stdout=subprocess.DEVNULL)

    found = interleave([Contender(name="help", once=timed(run)), bare_python()], rounds)
    middle = sorted(found["python3 -I -S"])[rounds // 2]
    own = found["help"]
    yield milliseconds("hotcell --help", own, most=100, of_python=sorted(own)[rounds // 2] / middle)

"""Touching pages ahead is only about speed, and every fork has random state of its own."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

_SOURCE = Path(__file__).resolve().parents[3] / "src"
_HEAD = """
import json, os, random, sys
from hotcell.sandboxes.local import pages
from hotcell.worker import runner
runner.prepare()
"""


def apart(code: str) -> str:
    """Run it in a process with one thread, as the fork server is; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", _HEAD + code],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(_SOURCE), "PATH": "/usr/bin:/bin", "OPENBLAS_NUM_THREADS": "1"},
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_learned_pages_lie_in_the_process_and_touching_them_changes_nothing() -> None:
    said = apart("""
pages.warm_up([])
ranges = pages.learn([])
# Neighbouring areas are one here: a range may go over the border between two.
areas = []
for line in open("/proc/self/maps", encoding="utf-8", errors="replace"):
    span, rights = line.split()[:2]
    start, end = (int(part, 16) for part in span.split("-"))
    if rights.startswith("rw") and areas and areas[-1][1] == start:
        areas[-1] = (areas[-1][0], end)
    elif rights.startswith("rw"):
        areas.append((start, end))
precious = list(range(100_000))
spans = list(zip(ranges[::2], ranges[1::2]))
assert all(start % pages.PAGE == 0 and size % pages.PAGE == 0 and size > 0 for start, size in spans)
assert all(any(low <= start and start + size <= high for low, high in areas) for start, size in spans), spans
spans.sort()
assert all(a + b < c for (a, b), (c, _) in zip(spans, spans[1:]))
pages.touch(ranges)
pages.touch(ranges)
assert precious == list(range(100_000))
os.write(1, str(len(ranges)).encode())
""")
    assert int(said.split()[-1]) > 0


def test_touching_nothing_or_what_is_not_there_is_harmless() -> None:
    assert (
        apart("""
import array
pages.touch(pages.NOTHING)
pages.touch(array.array("Q", [0, pages.PAGE, 1 << 46, 1 << 20, 3, 5]))
os.write(1, b"alive")
""")
        == "alive"
    )


def test_learning_leaves_no_child_and_no_descriptor() -> None:
    apart("""
before = sorted(os.listdir("/proc/self/fd"))
pages.warm_up([])
pages.learn([])
assert sorted(os.listdir("/proc/self/fd")) == before
try:
    os.waitpid(-1, os.WNOHANG)
    raise AssertionError("a child is left")
except ChildProcessError:
    pass
""")


def test_a_module_that_is_not_there_is_an_import_error() -> None:
    assert (
        apart("""
try:
    pages.warm_up(["no_such_module_anywhere"])
except ImportError as error:
    os.write(1, error.name.encode())
""")
        == "no_such_module_anywhere"
    )


@pytest.mark.threat(39)
@pytest.mark.parametrize(
    "number",
    [
        "random.random()",
        "random.getrandbits(64)",
        "__import__('multiprocessing').process.current_process().authkey.hex()",
        "float(__import__('numpy').random.rand())",
    ],
    ids=["random", "getrandbits", "authkey", "numpy"],
)
def test_two_forks_draw_different_numbers(number: str) -> None:
    pytest.importorskip("numpy")
    said = apart(f"""
import multiprocessing, numpy.random
random.seed(1)
numpy.random.seed(1)
for _ in range(3):
    pages.reseed_libraries()
    reading, writing = os.pipe()
    if not os.fork():
        pages.reseed()
        os.write(1, f"{{{number}}} ".encode())
        os._exit(0)
    os.wait()
""")
    assert len(set(said.split())) == len(said.split()) == 3


def test_reseeding_here_forgets_the_seed() -> None:
    from hotcell.sandboxes.local import pages

    state = random.getstate()
    try:
        random.seed(1)
        expected = random.random()
        random.seed(1)
        pages.reseed()
        assert random.random() != expected
    finally:
        random.setstate(state)


def test_the_address_space_is_measured_in_bytes() -> None:
    from hotcell.sandboxes.local import pages

    total, data = pages.address_space()
    pages_in_total = int(Path(f"/proc/{os.getpid()}/statm").read_text().split()[0])
    assert abs(total - pages_in_total * os.sysconf("SC_PAGE_SIZE")) < 64 << 20
    assert 0 < data < total

"""Deterministic mode in a real process: the same twice where it promises so, and a word where it cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

TRUE = {"seed": 0, "clock_ns": None}
MOMENT = 1_704_067_200_500_000_000  # 2024-01-01T00:00:00.5 UTC
FIXED = {"seed": 0, "clock_ns": MOMENT}
Cell = Callable[..., Any]


def test_without_it_a_report_says_nothing_of_reproduction(cell: Cell) -> None:
    assert "reproducible" not in cell("1").report


@pytest.mark.parametrize(
    "code",
    [
        "import random; [random.random(), random.randint(0, 10**9)]",
        "import random; random.seed(); random.random()",
        "import random; random.Random().random()",
        "import random; random.Random(None).random()",
        "import random; random.SystemRandom().random()",
        "import os; os.urandom(8)",
        "import os; os.getrandom(8)",
        "import secrets; [secrets.token_hex(8), secrets.randbelow(10**9), secrets.choice(range(10**9))]",
        "import uuid; str(uuid.uuid4())",
        "import tempfile; tempfile.mktemp(dir='/')",
        "import string, random; ''.join(random.choices(string.ascii_letters, k=20))",
        "class R(__import__('random').Random): pass\nR().random()",
    ],
)
def test_randomness_is_the_same_each_time_and_another_with_another_seed(cell: Cell, code: str) -> None:
    first, second, other = (cell(code, deterministic={"seed": seed, "clock_ns": None}) for seed in (1, 1, 2))
    assert first.report["value"] == second.report["value"] != other.report["value"]
    assert first.report["reproducible"] is True


def test_randomness_does_not_repeat_itself(cell: Cell) -> None:
    code = "import os, random; [os.urandom(8), os.urandom(8), random.Random().random(), random.Random().random()]"
    assert len(set(cell(code, deterministic=TRUE).report["value"])) == 4


def test_a_generator_that_the_code_seeds_itself_is_as_ever(cell: Cell) -> None:
    code = "import random; r = random.Random(42); random.seed('a'); [r.random(), random.random()]"
    assert cell(code, deterministic=TRUE).report["value"] == cell(code).report["value"]


@pytest.mark.parametrize(
    "code", ["import os; os.urandom(-1)", "import os; os.urandom('1')", "import os; os.getrandom(-1)"]
)
def test_a_wrong_call_is_still_an_error(cell: Cell, code: str) -> None:
    assert cell(code, deterministic=TRUE).report["outcome"] == "error"


CLOCKS = [
    "time.time()",
    "time.time_ns()",
    "time.monotonic()",
    "time.perf_counter()",
    "time.perf_counter_ns()",
    "time.process_time()",
    "time.thread_time()",
    "time.clock_gettime(time.CLOCK_REALTIME)",
    "time.clock_gettime_ns(time.CLOCK_MONOTONIC)",
    "time.localtime()[0]",
    "time.gmtime(None)[0]",
    "time.ctime()",
    "time.asctime()",
    "time.strftime('%Y')",
    "str(datetime.datetime.now())",
    "str(datetime.datetime.now(datetime.timezone.utc))",
    "str(datetime.datetime.utcnow())",
    "str(datetime.datetime.today())",
    "str(datetime.date.today())",
]
IMPORTS = "import datetime, time, uuid, warnings\nwarnings.simplefilter('ignore')\n"


@pytest.mark.parametrize("clock", [*CLOCKS, "str(uuid.uuid1())"])
def test_who_reads_the_true_time_is_seen(cell: Cell, clock: str) -> None:
    assert cell(IMPORTS + clock, deterministic=TRUE).report["reproducible"] is False


@pytest.mark.parametrize("clock", CLOCKS)
def test_a_fixed_clock_says_the_same_each_time(cell: Cell, clock: str) -> None:
    first, second = (cell(IMPORTS + clock, deterministic=FIXED).report for _ in range(2))
    assert first == second
    assert (first["outcome"], first["reproducible"]) == ("ok", True)


@pytest.mark.parametrize(
    "code",
    [
        "from time import *; gmtime(0), ctime(0), asctime(gmtime(0)), strftime('%Y', gmtime(0)), localtime(0.5)",
        "import datetime; str(datetime.datetime(2024, 1, 1) - datetime.timedelta(days=1))",
        "import datetime; str(datetime.datetime.fromtimestamp(0))",
        "import time; time.sleep(0.001)",
        "import asyncio\nasync def f(): await asyncio.sleep(0.001)\nasyncio.run(f())",
        "import queue\ntry: queue.Queue().get(timeout=0.001)\nexcept queue.Empty: pass",
        "import logging",
    ],
)
def test_what_only_handles_times_or_waits_is_not_taken_for_a_look_at_the_clock(cell: Cell, code: str) -> None:
    report = cell(code, deterministic=TRUE).report
    assert (report["outcome"], report["reproducible"]) == ("ok", True)


def test_a_module_of_the_codes_own_that_looks_at_the_clock_is_seen(cell: Cell) -> None:
    code = "open('mine.py', 'w').write('import time; NOW = time.time()')\nimport mine"
    assert cell(code, deterministic=TRUE).report["reproducible"] is False


def test_the_fixed_clock_stands_on_the_moment_for_all_who_ask(cell: Cell) -> None:
    code = """
import time, datetime
from datetime import datetime as D
class Mine(D): pass
assert time.time() == time.time() == 1704067200.5 and time.time_ns() == 1704067200500000000
assert D.now() == datetime.datetime.now() == D.today() == D(2024, 1, 1, 0, 0, 0, 500000), D.now()
assert D.now(datetime.timezone.utc) == D(2024, 1, 1, 0, 0, 0, 500000, tzinfo=datetime.timezone.utc)
assert D.now(tz=datetime.timezone(datetime.timedelta(hours=2))).hour == 2
assert datetime.date.today() == datetime.date(2024, 1, 1)
assert (type(Mine.now()), type(Mine.today()), type(D.now())) == (Mine, Mine, D)
assert time.gmtime()[:6] == (2024, 1, 1, 0, 0, 0) and time.strftime('%Y-%m-%d') == '2024-01-01'
assert time.ctime() == time.asctime() == 'Mon Jan  1 00:00:00 2024'
assert time.clock_gettime(time.CLOCK_REALTIME) == time.time()
assert isinstance(D.now(), D) and repr(D.now()).startswith('datetime.datetime(2024')
"""
    assert cell(code, deterministic=FIXED).report["error"] is None


def test_time_that_passes_passes_by_what_the_code_does_and_not_by_how_long_it_takes(cell: Cell) -> None:
    code = """
import time
began, wall = time.perf_counter(), time.time()
sum(range(10**6))
took = time.perf_counter() - began
assert 0 < took < 1e-5 and 1 / took, took
time.sleep(0.25)
assert time.time() - wall == 0.25 and 0.25 < time.monotonic() < 0.251
"""
    assert cell(code, deterministic=FIXED).report["error"] is None


def test_a_clock_that_stands_keeps_nobody_waiting_for_ever(cell: Cell) -> None:
    code = """
import asyncio, queue, threading, time
async def f():
    await asyncio.sleep(0.01)
    try: await asyncio.wait_for(asyncio.Event().wait(), 0.01)
    except TimeoutError: pass
asyncio.run(f())
try: queue.Queue().get(timeout=0.01)
except queue.Empty: pass
threading.Event().wait(0.01)
end = time.monotonic() + 0.001
while time.monotonic() < end: pass
"""
    assert cell(code, deterministic=FIXED).report["error"] is None


def test_a_class_may_hold_a_clock_as_it_may_hold_a_builtin(cell: Cell) -> None:
    code = "import time\nclass A: now = time.time\n[A().now(), time.time.__name__, repr(A.now)]"
    expected = [1704067200.5, "time", "<built-in function time>"]
    assert cell(code, deterministic=FIXED).report["value"] == expected


@pytest.mark.parametrize(
    "code",
    [
        "import threading; t = threading.Thread(target=int); t.start(); t.join()",
        "import _thread; _thread.start_new_thread(int, ())",
        "from concurrent.futures import ThreadPoolExecutor as T\nwith T() as t: list(t.map(int, [1]))",
        "import os\nif os.fork() == 0: os._exit(0)\nos.wait()",
        "import subprocess; subprocess.run(['true'])",
        "import os; os.system('true')",
        "import os; os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)",
        "open('/dev/urandom', 'rb').read(1)",
        "import os; os.read(os.open('/dev/random', os.O_RDONLY), 1)",
        "open('/proc/self/stat').read()",
    ],
)
def test_what_goes_on_beside_the_code_is_seen(cell: Cell, code: str) -> None:
    report = cell(code, deterministic=FIXED, setup="import warnings; warnings.simplefilter('ignore')\n").report
    assert (report["error"], report["reproducible"]) == (None, False)


NUMPY = "import numpy as np; [np.random.rand(), np.random.default_rng().random(), np.random.RandomState().rand()]"


@pytest.mark.parametrize("setup", ["", "import numpy\n"])
def test_numpy_is_the_same_each_time_whenever_it_was_imported(cell: Cell, setup: str) -> None:
    pytest.importorskip("numpy")
    first, second, other = (
        cell(NUMPY, setup=setup, deterministic={"seed": seed, "clock_ns": None}).report for seed in (1, 1, 2)
    )
    assert first == second
    assert not set(first["value"]) & set(other["value"])
    assert first["reproducible"] is True


def test_the_global_generator_of_numpy_is_as_if_seeded_by_hand(cell: Cell) -> None:
    pytest.importorskip("numpy")
    code = "import numpy as np; np.random.rand()"
    by_hand = cell("import numpy as np; np.random.seed(7); np.random.rand()").report["value"]
    settings = {"seed": 7, "clock_ns": None}
    assert cell(code, setup="import numpy.random\n", deterministic=settings).report["value"] == by_hand


def test_pandas_which_asks_from_c_sees_the_same_time(cell: Cell) -> None:
    pytest.importorskip("pandas")
    code = "import pandas as pd; [str(pd.Timestamp.now()), str(pd.to_datetime('now')), str(pd.Timestamp('today'))]"
    for setup in ("", "import pandas\n"):
        assert cell(code, setup=setup, deterministic=FIXED).report["value"] == ["2024-01-01 00:00:00.500000"] * 3
    assert cell(code, deterministic=TRUE).report["reproducible"] is False


def test_an_error_is_reproduced_too(cell: Cell) -> None:
    report = cell("1 / 0", deterministic=TRUE).report
    assert (report["outcome"], report["reproducible"]) == ("error", True)


def test_a_second_cell_of_the_same_process_begins_anew(cell: Cell) -> None:
    code = """
from hotcell.worker import determinism
import random, os, time
seen = []
for _ in range(2):
    watch = determinism.apply({"seed": 3, "clock_ns": None})
    seen.append([random.random(), os.urandom(4), random.Random().random(), watch.reproducible])
    time.time()
    assert not watch.reproducible
assert seen[0] == seen[1] and seen[0][-1]
"""
    assert cell(code).report["error"] is None

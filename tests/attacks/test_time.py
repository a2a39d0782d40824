"""Time: running for ever, sleeping, ignoring signals, and spreading the CPU time over many processes."""

from __future__ import annotations

import time

import pytest
from observers.cells import ask
from observers.wall import Attack

from hotcell.results import Status
from hotcell.sandboxes.local.sandbox import LocalSandbox

LIMIT = 0.4
ENDLESS = {
    "loop": "while True: pass",
    "loop-in-c": "sum(iter(int, 1))",
    "regex": "import re; re.match('(a+)+$', 'a' * 60 + 'b')",
    "power": "x = 9 ** 9 ** 8",
    "sleep": "import time; time.sleep(60)",
    "pause": "import signal; signal.pause()",
    "deadlock": "import threading\nlock = threading.Lock(); lock.acquire(); lock.acquire()",
    "sleep-with-the-gil": "import ctypes; ctypes.PyDLL(None).sleep(60)",
    "catches-everything": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    "blocks-all-signals": "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: pass",
    "ignores-all-signals": """
import signal
for n in range(1, 65):
    try: signal.signal(n, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True: pass
""",
    "stops-itself": "import os; os.kill(os.getpid(), 19)",
    "thread-outlives-main": "import threading\ndef f():\n    while True: pass\nthreading.Thread(target=f).start()",
    "exit-function": "import atexit\n@atexit.register\ndef f():\n    while True: pass",
    "endless-del": "class A:\n    def __del__(self):\n        while True: pass\na = A(); del a",
    "timers": """
import signal
signal.signal(signal.SIGALRM, lambda *a: None)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
while True: pass
""",
    "reads-the-wire": "import os\nwhile True: os.read(3, 1)",
    "trace": "import sys\ndef f(*a):\n    while True: pass\nsys.settrace(f)\ndef g(): pass\ng()",
}


@pytest.mark.threat("time.endless")
@pytest.mark.parametrize("code", ENDLESS.values(), ids=ENDLESS)
def test_the_clock_outside_ends_it(attack: Attack, code: str) -> None:
    """Whatever the code does, it is over soon after its time."""
    started = time.monotonic()
    outcome = attack(code, timeout_seconds=LIMIT)
    assert time.monotonic() - started < LIMIT + 1.5
    assert outcome.status is Status.TIMEOUT, outcome
    assert outcome.decided_by == "limits"
    assert outcome.usage.wall_seconds == pytest.approx(LIMIT, abs=0.5)


@pytest.mark.threat("time.input")
@pytest.mark.parametrize(
    "code", ["input()", "import sys; sys.stdin.read(); raise EOFError", "import os; 1 / len(os.read(0, 1))"]
)
def test_reading_input_ends_at_once(attack: Attack, code: str) -> None:
    """There is nobody to answer: input is empty, nothing waits."""
    started = time.monotonic()
    outcome = attack(code)
    assert time.monotonic() - started < 2
    assert outcome.status is Status.ERROR


@pytest.mark.threat("time.cpu")
def test_cpu_time_is_limited_apart_from_the_clock(attack: Attack) -> None:
    """CPU time of one process ends at cpu_seconds, long before the wall clock."""
    started = time.monotonic()
    outcome = attack("while True: pass", timeout_seconds=20, cpu_seconds=0.5)
    assert time.monotonic() - started < 6
    assert outcome.status is Status.TIMEOUT
    assert "cpu_seconds" in outcome.reason


@pytest.mark.threat("time.many-children")
@pytest.mark.parametrize("waits", [True, False])
def test_cpu_time_of_children_is_summed(sandbox: LocalSandbox, needs_namespaces: None, waits: bool) -> None:
    """Many short children, waited for or not, cannot use more CPU time together than one process may."""
    code = f"""
import os, time
while True:
    pid = os.fork()
    if pid == 0:
        until = time.process_time() + 0.1
        while time.process_time() < until: pass
        os._exit(0)
    if {waits}: os.waitpid(pid, 0)
    else: time.sleep(0.11)
"""
    started = time.monotonic()
    outcome = ask(sandbox, code, timeout_seconds=20, cpu_seconds=1, processes=64)
    assert outcome.status is Status.TIMEOUT, outcome
    assert "cpu_seconds" in outcome.reason
    assert time.monotonic() - started < 8

"""Nothing of an execution or of a sandbox survives it: no process, mount, group, descriptor, thread or file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import pytest
from observers.cells import ask
from observers.footprint import Footprint, directories, footprint, groups, resting, settles
from observers.processes import descendants, parents

from hotcell.sandboxes.local.sandbox import LocalSandbox

HOSTILE = [
    "import os; os._exit(3)",
    "import os; os.kill(os.getpid(), 9)",
    "import ctypes; ctypes.string_at(0)",
    "x = bytearray(50 << 30)",
    "import os\nfor n in range(8):\n    if os.fork() == 0: os.setsid(); os.fork(); import time; time.sleep(60)",
    "open('/tmp/x', 'wb').write(bytes(1 << 20)); open('/dev/shm/y', 'w').write('x')",
    "while True: print('x' * 10_000)",
    "import threading, time\nfor n in range(5): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    "import os; os.write(3, b'\\xff' * 100)",
    "import os; os.closerange(0, 64)",
    "import ctypes, os; ctypes.CDLL(None).syscall(101, 0, 0, 0, 0)",
    "import os\nwhile True:\n    try:\n        if os.fork() == 0: os._exit(0)\n    except OSError: break",
    "import time; time.sleep(60)",
]


def test_hostile_runs_leave_the_footprint_unchanged() -> None:
    """After two hundred hostile executions the machine holds no more for us than after a few; after close, nothing."""
    before = resting()
    with LocalSandbox(pool_size=2) as sandbox:
        for code in HOSTILE:
            ask(sandbox, code, timeout_seconds=0.1, artifacts=("*",))
        assert sandbox.wait_until_warm()
        warm = footprint()
        # Fork servers are replaced after a crash, so the number of groups varies, and each keeps a few files open.
        most = replace(warm, groups=warm.groups + 4, descriptors=warm.descriptors + 4 * 3)
        for number in range(200):
            ask(sandbox, HOSTILE[number % len(HOSTILE)], timeout_seconds=0.05, artifacts=("*",) if number % 2 else ())
        assert sandbox.wait_until_warm()

        def is_fine(seen: Footprint) -> bool:
            return all(getattr(seen, count.name) <= getattr(most, count.name) for count in fields(Footprint))

        seen = settles(is_fine)
        assert is_fine(seen), (seen, most)
    seen = settles(before.covers)
    assert before.covers(seen), (seen, before)


@pytest.mark.parametrize("level", ["process", "namespace"])
def test_close_leaves_nothing(level: str, sandbox: LocalSandbox, namespaced: bool) -> None:
    """Closing ends every process and takes every directory and group along, also twice and also unused."""
    assert sandbox.wait_until_warm()  # the one that other tests share
    time.sleep(0.2)
    if level == "namespace" and not namespaced:
        pytest.skip("level process: this host refuses namespaces")
    before = resting()
    for _ in range(3):
        ours = LocalSandbox(isolation=level, pool_size=3)
        ours.wait_until_warm()
        ask(ours, "open('left', 'w').write('x')")
        ours.close()
        ours.close()
    LocalSandbox().close()
    seen = settles(before.covers)
    assert before.covers(seen), (seen, before)


SUPERVISOR = """
import os, sys, threading, time
sys.path[:0] = {path!r}
from observers.cells import ask
from hotcell.sandboxes.local.sandbox import LocalSandbox
sandbox = LocalSandbox(pool_size=4, isolation={level!r})
{setup}
print("go", flush=True)
time.sleep(60)
"""
RUNNING = (
    "threading.Thread(target=lambda: ask(sandbox, {code!r}, timeout_seconds=60), daemon=True).start(); time.sleep(0.4)"
)
MOMENTS = {
    "idle pool": "sandbox.wait_until_warm()",
    "running loop": RUNNING.format(code="while True: pass"),
    "ignoring signals": RUNNING.format(
        code="""
import signal
for n in range(1, 32):
    try: signal.signal(n, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True: pass
"""
    ),
    "fork bomb": RUNNING.format(
        code="import os\nwhile True:\n    try: os.fork(); os.setsid()\n    except OSError: pass"
    ),
    "writing files": RUNNING.format(
        code="n = 0\nwhile True:\n    n += 1\n    open(f'f{n % 50}', 'w').write('x' * 1000)"
    ),
    "fresh start": "threading.Thread(target=lambda: sandbox.info, daemon=True).start(); time.sleep(0.05)",
}


@pytest.mark.threat("supervisor.killed")
@pytest.mark.parametrize("level", ["process", "namespace"])
@pytest.mark.parametrize("setup", MOMENTS.values(), ids=MOMENTS)
def test_a_killed_application_takes_everything_along(setup: str, level: str, namespaced: bool) -> None:
    """The application is killed with SIGKILL: two seconds later no process, group or directory of it is left."""
    if level == "namespace" and not namespaced:
        pytest.skip("level process: this host refuses namespaces")
    root = Path(__file__).parents[2]
    script = SUPERVISOR.format(path=[str(root / "src"), str(root / "tests")], level=level, setup=setup)
    application = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert application.stdout
    assert application.stdout.readline() == b"go\n"
    family = descendants(application.pid)
    assert family or "info" in setup
    application.kill()
    application.communicate()
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        alive = set(family) & parents().keys()
        left = alive, groups(application.pid), directories(application.pid)
        if not any(left):
            break
        time.sleep(0.05)
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
    assert left == (set(), frozenset(), frozenset())

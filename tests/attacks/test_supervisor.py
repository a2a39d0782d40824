"""Those around the cell: signals, zombies, orphans, crash loops and slow readers that are meant to hold us up."""

from __future__ import annotations

import os
import threading
import time

import pytest
from observers.cells import NAMED, ask
from observers.processes import named
from observers.wall import Attack

from hotcell.results import Status
from hotcell.sandboxes.local.sandbox import LocalSandbox

AFTER_MAIN = {
    "zombies": """
import os
for _ in range(20):
    try:
        if os.fork() == 0: os._exit(0)
    except OSError: break
""",
    "orphan holds stdout": "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(60)",
    "orphan writes on": "import os\nif os.fork() == 0:\n    while True: os.write(1, b'x')",
    "double fork": """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 64)
        time.sleep(60)
    os._exit(0)
""",
    "daemon thread": "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    "stopped child": "import os, signal\nif os.fork() == 0: os.kill(os.getpid(), signal.SIGSTOP)",
    "child ignores everything": """
import os, signal, time
if os.fork() == 0:
    for n in range(1, 65):
        try: signal.signal(n, signal.SIG_IGN)
        except (OSError, ValueError): pass
    time.sleep(60)
""",
}


@pytest.mark.threat("zombie.orphans")
@pytest.mark.parametrize("code", AFTER_MAIN.values(), ids=AFTER_MAIN)
def test_the_run_ends_when_main_ends(attack: Attack, code: str, needs_namespaces: None) -> None:
    """Children, orphans, zombies and threads that are left do not hold the result up, and are dead when it is there."""
    started = time.monotonic()
    outcome = attack(NAMED.format(name="left-over") + code + "\nprint('main ends')", timeout_seconds=8)
    assert time.monotonic() - started < 2
    assert outcome.status is Status.OK, outcome
    assert "main ends\n" in outcome.stdout
    time.sleep(0.1)  # a cell that is known to be alone in its namespace is condemned, and may be dying still
    assert named("left-over", os.getpid()) == []


SIGNALS = {
    "handlers that loop": """
import signal, ctypes, os
def again(*a): os.kill(os.getpid(), signal.SIGSEGV)
signal.signal(signal.SIGSEGV, again)
ctypes.string_at(0)
""",
    "SIGCHLD ignored": """
import os, signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
try: os.fork() or os._exit(0)
except OSError: pass
while True: pass
""",
    "a storm": """
import os, signal
signal.signal(signal.SIGUSR1, lambda *a: None)
while True: os.kill(os.getpid(), signal.SIGUSR1)
""",
    "alarm taken away": "import signal\nsignal.alarm(0)\nsignal.setitimer(signal.ITIMER_PROF, 0)\nwhile True: pass",
    "SIGXCPU ignored": "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass",
    "faulthandler": """
import faulthandler, signal
faulthandler.enable()
faulthandler.register(signal.SIGTERM)
while True: pass
""",
}


@pytest.mark.threat("signal.handlers")
@pytest.mark.parametrize("code", SIGNALS.values(), ids=SIGNALS)
def test_no_handler_delays_the_end(attack: Attack, code: str) -> None:
    """Whatever signals the code blocks, ignores, handles or sends itself, the end from outside is on time."""
    started = time.monotonic()
    outcome = attack(code, timeout_seconds=0.5)
    assert time.monotonic() - started < 2
    assert outcome.status in (Status.TIMEOUT, Status.KILLED), outcome


@pytest.mark.threat("supervisor.crash-loop")
def test_a_crash_loop_starves_nobody(sandbox: LocalSandbox) -> None:
    """While one caller's code crashes again and again, another's executions go through."""
    stop = threading.Event()

    def crash() -> None:
        while not stop.is_set():
            ask(sandbox, "import ctypes; ctypes.string_at(0)")

    crashing = threading.Thread(target=crash)
    crashing.start()
    try:
        for number in range(20):
            assert ask(sandbox, f"print({number})", timeout_seconds=10).stdout == f"{number}\n"
    finally:
        stop.set()
        crashing.join()


@pytest.mark.threat("supervisor.slow-cell")
def test_a_cell_that_does_not_read_is_ended(attack: Attack) -> None:
    """A cell that leaves a large request unread does not hold the caller beyond its limits."""
    started = time.monotonic()
    outcome = attack("print(len(big))", context={"big": "x" * (20 << 20)}, timeout_seconds=5)
    assert time.monotonic() - started < 6
    assert outcome.status in (Status.OK, Status.MEMORY_LIMIT)
    if outcome.status is Status.OK:
        assert outcome.stdout == f"{20 << 20}\n"


@pytest.mark.threat("results.artifacts")
def test_artifacts_are_bounded_and_never_opened(attack: Attack) -> None:
    """Too many or too large artifacts are passed over with a note; a zip bomb or pickle is bytes and nothing else."""
    outcome = attack(
        """
import pickle, zipfile
class Bomb:
    def __reduce__(self):
        import os
        return os.system, ("touch /tmp/opened",)
pickle.dump(Bomb(), open("a.pkl", "wb"))
with zipfile.ZipFile("bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
    archive.writestr("../../etc/cron.d/x", bytes(10 << 20))
for n in range(30): open(f"n{n:02}", "w").write("x" * 1000)
open("big", "wb").write(bytes(3 << 20))
""",
        artifacts=("*",),
        artifact_count=10,
        artifact_bytes=1 << 20,
    )
    assert outcome.status is Status.OK
    assert len(outcome.artifacts) == 10
    assert sum(item.size for item in outcome.artifacts) <= 1 << 20
    assert outcome.notes
    assert all(len(item.content) == item.size for item in outcome.artifacts)


@pytest.mark.threat("results.artifacts")
def test_artifacts_of_a_cell_that_was_killed_are_safe(attack: Attack) -> None:
    """A cell that changes its files until it is killed gives whole files or none."""
    outcome = attack(
        """
import os
n = 0
while True:
    n += 1
    open('t', 'w').write('x' * 100_000)
    os.rename('t', f'f{n % 5}')
""",
        timeout_seconds=0.4,
        artifacts=("f*",),
    )
    assert outcome.status is Status.TIMEOUT
    assert {item.size for item in outcome.artifacts} <= {100_000}

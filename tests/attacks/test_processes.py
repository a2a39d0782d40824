"""Processes: many of them, other programs, and the processes of others."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest
from observers.cells import RAW, ask
from observers.processes import descendants
from observers.wall import Attack

from hotcell.results import Status
from hotcell.sandboxes.local.sandbox import LocalSandbox


@pytest.mark.threat("proc.fork-bomb")
@pytest.mark.usefixtures("one_bomb_at_a_time")
def test_a_fork_bomb_goes_out(attack: Attack) -> None:
    """A fork bomb is bounded by the process limit, ends in time, and leaves nothing behind."""
    before = set(descendants(os.getpid()))
    started = time.monotonic()
    outcome = attack(
        "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", timeout_seconds=1, processes=32
    )
    assert time.monotonic() - started < 4
    assert outcome.status is Status.TIMEOUT
    assert outcome.usage.processes <= 33
    # Pools refill and fork servers are replaced meanwhile; the bomb alone would be thirty more.
    deadline = time.monotonic() + 5
    while len(set(descendants(os.getpid())) - before) > 16 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(set(descendants(os.getpid())) - before) <= 16


@pytest.mark.threat("proc.threads")
def test_threads_are_bounded(attack: Attack, namespaced: bool) -> None:
    """A hundred thousand threads stop at the process limit, or at the memory for their stacks."""
    outcome = attack(
        """
import threading
stop = threading.Event()
made = 0
try:
    for made in range(100_000):
        threading.Thread(target=stop.wait, daemon=True).start()
except (RuntimeError, MemoryError):
    pass
print(made)
stop.set()
""",
        processes=32,
    )
    assert outcome.status in (Status.OK, Status.MEMORY_LIMIT)
    if outcome.stdout:
        assert int(outcome.stdout) < (32 if namespaced else 5000)


@pytest.mark.threat("proc.shell", "proc.memfd")
def test_no_program_of_the_host_can_be_started(attack: Attack) -> None:
    """No shell, no program out of memory or of a file of the cell's own, also not by way of the dynamic loader."""
    outcome = attack(
        RAW
        + """
import os, shutil, subprocess, sys
def attempt(name, action):
    try:
        if action():
            print("ran", name)
    except (OSError, ValueError, subprocess.SubprocessError):
        pass
for program in ("/bin/sh", "/bin/bash", "/usr/bin/id", "/bin/busybox", "/usr/bin/env", "/usr/bin/perl"):
    attempt(program, lambda: subprocess.run([program, "-c", "true"]).returncode == 0)
def from_memory():
    handle = raw(319, b"x", 0)
    if handle < 0:
        return False
    with open(sys.executable, "rb") as source:
        os.write(handle, source.read())
    return subprocess.run([f"/proc/self/fd/{handle}", "-c", "pass"], pass_fds=[handle]).returncode == 0
def from_file():
    with open("/tmp/program", "wb") as file:
        file.write(b"#!" + sys.executable.encode() + b"\\nprint('hello')")
    os.chmod("/tmp/program", 0o700)
    return subprocess.run(["/tmp/program"]).returncode == 0
def from_copy():
    shutil.copyfile(os.path.realpath(sys.executable), "/tmp/copy")
    os.chmod("/tmp/copy", 0o700)
    return subprocess.run(["/tmp/copy", "-c", "pass"]).returncode == 0
def by_loader():
    shutil.copyfile(os.path.realpath(sys.executable), "/tmp/copy")
    return subprocess.run(["/lib64/ld-linux-x86-64.so.2", "/tmp/copy", "-c", "pass"]).returncode == 0
for action in (from_memory, from_file, from_copy, by_loader):
    attempt(action.__name__, action)
"""
    )
    assert outcome.status is Status.OK, outcome
    assert outcome.stdout == ""


@pytest.mark.threat("proc.signals")
def test_signals_reach_nobody_else(sandbox: LocalSandbox) -> None:
    """kill(-1), kill(1), the parent, every process group and every number up to 5000: neighbours and we live on."""
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"], stdin=subprocess.DEVNULL)
    outcomes = []
    neighbour = threading.Thread(
        target=lambda: outcomes.append(ask(sandbox, "import time; time.sleep(1); print('well')"))
    )
    neighbour.start()
    time.sleep(0.2)
    try:
        attacker = ask(
            sandbox,
            """
import os
me = os.getpid()
for pid in [os.getppid(), 0, -1, *targets, *range(1, 5000), *range(-5000, -1)]:
    if pid in (me, 0, -1, -me) and pid != 1:
        continue
    for send in (lambda: os.kill(pid, 9), lambda: os.killpg(abs(pid), 9)):
        try: send()
        except OSError: pass
print("done", flush=True)
os.kill(-1, 9)
""",
            context={"targets": [os.getpid(), os.getppid(), bystander.pid, *descendants(os.getpid())]},
        )
        neighbour.join()
        assert attacker.stdout.endswith("done\n") or attacker.status is Status.KILLED
        assert bystander.poll() is None
        assert outcomes[0].status is Status.OK
        assert outcomes[0].stdout == "well\n"
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.threat("proc.limits-of-others")
def test_limits_of_others_cannot_be_changed(attack: Attack) -> None:
    """prlimit, priorities and affinity of the application stay what they are."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_CORE), os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0)
    attack(
        """
import os, resource
for pid in [target, os.getppid(), 1]:
    for action in (
        lambda: resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0)),
        lambda: os.setpriority(os.PRIO_PROCESS, pid, 19),
        lambda: os.setpriority(os.PRIO_USER, os.getuid(), 19),
        lambda: os.sched_setaffinity(pid, {0}),
    ):
        try: action()
        except OSError: pass
""",
        context={"target": os.getpid()},
    )
    after = resource.getrlimit(resource.RLIMIT_CORE), os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0)
    assert after == before


@pytest.mark.threat("proc.memory-of-others")
@pytest.mark.parametrize(
    "call",
    [
        "raw(101, 16, {pid}, 0, 0)",
        "raw(310, {pid}, b'x' * 64, 1, b'x' * 64, 1, 0)",
        "raw(311, {pid}, b'x' * 64, 1, b'x' * 64, 1, 0)",
    ],
    ids=["ptrace", "process_vm_readv", "process_vm_writev"],
)
def test_reaching_into_another_process_is_fatal(attack: Attack, call: str) -> None:
    """ptrace and process_vm_* kill the cell, whatever process it names."""
    outcome = attack(RAW + call.format(pid=os.getpid()))
    assert outcome.status is Status.KILLED
    assert "system call" in outcome.reason


@pytest.mark.threat("proc.memory-of-others", "theft.proc")
def test_nobodys_memory_can_be_opened(attack: Attack) -> None:
    """/proc/1/mem, the application's and every other number's files about it are closed."""
    outcome = attack(
        """
import os
for pid in [1, os.getppid(), *targets, *range(3, 300)]:
    if pid == os.getpid():
        continue
    for name in ("mem", "environ", "maps", "cmdline", "auxv", "stack", "status"):
        try:
            with open(f"/proc/{pid}/{name}", "rb") as file:
                print("opened", pid, name, file.read(50))
        except (OSError, ValueError):
            pass
""",
        context={"targets": [os.getpid(), *descendants(os.getpid())]},
    )
    assert outcome.status is Status.OK
    assert outcome.stdout == ""

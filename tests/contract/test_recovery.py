"""When a part of the machinery dies or runs dry: a clear exception or a slower answer, then it works again."""

from __future__ import annotations

import asyncio
import concurrent.futures
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from observers.cells import ask
from observers.processes import descendants, fork_server_of

from hotcell.errors import ConfigurationError, HotcellError, PoolExhausted, SandboxCrashed
from hotcell.results import Status
from hotcell.sandboxes.base import Cancellation
from hotcell.sandboxes.local.sandbox import LocalSandbox


@pytest.mark.threat("supervisor.fork-server-killed")
def test_the_fork_server_dies_while_idle() -> None:
    """The next call is slower and works."""
    with LocalSandbox(pool_size=2) as sandbox:
        os.kill(fork_server_of(sandbox), signal.SIGKILL)
        time.sleep(0.2)
        assert ask(sandbox, "print(1)").stdout == "1\n"
        assert ask(sandbox, "print(2)").stdout == "2\n"


@pytest.mark.threat("supervisor.fork-server-killed")
def test_the_fork_server_dies_under_a_run() -> None:
    """The run that was in it raises SandboxCrashed at once; the next one works."""
    with LocalSandbox(pool_size=2) as sandbox:
        server = fork_server_of(sandbox)
        killer = threading.Timer(0.3, os.kill, (server, signal.SIGKILL))
        killer.start()
        started = time.monotonic()
        with pytest.raises(SandboxCrashed, match="fork server"):
            ask(sandbox, "import time; time.sleep(5)", timeout_seconds=8)
        assert time.monotonic() - started < 3
        assert ask(sandbox, "print(2)").stdout == "2\n"


@pytest.mark.threat("supervisor.fork-server-killed")
def test_the_launcher_dies() -> None:
    """The process above the fork server dies: the fork server goes with it, and the next call works."""
    with LocalSandbox(pool_size=2) as sandbox:
        sandbox.wait_until_warm()
        sandbox._pool.server._process.kill()
        time.sleep(0.3)
        assert ask(sandbox, "print(2)").stdout == "2\n"


def test_repeated_crashes_do_not_pile_up() -> None:
    """Five times killed, five times recovered; nothing is left of any fork server or launcher."""
    seen: set[int] = set()
    with LocalSandbox(pool_size=1) as sandbox:
        for _ in range(5):
            launcher = sandbox._started().server._process.pid
            seen |= {launcher, *descendants(launcher)}
            os.kill(fork_server_of(sandbox), signal.SIGKILL)
            time.sleep(0.1)  # one that dies while the request is under way is reported, as the code may have begun
            assert ask(sandbox, "print(3)").stdout == "3\n"
    deadline = time.monotonic() + 10  # a killed server's launcher removes its groups and ends
    while any(os.path.exists(f"/proc/{pid}") for pid in seen) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [pid for pid in seen if os.path.exists(f"/proc/{pid}")] == []


DRY = """
import os, resource, sys, time
sys.path[:0] = {path!r}
from observers.cells import ask
from hotcell.errors import PoolExhausted
from hotcell.sandboxes.local.sandbox import LocalSandbox
with LocalSandbox(pool_size=0) as sandbox:
    assert ask(sandbox, "print(1)").stdout == "1\\n"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held, outcomes = [], []
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    for _ in range(5):
        time.sleep(0.05)  # the last cell's descriptors come back
        try:
            while True: held.append(os.open("/dev/null", os.O_RDONLY))
        except OSError: pass
        try: outcomes.append(ask(sandbox, "print(2)").stdout)
        except PoolExhausted as error: outcomes.append("exhausted")
    print(outcomes, flush=True)
    assert set(outcomes) == {{"exhausted"}}
    for handle in held: os.close(handle)
    for _ in range(5):
        assert ask(sandbox, "print(3)").stdout == "3\\n"
    print("recovered", flush=True)
"""


@pytest.mark.threat("supervisor.descriptors")
def test_running_out_of_descriptors() -> None:
    """An application without a free descriptor is told PoolExhausted, and goes on when it has some again."""
    root = Path(__file__).parents[2]
    script = DRY.format(path=[str(root / "src"), str(root / "tests")])
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("recovered\n")


@pytest.mark.threat("supervisor.many-at-once")
def test_two_hundred_at_once(sandbox: LocalSandbox) -> None:
    """Two hundred calls from as many threads: each gets its own answer."""
    with concurrent.futures.ThreadPoolExecutor(200) as threads:
        answers = list(threads.map(lambda n: ask(sandbox, f"print({n})", timeout_seconds=20).stdout, range(200)))
    assert answers == [f"{n}\n" for n in range(200)]


def _in_child(sandbox: LocalSandbox, queue: multiprocessing.Queue) -> None:
    queue.put([ask(sandbox, f"print('child', {n})").stdout for n in range(3)])
    sandbox.close()


@pytest.mark.threat("supervisor.forks")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_the_application_forks() -> None:
    """After a fork, parent and child each get their own answers from fork servers of their own."""
    with LocalSandbox(pool_size=2) as sandbox:
        sandbox.wait_until_warm()
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        children = [context.Process(target=_in_child, args=(sandbox, queue)) for _ in range(2)]
        for child in children:
            child.start()
        assert [ask(sandbox, f"print({n})").stdout for n in range(5)] == [f"{n}\n" for n in range(5)]
        answers = [queue.get(timeout=20) for _ in children]
        for child in children:
            child.join(20)
            assert child.exitcode == 0
        assert answers == [[f"child {n}\n" for n in range(3)]] * 2
        assert ask(sandbox, "print('after')").stdout == "after\n"


@pytest.mark.threat("supervisor.forks")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_the_application_forks_in_the_middle_of_a_run() -> None:
    """A fork while cells run: the child's exit neither ends nor disturbs the parent's executions."""
    with LocalSandbox(pool_size=1) as sandbox:
        outcomes = []
        running = threading.Thread(
            target=lambda: outcomes.append(ask(sandbox, "import time; time.sleep(0.6); print('well')"))
        )
        running.start()
        time.sleep(0.2)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = 0 if ask(sandbox, "print('child')").stdout == "child\n" else 2
                sandbox.close()
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        running.join()
        assert os.waitstatus_to_exitcode(status) == 0
        assert outcomes[0].stdout == "well\n"
        assert ask(sandbox, "print('after')").stdout == "after\n"


def test_asyncio_runs_many(sandbox: LocalSandbox) -> None:
    """Under asyncio, by threads, many executions go on at once and the loop stays free."""

    async def main() -> list[str]:
        calls = [asyncio.to_thread(ask, sandbox, f"import time; time.sleep(0.1); print({n})") for n in range(8)]
        return [outcome.stdout for outcome in await asyncio.gather(*calls)]

    assert asyncio.run(main()) == [f"{n}\n" for n in range(8)]


@pytest.mark.threat("time.cancel")
@pytest.mark.parametrize("code", ["while True: pass", "import time; time.sleep(60)", "while True: print(1)"])
def test_cancelling_takes_effect_at_once(sandbox: LocalSandbox, code: str) -> None:
    """A cancelled execution is gone within a tenth of a second, and says so."""
    cancellation = Cancellation()
    moment = []

    def cancel() -> None:
        moment.append(time.monotonic())
        cancellation.cancel()

    threading.Timer(0.2, cancel).start()
    outcome = ask(sandbox, code, cancellation=cancellation, timeout_seconds=10, output_bytes=1 << 30)
    assert time.monotonic() - moment[0] < 0.15
    assert outcome.status is Status.CANCELLED
    assert outcome.decided_by == "caller"


def test_cancelled_before_it_starts(sandbox: LocalSandbox) -> None:
    cancellation = Cancellation()
    cancellation.cancel()
    assert ask(sandbox, "print(1)", cancellation=cancellation).status is Status.CANCELLED


def test_closing_while_something_runs() -> None:
    """Closing ends what runs: the call returns or raises an error of ours, soon, and nothing is left."""
    sandbox = LocalSandbox(pool_size=2)
    sandbox.wait_until_warm()
    ends: list[object] = []

    def run() -> None:
        try:
            ends.append(ask(sandbox, "import time; time.sleep(30)", timeout_seconds=30))
        except HotcellError as error:
            ends.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    launcher = sandbox._started().server._process.pid
    ours = {launcher, *descendants(launcher)}
    started = time.monotonic()
    sandbox.close()
    for thread in threads:
        thread.join(10)
    assert time.monotonic() - started < 5
    assert len(ends) == 3
    assert [pid for pid in ours if os.path.exists(f"/proc/{pid}")] == []
    with pytest.raises(ConfigurationError, match="closed"):
        ask(sandbox, "print(1)")


@pytest.mark.threat("supervisor.host-limits")
def test_a_start_that_fails_is_told_and_can_be_repeated() -> None:
    """A module that cannot be imported, or that ends the process, is a clear error each time."""
    with LocalSandbox(preload=["no_such_module_here"]) as sandbox:
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="no_such_module_here"):
                ask(sandbox, "print(1)")


def test_the_soft_limit_of_descriptors_is_not_ours_to_change() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with LocalSandbox(pool_size=1) as sandbox:
        ask(sandbox, "print(1)")
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
    assert PoolExhausted.__mro__[1].__name__ == "SandboxError"


INTERRUPTED = """
import os, random, signal, sys, threading, time
sys.path[:0] = {path!r}
from observers.cells import ask
from hotcell.sandboxes.local.sandbox import LocalSandbox

class Interrupted(BaseException): pass
def interrupt(*_): raise Interrupted
signal.signal(signal.SIGALRM, interrupt)
random.seed(7)
with LocalSandbox(pool_size=2) as sandbox:
    ask(sandbox, "1")
    sandbox.wait_until_warm()
    time.sleep(0.3)
    before = len(os.listdir("/proc/self/fd"))
    interrupted = 0
    for number in range(150):
        sandbox.wait_until_warm()
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0002, 0.006))
            ask(sandbox, "while True: pass" if number % 2 else "print(1)", timeout_seconds=0.5)
            signal.setitimer(signal.ITIMER_REAL, 0)
        except Interrupted:
            interrupted += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert interrupted > 20, interrupted
    assert ask(sandbox, "print(2)").stdout == "2\\n"
    sandbox.wait_until_warm()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and (sandbox._pool._held or len(os.listdir("/proc/self/fd")) > before + 16):
        time.sleep(0.05)
    assert not sandbox._pool._held
    # A single descriptor is lost when the exception comes between the kernel's answer and Python's assignment.
    assert len(os.listdir("/proc/self/fd")) <= before + 16, (before, len(os.listdir("/proc/self/fd")))
print("clean")
"""


@pytest.mark.threat("supervisor.interrupted")
def test_an_exception_out_of_a_signal_handler_leaves_nothing_behind() -> None:
    """Ctrl-C, a worker's soft time limit: at whatever moment it comes, no cell runs on and no descriptor is lost."""
    root = Path(__file__).parents[2]
    script = INTERRUPTED.format(path=[str(root / "src"), str(root / "tests")])
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("clean\n")

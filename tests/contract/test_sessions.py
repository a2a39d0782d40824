"""A session keeps its state between calls, survives what a person expects it to, and says why when it does not."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from observers.cells import NAMED
from observers.footprint import Footprint, descriptors_settle, footprint, resting, settles
from observers.opened import Opener, value
from observers.processes import fork_server_of, named

from hotcell.config import SandboxConfig
from hotcell.errors import ConfigurationError, SessionLost
from hotcell.events import Finished, Stdout
from hotcell.executor import Executor
from hotcell.lifetimes import Lifetime
from hotcell.policy import Policy
from hotcell.results import ExecutionResult, Status
from hotcell.sandboxes.base import Cancellation
from hotcell.sandboxes.local.sandbox import LocalSandbox
from hotcell.sandboxes.restricted import RestrictedPythonSandbox
from hotcell.sessions import Session

# State.


def test_variables_imports_functions_and_classes_live_on(session: Session) -> None:
    session.execute("import math as m\nx = [1]\ndef f(n): return x[0] + n\nclass A:\n    y = 5")
    session.execute("x.append(2)\nx[0] = 40\na = A()")
    assert value(session.execute("[x, f(2), m.floor(2.5), a.y, isinstance(a, A)]")) == [[40, 2], 42, 2, 5, True]


def test_open_files_the_work_directory_and_the_environment_live_on(session: Session) -> None:
    session.execute("import os\nfile = open('log', 'w+')\nos.mkdir('d'); os.chdir('d')\nos.environ['A'] = 'b'")
    session.execute("file.write('hello')")
    found = value(session.execute("file.seek(0); [file.read(), sorted(os.listdir('..')), os.environ['A']]"))
    assert found == ["hello", ["d", "log"], "b"]


def test_context_and_files_come_with_any_call(session: Session) -> None:
    assert value(session.execute("n + 1", context={"n": 1})) == 2
    assert value(session.execute("n + k", context={"k": 10})) == 11
    assert value(session.execute("n", context={"n": 5})) == 5
    session.execute("1", files={"a/b.txt": b"first"})
    session.execute("1", files={"a/b.txt": b"second, longer"})
    assert value(session.execute("open('a/b.txt').read()")) == "second, longer"


def test_artifacts_come_with_any_call(session: Session) -> None:
    session.execute("open('kept.txt', 'w').write('1')")
    result = session.execute("open('new.txt', 'w').write('2')", artifacts=["*.txt"])
    assert {item.name: item.content for item in result.artifacts} == {"kept.txt": b"1", "new.txt": b"2"}


def test_the_variable_result_of_an_earlier_cell_is_not_the_value_of_a_later_one(session: Session) -> None:
    assert value(session.execute("result = 5")) == 5
    assert session.execute("x = 1").value is None
    assert session.execute("print(result)").stdout == "5\n"
    assert value(session.execute("result = 6")) == 6
    assert session.execute("x = 2").value is None


def test_what_one_cell_redefines_does_not_break_the_session(session: Session) -> None:
    session.execute("import sys, builtins\nprint = len = None\nsys.stdout = None\nbuiltins.open = None")
    result = session.execute("1 + 1")
    assert value(result) == 2


def test_each_call_has_its_own_output_and_usage(session: Session) -> None:
    assert session.execute("print('a' * 100)").usage.output_bytes == 101
    second = session.execute("print('b')")
    assert (second.stdout, second.usage.output_bytes) == ("b\n", 2)
    busy = session.execute("import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass")
    assert 0.25 < busy.usage.cpu_seconds < 1
    assert session.execute("1").usage.cpu_seconds < 0.2


def test_the_peak_of_memory_is_each_calls_own(session: Session) -> None:
    big = session.execute("x = bytearray(100 << 20); del x")
    assert big.usage.peak_memory_bytes > 90 << 20
    assert session.execute("1").usage.peak_memory_bytes < 60 << 20


def test_a_thousand_calls(session: Session) -> None:
    session.execute("n = 0\nseen = []")
    before = resting().descriptors
    for number in range(1000):
        session.execute("n += 1", context={"k": number})
    assert value(session.execute("n, k")) == [1000, 999]
    assert descriptors_settle(before + 16) <= before + 16


def test_refused_code_is_no_cell_and_changes_nothing(sandbox: LocalSandbox) -> None:
    with Executor(sandbox).session() as session:
        session.execute("x = 1")
        assert session.execute("x = 2\nimport subprocess").status is Status.REJECTED
        assert value(session.execute("x")) == 1
        error = session.execute("1 / 0").error
        assert error
        assert error.cell == 3


def test_what_the_policy_takes_away_stays_away(sandbox: LocalSandbox) -> None:
    with Executor(sandbox, policy=Policy.strict()).session() as session:
        session.execute("x = 1")
        for _ in range(2):
            error = session.execute("getattr(__builtins__, 'op' + 'en', None) or __builtins__['op' + 'en']('x')").error
            assert error is None or "strict" in error.message or "not" in error.message


# Errors.


def error_of(result: ExecutionResult) -> Any:
    assert result.status is Status.ERROR
    assert result.error
    return result.error


def test_errors_name_the_cell_and_the_line(session: Session) -> None:
    session.execute("x = 1")
    session.execute("y = 2")
    error = error_of(session.execute("a = 1\nb = a / 0"))
    assert (error.cell, error.line, error.source_line) == (3, 2, "b = a / 0")
    assert "  Cell 3, line 2, in <module>\n    b = a / 0\n" in error.traceback


def test_an_error_in_a_function_of_another_cell_shows_both(session: Session) -> None:
    session.execute("def f(x):\n    y = 1\n    return y / x")
    session.execute("z = 0")
    session.files.write("data.csv", b"1")
    session.execute("pass")
    error = error_of(session.execute("\nf(z)"))
    assert (error.cell, error.line, error.source_line) == (1, 3, "return y / x")
    assert "Cell 4, line 2, in <module>\n    f(z)\n" in error.traceback
    assert "Cell 1, line 3, in f\n    return y / x\n" in error.traceback
    assert "hotcell" not in error.traceback


def test_a_syntax_error_that_only_the_compiler_sees_names_its_cell(session: Session) -> None:
    session.execute("x = 1")
    error = error_of(session.execute("y = 2\nreturn 5"))
    assert (error.type, error.cell, error.line) == ("SyntaxError", 2, 2)
    assert "Cell 2, line 2\n" in error.traceback


def test_sources_can_be_found_by_the_code_itself(session: Session) -> None:
    session.execute("def f():\n    return 1")
    assert value(session.execute("import inspect\ninspect.getsource(f)")) == "def f():\n    return 1\n"


@pytest.mark.parametrize("code", ["import sys; sys.exit(3)", "exit(3)", "raise SystemExit(3)"])
def test_an_exit_ends_the_cell_and_not_the_session(session: Session, code: str) -> None:
    session.execute("x = 1")
    assert session.execute(code).reason == "The code exited with code 3."
    assert value(session.execute("x")) == 1


# Await.


def test_top_level_await(session: Session) -> None:
    session.execute("import asyncio\nasync def f(x):\n    await asyncio.sleep(0)\n    return x + 1")
    assert value(session.execute("y = await f(1)\nawait f(y)")) == 3
    assert value(session.execute("y")) == 2


def test_async_for_and_async_with_at_top_level(session: Session) -> None:
    code = """
import contextlib
async def count():
    for n in range(3): yield n
@contextlib.asynccontextmanager
async def held():
    yield 'held'
seen = []
async for n in count(): seen.append(n)
async with held() as what: seen.append(what)
[*seen, *[n async for n in count()]]
"""
    assert value(session.execute(code)) == [0, 1, 2, "held", 0, 1, 2]


def test_tasks_live_on_and_go_on_with_the_next_await(session: Session) -> None:
    session.execute("import asyncio\nasync def work():\n    for n in range(3): seen.append(n); await asyncio.sleep(0)")
    session.execute("seen = []\ntask = asyncio.create_task(work())\nawait asyncio.sleep(0)")
    assert value(session.execute("await task\nseen")) == [0, 1, 2]


def test_an_exception_in_an_await_names_its_line(session: Session) -> None:
    session.execute("import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    raise LookupError('gone')")
    error = error_of(session.execute("x = 1\nawait f()"))
    assert (error.type, error.cell, error.line) == ("LookupError", 1, 4)
    assert "Cell 2, line 2" in error.traceback
    assert value(session.execute("await asyncio.sleep(0, 'fine')")) == "fine"


def test_asyncio_run_works_beside_it(session: Session) -> None:
    session.execute("import asyncio\nasync def f(): return 5")
    assert value(session.execute("asyncio.run(f())")) == 5
    assert value(session.execute("await f()")) == 5


def test_await_works_in_a_single_execution_too(executor: Executor) -> None:
    assert value(executor.execute("import asyncio\nawait asyncio.sleep(0, 7)")) == 7


# Limits: interrupted, and the state stays.


def interrupted(session: Session, code: str, status: Status = Status.TIMEOUT, **limits: Any) -> ExecutionResult:
    """Run code that reaches a limit and obeys; the state must stay."""
    session.execute("kept = 41")
    result = session.execute(code, config=session.config.replace(**{"timeout_seconds": 0.3, **limits}))
    assert result.status is status, result.reason
    assert result.notes == ()
    assert session.lost == ""
    assert value(session.execute("kept + 1")) == 42
    return result


SHIELDED = """
import asyncio
async def f():
    while True:
        try: await asyncio.sleep(1)
        except asyncio.CancelledError: pass
await f()
"""


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "import time\ntime.sleep(60)",
        "import threading\nthreading.Event().wait()",
        "import asyncio\nawait asyncio.sleep(60)",
        "import asyncio\nasync def f():\n    while True: pass\nawait f()",
        "import os\nos.read(os.pipe()[0], 1)",
        "sum(n for n in range(10**12))",
        "n = 0\ntry:\n    n += 1\n    while True: n += 1\nfinally:\n    tidy = True",
        SHIELDED,
    ],
)
def test_code_past_its_time_is_interrupted_and_the_state_stays(session: Session, code: str) -> None:
    result = interrupted(session, code)
    assert result.error
    assert result.error.type == "KeyboardInterrupt"
    assert "hotcell" not in result.error.traceback
    if code != SHIELDED:  # a task that would not be cancelled is left behind, wherever it was
        assert result.error.cell == 2


def test_a_loop_of_numpys_is_interrupted(data_sandbox: LocalSandbox) -> None:
    with Executor(data_sandbox, policy=Policy.permissive()).session() as session:
        interrupted(session, "import numpy as np\na = np.random.rand(300, 300)\nwhile True: a = a @ a / 100")


def test_an_interrupted_cell_keeps_what_it_made_and_may_clean_up(session: Session) -> None:
    code = """
made = 0
try:
    made += 1
    while True: made += 1
except KeyboardInterrupt:
    print("stopping")
    end = 1
"""
    result = interrupted(session, code)
    assert result.stdout == "stopping\n"
    assert value(session.execute("made > 1, end")) == [True, 1]


def test_cpu_time_counts_for_each_call(session: Session) -> None:
    busy = "import time\nend = time.process_time() + {seconds}\nwhile time.process_time() < end: pass"
    for _ in range(3):
        assert session.execute(busy.format(seconds=0.3), config=session.config.replace(cpu_seconds=0.8)).success
    result = interrupted(session, busy.format(seconds=5), timeout_seconds=10, cpu_seconds=0.5)
    assert "cpu_seconds=0.5" in result.reason


def test_an_output_limit_is_survived(session: Session) -> None:
    result = interrupted(
        session, "while True: print('x' * 1000)", Status.OUTPUT_LIMIT, timeout_seconds=10, output_bytes=10_000
    )
    assert len(result.stdout) == 10_000
    assert session.execute("print('y')").stdout == "y\n"


def test_a_refused_allocation_is_survived(session: Session) -> None:
    session.execute("kept = 41")
    assert session.execute("x = bytearray(1 << 40)").status is Status.MEMORY_LIMIT
    assert session.execute("x = [bytearray(50 << 20) for _ in range(1000)]").status is Status.MEMORY_LIMIT
    assert value(session.execute("kept + 1")) == 42


def test_cancelling_interrupts_and_the_state_stays(session: Session) -> None:
    session.execute("x = 1")
    cancellation = Cancellation()
    threading.Timer(0.3, cancellation.cancel).start()
    assert session.execute("x = 2\nwhile True: pass", cancellation=cancellation).status is Status.CANCELLED
    assert value(session.execute("x")) == 2


def test_an_interrupt_at_any_moment_leaves_the_session_whole(session: Session) -> None:
    """The limit falls before the code begins, inside it and after its end, in turn."""
    session.execute("kept = 41")
    for number in range(60):
        cancellation = Cancellation()
        timer = threading.Timer(0.02 + number / 5000, cancellation.cancel)
        timer.start()
        code = "import time\nend = time.monotonic() + 0.03\nwhile time.monotonic() < end: pass"
        assert session.execute(code, cancellation=cancellation).status in (Status.OK, Status.CANCELLED)
        timer.join()
        assert session.lost == ""
    assert value(session.execute("kept + 1")) == 42


def test_a_late_interrupt_is_not_the_next_calls(session: Session) -> None:
    for _ in range(30):
        session.execute("import time\ntime.sleep(0.01)", config=session.config.replace(timeout_seconds=0.011))
        assert value(session.execute("sum(range(20_000)) > 0"))


# Limits: not obeyed, and the state is lost.

# An interrupt in the very first instruction of a ``try`` is outside of it (CPython 3.11): hence the statement before.
STUBBORN = {
    "swallows it": """
n = 0
while True:
    try:
        n += 1
        while True: n += 1
    except KeyboardInterrupt: pass
""",
    "ignores it": "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
    "handles it": "import signal\nsignal.signal(signal.SIGINT, lambda *a: None)\nwhile True: pass",
    "blocks it": "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\nwhile True: pass",
    "dies of it": "import signal\nsignal.signal(signal.SIGINT, signal.SIG_DFL)\nwhile True: pass",
    "leaves on it": """
import os
n = 0
try:
    n += 1
    while True: n += 1
except KeyboardInterrupt: os._exit(0)
""",
    "one long call": "import hashlib\nhashlib.pbkdf2_hmac('sha256', b'a', b'b', 10 ** 8)",
}


@pytest.mark.parametrize("code", STUBBORN.values(), ids=STUBBORN)
def test_code_that_does_not_obey_is_killed_and_says_that_the_state_is_lost(session: Session, code: str) -> None:
    session.execute("x = 1")
    result = session.execute(code, config=session.config.replace(timeout_seconds=0.3))
    assert result.status is Status.TIMEOUT
    (note,) = result.notes
    assert "state is lost" in note
    with pytest.raises(SessionLost, match="did not obey") as lost:
        session.execute("x")
    assert lost.value.reason == "timeout"
    assert "did not obey" in session.lost


def lost_in(session: Session, code: str, status: Status, reason: str, **limits: Any) -> ExecutionResult:
    """Run code that the session does not survive; every way to use it then says why."""
    session.execute("x = 1")
    result = session.execute(code, config=session.config.replace(**limits))
    assert result.status is status, result.reason
    assert any("state is lost" in note for note in result.notes)
    for use in (
        lambda: session.execute("x"),
        lambda: list(session.stream("x")),
        lambda: session.files.list(),
        lambda: session.files.read("x"),
        lambda: session.files.write("x", b""),
        lambda: session.files.delete("x"),
        lambda: asyncio.run(session.aexecute("x")),
    ):
        with pytest.raises(SessionLost) as lost:
            use()
        assert lost.value.reason == reason
        assert str(lost.value).startswith("The session is gone: ") and str(lost.value).endswith(" Open a new one.")
    assert session.lost
    session.close()
    return result


@pytest.mark.parametrize("number", [9, 11, 6, 15])
def test_a_signal_to_itself_loses_it(session: Session, number: int) -> None:
    lost_in(session, f"import os\nos.kill(os.getpid(), {number})", Status.KILLED, "killed")


def test_a_segmentation_fault_loses_it(session: Session) -> None:
    lost_in(session, "import ctypes\nctypes.string_at(0)", Status.KILLED, "killed")


def test_a_forbidden_system_call_loses_it(session: Session) -> None:
    result = lost_in(session, "import ctypes\nctypes.CDLL(None).ptrace(0, 0, 0, 0)", Status.KILLED, "killed")
    assert "ptrace" in result.reason


def test_leaving_the_process_loses_it(session: Session) -> None:
    lost_in(session, "import os\nprint('bye')\nos._exit(3)", Status.ERROR, "exit")


def test_the_kernels_memory_killer_loses_it(sandbox: LocalSandbox, session: Session) -> None:
    if "memory-group" not in sandbox.info.layers:
        pytest.skip("this host gives no memory groups")
    code = "import mmap\nm = mmap.mmap(-1, 1 << 30)\nfor n in range(0, 1 << 30, 4096): m[n] = 1"
    lost_in(session, code, Status.MEMORY_LIMIT, "memory")


def test_a_broken_wire_loses_it(session: Session) -> None:
    lost_in(session, "import os\nos.write(3, b'\\xff' * 100)", Status.KILLED, "killed")


def test_a_crash_of_one_session_is_no_matter_to_another(opened: Opener) -> None:
    first, second = opened(), opened()
    second.execute("x = 1")
    first.execute("import os\nos.kill(os.getpid(), 9)")
    assert value(second.execute("x")) == 1


# Between the calls.

COUNTING = """
import time
ticks = 0
def count():
    global ticks
    while True: ticks += 1; time.sleep(0.001)
"""


def test_a_background_thread_stands_still_between_calls_and_goes_on_in_the_next(session: Session) -> None:
    session.execute(COUNTING + "import threading\nthreading.Thread(target=count, daemon=True).start()")
    first = value(session.execute("ticks"))
    time.sleep(0.5)
    second = value(session.execute("ticks"))
    assert second - first < 100
    assert value(session.execute("time.sleep(0.3)\nticks")) - second > 50


@pytest.mark.usefixtures("needs_namespaces")
def test_a_child_process_stands_still_between_calls_and_goes_on_in_the_next(session: Session) -> None:
    code = "import os, time\nif os.fork() == 0:\n    while True: open('ticks', 'a').write('x'); time.sleep(0.001)"
    session.execute(code + "\ntime.sleep(0.1)")
    first = len(session.files.read("ticks"))
    time.sleep(0.5)
    assert len(session.files.read("ticks")) == first > 0
    session.execute("time.sleep(0.3)")
    assert len(session.files.read("ticks")) > first + 50


def test_what_is_written_between_two_calls_comes_with_the_next(session: Session) -> None:
    code = "import threading, time\ndef late():\n    time.sleep(0.2)\n    print('late', flush=True)\n"
    result = session.execute(code + "threading.Thread(target=late).start()\nprint('now')")
    assert result.stdout == "now\n"
    assert session.execute("time.sleep(0.5)").stdout == "late\n"


def test_a_crash_between_calls_is_told_by_the_next(session: Session) -> None:
    session.execute("import os, threading\nthreading.Timer(0, lambda: os.kill(os.getpid(), 9)).start()")
    with pytest.raises(SessionLost) as lost:
        _comes_true(lambda: session.execute("import time; time.sleep(0.01)") is None)
    assert lost.value.reason == "killed"


def test_killed_from_outside_between_calls(session: Session) -> None:
    session.execute(NAMED.format(name="outside"))
    (pid,) = named("outside", os.getpid())
    os.kill(pid, 9)
    assert _comes_true(lambda: bool(session.lost))
    with pytest.raises(SessionLost, match="between two calls") as lost:
        session.execute("1")
    assert lost.value.reason == "killed"


def _comes_true(condition: Any, within_seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + within_seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


# Lifetimes.


def test_an_idle_session_ends(opened: Opener) -> None:
    session = opened(lifetime=Lifetime(idle_seconds=0.3))
    session.execute(NAMED.format(name="idler"))
    assert _comes_true(lambda: not named("idler", os.getpid()))
    with pytest.raises(SessionLost, match=r"idle_seconds=0\.3") as lost:
        session.execute("1")
    assert lost.value.reason == "idle"


def test_a_busy_session_is_not_idle(opened: Opener) -> None:
    session = opened(lifetime=Lifetime(idle_seconds=0.3))
    assert session.execute("import time; time.sleep(0.8)").success
    assert session.execute("1").success


def test_an_old_session_ends_after_the_call_that_is_under_way(opened: Opener) -> None:
    session = opened(lifetime=Lifetime(age_seconds=0.4))
    assert session.execute("import time; time.sleep(0.8)").success
    assert _comes_true(lambda: bool(session.lost))
    with pytest.raises(SessionLost, match=r"age_seconds=0\.4") as lost:
        session.execute("1")
    assert lost.value.reason == "age"


def test_a_session_serves_so_many_calls(opened: Opener) -> None:
    session = opened(lifetime=Lifetime(calls=3))
    for _ in range(3):
        assert session.execute("1").success
    with pytest.raises(SessionLost, match="calls=3") as lost:
        session.execute("1")
    assert lost.value.reason == "calls"


def test_a_closed_session_says_so(session: Session) -> None:
    session.close()
    session.close()
    with pytest.raises(SessionLost, match="closed") as lost:
        session.execute("1")
    assert lost.value.reason == "closed"


def test_the_first_reason_stays(opened: Opener) -> None:
    session = opened(lifetime=Lifetime(calls=1))
    session.execute("1")
    for _ in range(2):
        with pytest.raises(SessionLost) as lost:
            session.execute("1")
        assert lost.value.reason == "calls"
        session.close()


def test_one_that_was_not_closed_warns_and_is_ended(executor: Executor) -> None:
    kept = [executor.session()]
    kept[0].execute(NAMED.format(name="unclosed"))
    with pytest.warns(ResourceWarning, match="was not closed"):
        kept.clear()
    assert _comes_true(lambda: not named("unclosed", os.getpid()))


# More than one who uses it.


def test_close_during_a_call_waits_for_its_end(session: Session) -> None:
    results: list[ExecutionResult] = []
    caller = threading.Thread(target=lambda: results.append(session.execute("import time; time.sleep(0.5); 5")))
    caller.start()
    time.sleep(0.2)
    session.close()
    caller.join()
    assert results[0].value == 5


def test_concurrent_calls_take_turns(session: Session) -> None:
    session.execute("inside = most = total = 0")
    code = "inside += 1\nmost = max(most, inside)\nimport time\ntime.sleep(0.001)\ninside -= 1\ntotal += 1"
    with ThreadPoolExecutor(16) as pool:
        assert all(result.success for result in pool.map(session.execute, [code] * 100))
    assert value(session.execute("most, total")) == [1, 100]


def test_calls_from_many_tasks(session: Session) -> None:
    async def main() -> list[Any]:
        await session.aexecute("n = 0")
        await asyncio.gather(*(session.aexecute("n += 1") for _ in range(50)))
        return (await session.aexecute("n")).value

    assert asyncio.run(main()) == 50


def test_cancelling_a_task_interrupts_its_call_and_the_state_stays(executor: Executor) -> None:
    async def main() -> Any:
        async with await executor.asession() as session:
            await session.aexecute("x = 5")
            task = asyncio.create_task(session.aexecute("while True: pass"))
            await asyncio.sleep(0.3)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return (await session.aexecute("x")).value

    assert asyncio.run(main()) == 5


def test_a_session_that_nobody_waited_for_is_closed(sandbox: LocalSandbox, executor: Executor) -> None:
    """A warning would be an error here."""

    async def main() -> None:
        for number in range(10):
            task = asyncio.create_task(executor.asession())
            await asyncio.sleep(number / 1000)
            if task.cancel():
                with pytest.raises(asyncio.CancelledError):
                    await task
            else:
                await task.result().aclose()
        gc.collect()

    asyncio.run(main())
    assert executor.execute("1").success


def test_streams_of_a_session(session: Session) -> None:
    events = list(session.stream("x = 41\nprint('a')\nx + 1"))
    last = events[-1]
    assert isinstance(last, Finished)
    assert (last.result.value, last.result.stdout) == (42, "a\n")
    assert value(session.execute("x")) == 41


@pytest.mark.parametrize("code", ["while True: pass", "while True: print('x' * 999)", "import time\ntime.sleep(60)"])
def test_leaving_a_stream_interrupts_the_call_and_the_state_stays(opened: Opener, code: str) -> None:
    session = opened(output_bytes=1 << 26)
    session.execute("x = 5")
    with session.stream("print('in', flush=True)\n" + code) as stream:
        for event in stream:
            if isinstance(event, Stdout):
                break
        time.sleep(0.3)
    assert stream.result
    assert stream.result.status is Status.CANCELLED
    assert stream.result.notes == ()
    assert value(session.execute("x")) == 5


def test_async_streams_of_a_session(session: Session) -> None:
    async def main() -> str:
        return "".join([event.text async for event in session.astream("print(6)") if isinstance(event, Stdout)])

    assert asyncio.run(main()) == "6\n"


# What is around it.


def test_a_forked_copy_of_the_application_has_no_part_in_it(session: Session) -> None:
    """Also when another thread of the parent was in the middle of a call. The parent's session goes on."""
    session.execute("x = 1")
    caller = threading.Thread(target=session.execute, args=("import time; time.sleep(0.5)",))
    caller.start()
    time.sleep(0.2)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            for use in (lambda: session.execute("x"), lambda: session.files.list(), lambda: list(session.stream("x"))):
                with pytest.raises(SessionLost, match="parent process") as lost:
                    use()
                assert lost.value.reason == "host"
            assert session.lost
            session.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    caller.join()
    assert value(session.execute("x")) == 1


def test_the_sandbox_closed_under_it() -> None:
    with LocalSandbox(pool_size=0) as own, Executor(own, policy=Policy.permissive()).session() as session:
        session.execute("x = 1")
        own.close()
        with pytest.raises(SessionLost) as lost:
            session.execute("x")
        assert lost.value.reason == "host"


@pytest.mark.threat("supervisor.fork-server-killed")
@pytest.mark.parametrize("during_a_call", [False, True])
def test_the_fork_server_killed_under_it(during_a_call: bool) -> None:
    with LocalSandbox(pool_size=1) as own, Executor(own, policy=Policy.permissive()).session() as session:
        session.execute("x = 1")
        server = fork_server_of(own)
        threading.Timer(0.3 if during_a_call else 0, os.kill, (server, 9)).start()
        time.sleep(0 if during_a_call else 0.3)
        with pytest.raises(SessionLost) as lost:
            session.execute("import time; time.sleep(5)")
        assert lost.value.reason == "host"
        with Executor(own, policy=Policy.permissive()).session() as another:
            assert value(another.execute("1 + 1")) == 2


def test_a_new_fork_server_does_not_end_the_sessions_of_the_old_one() -> None:
    with LocalSandbox(pool_size=1) as own:
        executor = Executor(own, policy=Policy.permissive())
        with executor.session() as session:
            session.execute("x = 1")
            own._pool.tainted = True
            own._rotate(own._pool)
            assert executor.execute("2").value == 2
            assert value(session.execute("x")) == 1


def test_a_call_broken_off_on_our_side_loses_the_state(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the application: the code goes on, and its answer would be taken for the next call's."""
    monkeypatch.setattr("hotcell.sandboxes.conversation._Talk.listen", lambda talk: (_ for _ in ()).throw(KeyError()))
    with pytest.raises(KeyError):
        session.execute("1")
    monkeypatch.undo()
    with pytest.raises(SessionLost, match="half-way"):
        session.execute("2")


def test_a_file_that_is_gone_when_the_call_comes_loses_nothing(session: Session, tmp_path: Any) -> None:
    place = tmp_path / "data.csv"
    place.write_text("1")
    session.execute("x = 1")
    for broken in (lambda: place.unlink(), lambda: os.mkfifo(place)):
        with pytest.raises(ConfigurationError, match=r"data\.csv"):
            session.execute("2", files={"data.csv": _Vanishing(place, broken)})
    assert value(session.execute("x")) == 1


class _Vanishing(os.PathLike[str]):
    """A path whose file changes between the check of the arguments and the call."""

    def __init__(self, place: Any, change: Any) -> None:
        self._place, self._change, self._asked = place, change, 0

    def __fspath__(self) -> str:
        self._asked += 1
        if self._asked == 2:
            self._change()
        return str(self._place)


def test_the_kernels_limits_cannot_change(session: Session) -> None:
    with pytest.raises(ConfigurationError, match="memory_bytes"):
        session.execute("1", config=session.config.replace(memory_bytes=1 << 30))
    assert session.execute("1", config=session.config.replace(timeout_seconds=3)).success


def test_a_sandbox_without_sessions_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOTCELL_DEBUG", "1")
    executor = Executor(RestrictedPythonSandbox(), policy=Policy.strict(), min_isolation="none")
    with pytest.raises(ConfigurationError, match="has no sessions"):
        executor.session()


def test_one_that_is_not_branchable_says_so(session: Session) -> None:
    for branch in (session.fork, session.checkpoint):
        with pytest.raises(ConfigurationError, match="branchable=True"):
            branch()
    with pytest.raises(ConfigurationError, match="checkpoint"):
        session.rollback()


def test_nothing_survives_a_hundred_sessions() -> None:
    before = resting()
    with LocalSandbox(pool_size=1) as own:
        executor = Executor(own, SandboxConfig(timeout_seconds=0.2), Policy.permissive())
        own.wait_until_warm()
        warm = footprint()
        codes = [
            "x = 1",
            "import os\nif os.fork() == 0:\n    import time; time.sleep(60)",
            "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
            "open('f', 'w').write('x' * 1000)",
            "import os; os._exit(1)",
            "while True: pass",
        ]
        for number in range(100):
            with executor.session() as session:
                session.execute(codes[number % len(codes)])
        own.wait_until_warm()
        most = Footprint(**{**vars(warm), "groups": warm.groups + 3, "descriptors": warm.descriptors + 9})

        def is_fine(seen: Footprint) -> bool:
            return all(getattr(seen, name) <= most_of for name, most_of in vars(most).items())

        seen = settles(is_fine)
        assert is_fine(seen), (seen, most)
    seen = settles(before.covers)
    assert before.covers(seen), (seen, before)


def test_thirty_sessions_at_once(executor: Executor) -> None:
    def work(number: int) -> int:
        with executor.session() as session:
            session.execute("x = n", context={"n": number})
            for _ in range(5):
                session.execute("x += 1")
            return value(session.execute("x"))

    with ThreadPoolExecutor(30) as pool:
        assert list(pool.map(work, range(30))) == [number + 5 for number in range(30)]

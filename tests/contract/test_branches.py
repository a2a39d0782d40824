"""Copies of a session have all that it has, and nothing in common with it or with one another."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from observers.footprint import Footprint, footprint, settles
from observers.opened import Forker, Opener, value

from hotcell.config import SandboxConfig
from hotcell.errors import ConfigurationError, HotcellError, SessionLost
from hotcell.events import Finished, Stdout
from hotcell.executor import Executor
from hotcell.lifetimes import Lifetime
from hotcell.policy import Policy
from hotcell.results import Status
from hotcell.sandboxes.local.nested import MOST_DEEP
from hotcell.sandboxes.local.sandbox import LocalSandbox
from hotcell.sessions import Session


@pytest.fixture
def parent(branchable: Opener) -> Session:
    """A session that can be forked, with the usual limits."""
    return branchable()


# What a copy has.


def test_memory_imports_functions_and_the_number_of_the_cell_come_along(parent: Session, forked: Forker) -> None:
    parent.execute("import math as m\nx = [1]\ndef f(n): return x[0] + n\nclass A:\n    y = 5")
    (copy,) = forked(parent)
    assert value(copy.execute("[x, f(2), m.floor(2.5), A().y]")) == [[1], 3, 2, 5]
    error = copy.execute("1\nnowhere").error
    assert error
    assert (error.cell, error.line) == (3, 2)


def test_each_goes_on_by_itself(parent: Session, forked: Forker) -> None:
    parent.execute("x = [0]")
    copies = forked(parent, 3)
    for number, one in enumerate((parent, *copies)):
        one.execute(f"x.append({number}); x[0] += {number}\nopen('f', 'w').write('{number}')")
    told = [value(one.execute("[x, open('f').read()]")) for one in (parent, *copies)]
    assert told == [[[number, number], str(number)] for number in range(4)]


def test_files_come_along_and_are_each_ones_own(parent: Session, forked: Forker) -> None:
    """With modes, times, links and empty folders; also those outside of the work directory."""
    parent.execute("""
import os
os.makedirs('d/e'); open('d/f', 'w').write('x'); os.chmod('d/f', 0o400); os.utime('d/f', (1, 2))
os.symlink('d/f', 's'); os.link('d/f', 'h')
open('/tmp/t', 'w').write('y'); open('/dev/shm/z', 'w').write('z')
""")
    (copy,) = forked(parent)
    code = """
[sorted(os.listdir('.')), os.stat('d/f').st_mode & 0o777, os.stat('h').st_mtime, os.stat('h').st_nlink,
 os.readlink('s'), open('/tmp/t').read(), open('/dev/shm/z').read(), os.listdir('d/e')]
"""
    expected = [["d", "h", "s"], 0o400, 2.0, 2, "d/f", "y", "z", []]
    assert value(copy.execute(code)) == value(parent.execute(code)) == expected
    copy.execute("os.unlink('h'); open('/tmp/t', 'w').write('other')")
    assert value(parent.execute("[os.path.exists('h'), open('/tmp/t').read()]")) == [True, "y"]
    copy.files.write("new", b"1")
    assert [entry.name for entry in parent.files.list()] == ["d/f", "h"]
    assert [entry.name for entry in copy.files.list()] == ["d/f", "new"]


def test_open_files_stand_where_they_stood(parent: Session, forked: Forker) -> None:
    """Each has an offset of its own, also in a file whose name is gone."""
    parent.execute("""
import os, tempfile
a = open('a', 'w+'); a.write('0123456789'); a.flush(); a.seek(3)
gone = open('gone', 'w+'); gone.write('deleted'); gone.flush(); gone.seek(2); os.unlink('gone')
nameless = tempfile.TemporaryFile('w+'); nameless.write('nameless'); nameless.flush(); nameless.seek(4)
log = open('log', 'a'); log.write('one\\n'); log.flush()
folder = os.open('.', os.O_RDONLY)
""")
    (copy,) = forked(parent)
    read = "[a.read(2), gone.read(3), nameless.read(2)]"
    assert value(copy.execute(read)) == ["34", "let", "le"]
    assert value(parent.execute(read)) == ["34", "let", "le"]
    copy.execute("log.write('copy\\n'); log.flush(); gone.seek(0); gone.write('X'); gone.flush()")
    parent.execute("log.write('parent\\n'); log.flush()")
    assert value(copy.execute("[open('log').read(), gone.seek(0), gone.read()]")) == ["one\ncopy\n", 0, "Xeleted"]
    assert value(parent.execute("[open('log').read(), gone.seek(0), gone.read()]")) == ["one\nparent\n", 0, "deleted"]


def test_pipes_and_sockets_lead_nowhere_in_a_copy(parent: Session, forked: Forker) -> None:
    """What both would hold would be a way from one to the other; reads in the copy come to the end at once."""
    parent.execute("import os, socket\nr, w = os.pipe()\na, b = socket.socketpair()\nos.write(w, b'for the parent')")
    (copy,) = forked(parent)
    assert value(copy.execute("[os.read(r, 99).decode(), os.write(w, b'lost')]")) == ["", 4]
    assert value(parent.execute("os.read(r, 99).decode()")) == "for the parent"
    assert value(parent.execute("a.send(b'x'); b.recv(9).decode()")) == "x"


def test_shared_memory_is_each_ones_own(parent: Session, forked: Forker) -> None:
    """Nameless memory, mapped files, and numpy's arrays on files: written here, unchanged there."""
    code = """
import mmap, os
memory = mmap.mmap(-1, 4096)
memory[:3] = b'abc'
with open('mapped', 'wb') as file: file.write(b'0' * 8192)
file = open('mapped', 'r+b')
mapped = mmap.mmap(file.fileno(), 8192)
"""
    result = parent.execute(code)
    if result.error and result.error.type == "PermissionError":  # without memory groups there is no such memory
        code = code.replace("mmap.mmap(-1, 4096)", "bytearray(4096)")
        result = parent.execute(code)
    assert result.success, result.error
    (copy,) = forked(parent)
    copy.execute("memory[:3] = b'xyz'; mapped[:2] = b'zz'; mapped.flush()")
    parent.execute("mapped[:2] = b'pp'; mapped.flush()")
    look = "[bytes(memory[:3]).decode(), mapped[:3].decode(), open('mapped', 'rb').read(3).decode()]"
    assert value(copy.execute(look)) == ["xyz", "zz0", "zz0"]
    assert value(parent.execute(look)) == ["abc", "pp0", "pp0"]


def test_random_numbers_differ_from_copy_to_copy(parent: Session, forked: Forker) -> None:
    parent.execute("import random, os")
    drawn = [value(one.execute("[random.random(), os.urandom(8).hex()]")) for one in (parent, *forked(parent, 3))]
    for kind in zip(*drawn, strict=True):
        assert len(set(kind)) == 4


def test_threads_stay_with_the_original(parent: Session, forked: Forker) -> None:
    """The copy has none of them, and works; it ends as truthfully as any."""
    parent.execute("""
import threading, time
n = 0
lock = threading.Lock()
def count():
    global n
    while True:
        with lock: n += 1
        time.sleep(0.001)
threading.Thread(target=count, daemon=True).start()
""")
    (copy,) = forked(parent)
    assert value(copy.execute("m = n; time.sleep(0.05); [n - m, threading.active_count()]")) == [0, 1]
    assert value(parent.execute("m = n; time.sleep(0.05); n > m"))
    (below,) = forked(copy)
    assert value(below.execute("n == m")) is True
    assert below.execute("import os; os._exit(3)").reason.startswith("The process ended itself with exit code 3")
    assert copy.execute("import os; os._exit(4)").reason.startswith("The process ended itself with exit code 4")


def test_a_loop_of_asyncio_is_new_in_a_copy(parent: Session, forked: Forker) -> None:
    parent.execute(
        "import asyncio\nasync def f(): return 6\nawait f()\ntask = asyncio.ensure_future(asyncio.sleep(0.01, 5))"
    )
    (copy,) = forked(parent)
    assert value(copy.execute("await asyncio.sleep(0.01, await f() * 7)")) == 42
    assert value(parent.execute("await task")) == 5


def test_processes_can_be_started_before_and_after(parent: Session, forked: Forker) -> None:
    """In the original too: where its children are born is as it was."""
    code = """
import os, sys, multiprocessing
def child():
    pid = os.fork()
    if pid == 0: os._exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
[child(), len([name for name in os.listdir('/proc') if name.isdigit()]) >= 1]
"""
    assert value(parent.execute(code)) == [7, True]
    (copy,) = forked(parent)
    for one in (parent, copy, *forked(copy), parent):
        assert value(one.execute(code)) == [7, True]
        assert value(one.execute("os.readlink('/proc/self/ns/pid') == os.readlink('/proc/self/ns/pid_for_children')"))


def test_figures_and_frames_come_along(parent: Session, sandbox: LocalSandbox, forked: Forker) -> None:
    """With what is preloaded: a DataFrame of 50 MB, an open figure, numpy's random state."""
    pytest.importorskip("matplotlib")
    modules = ["numpy", "pandas", "matplotlib.pyplot"]
    with LocalSandbox(preload=modules, pool_size=0) as ours:
        executor = Executor(ours, SandboxConfig(timeout_seconds=30), Policy.permissive())
        with executor.session(branchable=True) as session:
            session.execute("""
import numpy as np, pandas as pd, matplotlib.pyplot as plt
frame = pd.DataFrame(np.arange(6_000_000.0).reshape(-1, 6))
on_file = np.memmap('numbers', dtype='int64', mode='w+', shape=(100,)); on_file[:] = 1; on_file.flush()
fig, ax = plt.subplots(); ax.plot([1, 2])
""")
            with session.fork(2) as (one, other):
                one.execute("frame.iloc[0, 0] = -1; on_file[:] = 2; on_file.flush(); plt.title('one')")
                look = "[float(frame.iloc[0, 0]), int(on_file.sum()), plt.gca().get_title()]"
                assert value(one.execute(look)) == [-1.0, 200, "one"]
                assert value(other.execute(look)) == value(session.execute(look)) == [0.0, 100, ""]
                drawn = [value(each.execute("float(np.random.rand())")) for each in (session, one, other)]
                assert len(set(drawn)) == 3
                shown = other.execute("fig").displays
                assert any("image/png" in display.data for display in shown)


def test_streams_tools_and_artifacts_work_in_a_copy(parent: Session, forked: Forker) -> None:
    (copy,) = forked(parent)
    events = list(copy.stream("for n in range(3): print(n)"))
    assert "".join(event.text for event in events if isinstance(event, Stdout)) == "0\n1\n2\n"
    assert isinstance(events[-1], Finished)
    assert value(copy.execute("double(4)", tools={"double": lambda n: n * 2})) == 8
    result = copy.execute("open('out', 'w').write('x')", files={"in": b"y"}, artifacts=["*"])
    assert {item.name for item in result.artifacts} == {"out"}


def test_what_is_kept_is_not_called_dropped(parent: Session, session: Session) -> None:
    """A session that forks keeps two capabilities, so the layer is not among those of its results."""
    assert "capabilities" in session.execute("1").sandbox.layers
    layers = parent.execute("1").sandbox.layers
    assert "seccomp" in layers
    assert "capabilities" not in layers


# Limits and ends, each one's own.


def test_limits_are_each_ones_own(branchable: Opener, forked: Forker) -> None:
    """Memory, disk and time are not shared with the family."""
    session = branchable(memory_bytes=128 << 20, disk_bytes=4 << 20, file_bytes=4 << 20)
    session.execute("kept = b'x' * (60 << 20)\nopen('f', 'wb').write(bytes(3 << 20))")
    copies = forked(session, 3)
    for one in copies:
        assert one.execute("open('g', 'wb').write(bytes(2 << 20))").status is Status.ERROR
        assert one.execute("more = b'y' * (40 << 20)").success
    assert copies[0].execute("even_more = b'z' * (100 << 20)").status is Status.MEMORY_LIMIT
    short = session.config.replace(timeout_seconds=0.2)
    assert copies[1].execute("while True: pass", config=short).status is Status.TIMEOUT
    for one in (copies[1], copies[2], session):
        assert value(one.execute("len(kept)")) == 60 << 20


ENDS: dict[str, Callable[[Session], object]] = {
    "closed": lambda session: session.close(),
    "exit": lambda session: session.execute("import os; os._exit(1)"),
    "segmentation fault": lambda session: session.execute("import ctypes; ctypes.string_at(0)"),
    "timeout": lambda session: session.execute(
        "import signal; signal.signal(2, signal.SIG_IGN)\nwhile True: pass",
        config=session.config.replace(timeout_seconds=0.1),
    ),
    "children left": lambda session: session.execute("import os, time\nif os.fork() == 0: time.sleep(60)\nos._exit(1)"),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_the_copies_live_on_when_the_original_is_gone(parent: Session, forked: Forker, end: Any) -> None:
    """Also copies of copies; and the original when its copies are gone."""
    parent.execute("x = 1")
    one, other = forked(parent, 2)
    (below,) = forked(one)
    end(parent)
    end(one)
    for alive in (other, below):
        assert value(alive.execute("x += 1; x")) == 2
        (late,) = forked(alive)
        assert value(late.execute("x")) == 2
        end(late)
        assert value(alive.execute("x")) == 2
    with pytest.raises(SessionLost):
        parent.execute("x")


def test_a_fork_waits_for_the_call_that_is_under_way(parent: Session, forked: Forker) -> None:
    """It has its turn like a call, and has what that call has done."""
    parent.execute("import time\nx = 0")
    running = threading.Thread(target=parent.execute, args=("time.sleep(0.5); x = 1",))
    running.start()
    time.sleep(0.1)
    (copy,) = forked(parent)
    running.join()
    assert value(copy.execute("x")) == 1


def test_branches_run_at_the_same_time(parent: Session, forked: Forker) -> None:
    """Each in its thread: none waits for another."""
    parent.execute("import time")
    copies = forked(parent, 4)
    results: list[Any] = []
    threads = [
        threading.Thread(target=lambda one=one: results.append(one.execute("time.sleep(0.5); time.monotonic()")))
        for one in copies
    ]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(result.success for result in results)
    assert time.monotonic() - began < 0.5 * 4


def test_many_threads_fork_and_close_at_once(parent: Session) -> None:
    """Copies are made and closed, by many, of one original and of one another: none is lost, none is mixed up."""
    parent.execute("x = 7")
    problems: list[object] = []

    def work() -> None:
        try:
            for _ in range(5):
                with parent.fork(2) as (one, other), one.fork() as (below,):
                    problems.extend(n for n in (value(each.execute("x")) for each in (other, below)) if n != 7)
        except HotcellError as error:
            problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def test_a_copy_has_a_lifetime_of_its_own(branchable: Opener) -> None:
    """It is as long as the original's, from its birth; closing the whole context closes them all."""
    session = branchable(lifetime=Lifetime(calls=2))
    session.execute("1")
    with session.fork(2) as (one, other):
        assert value(one.execute("1")) == value(one.execute("1")) == 1
        with pytest.raises(SessionLost) as lost:
            one.execute("1")
        assert lost.value.reason == "calls"
        assert value(session.execute("2")) == 2
    assert "closed" in other.lost


# Going back.


def test_back_to_a_checkpoint(parent: Session) -> None:
    """Memory, files and random numbers are what they were, as often as one likes."""
    parent.execute("import random\nx = 1\nopen('f', 'w').write('1')")
    parent.checkpoint()
    drawn = set()
    for _ in range(3):
        parent.execute("x = 2\nopen('f', 'w').write('2')\nopen('g', 'w').write('')")
        assert value(parent.execute("[x, open('f').read()]")) == [2, "2"]
        parent.rollback()
        assert value(parent.execute("import os; [x, open('f').read(), os.path.exists('g')]")) == [1, "1", False]
        drawn.add(value(parent.execute("random.random()")))
    assert len(drawn) == 1


@pytest.mark.parametrize("end", [end for name, end in ENDS.items() if name != "closed"])
def test_back_from_the_dead(parent: Session, end: Any) -> None:
    """A state that was lost comes back, in a call or between two, more than once."""
    parent.execute("x = 1")
    parent.checkpoint()
    for _ in range(2):
        end(parent)
        assert parent.lost
        parent.rollback()
        assert not parent.lost
        assert value(parent.execute("x")) == 1


def test_back_after_it_died_untouched(parent: Session) -> None:
    """Killed from outside right after the checkpoint, or right after going back."""
    parent.execute("x = 1")
    parent.checkpoint()
    for _ in range(2):
        parent._cell._cell.kill()
        while not parent.lost:
            time.sleep(0.01)
        parent.rollback()
        assert value(parent.execute("x")) == 1
        parent.execute("y = 1")
        parent.rollback()


def test_the_files_method_is_a_change_too(parent: Session) -> None:
    parent.checkpoint()
    parent.files.write("f", b"1")
    parent.rollback()
    assert parent.files.list() == ()


@pytest.mark.parametrize("goes_back", [True, False])
def test_a_hundred_checkpoints(parent: Session, goes_back: bool) -> None:
    """Trying a hundred things from one state, and remembering a hundred states one after the other."""
    parent.execute("x = 0")
    for number in range(100):
        parent.checkpoint()
        parent.execute("x += 1")
        if goes_back:
            parent.rollback()
        assert value(parent.execute("x")) == (0 if goes_back else number + 1)
        if goes_back:
            parent.rollback()
    if not goes_back:
        parent.rollback()
        assert value(parent.execute("x")) == 99


def test_forks_of_what_was_gone_back_to(parent: Session, forked: Forker) -> None:
    parent.execute("x = 1")
    parent.checkpoint()
    parent.execute("x = 2")
    parent.rollback()
    (copy,) = forked(parent)
    parent.execute("x = 3")
    assert value(copy.execute("x")) == 1
    parent.rollback()
    assert value(parent.execute("x")) == 1


def test_without_a_checkpoint_there_is_no_way_back(parent: Session) -> None:
    with pytest.raises(ConfigurationError, match="no checkpoint"):
        parent.rollback()


# How deep, how many, and what is left.


def test_copies_of_copies_end_with_a_clear_error(parent: Session) -> None:
    """As deep as the kernel nests; then a ConfigurationError, and what is there goes on."""
    parent.execute("depth = 0")
    line: list[Session] = [parent]
    for number in range(MOST_DEEP):
        line.extend(line[-1].fork())
        line[-1].execute("depth += 1")
        assert value(line[-1].execute("depth")) == number + 1
    with pytest.raises(ConfigurationError, match="24 times over"):
        line[-1].fork()
    assert value(line[-1].execute("depth")) == MOST_DEEP
    for one in line[:-1]:
        one.close()
    assert value(line[-1].execute("depth")) == MOST_DEEP
    line[-1].close()


def test_nothing_is_left_of_three_hundred_forks() -> None:
    """One after the other and thirty at once: no process, descriptor, thread or group more than before."""
    with LocalSandbox(pool_size=1) as sandbox:
        if not sandbox.supports_fork:
            pytest.skip("level process: this host refuses namespaces")
        executor = Executor(sandbox, SandboxConfig(timeout_seconds=20), Policy.permissive())
        with executor.session(branchable=True) as session:
            session.execute("x = 1")
            for _ in range(5):
                session.fork().close()
            warm = footprint()

            def is_fine(seen: Footprint) -> bool:
                # A place for the next copy may or may not be there, and so may groups to be used again.
                few = seen.descriptors <= warm.descriptors + 12 and seen.processes <= warm.processes + 2
                return few and seen.threads <= warm.threads and seen.groups <= warm.groups + 4

            for _ in range(270):
                session.fork().close()
            with session.fork(30) as copies:
                assert {value(one.execute("x")) for one in copies} == {1}
            seen = settles(is_fine)
            assert is_fine(seen), (seen, warm)


# The async twins.


def test_async_twins(parent: Session) -> None:
    async def main() -> list[Any]:
        await parent.aexecute("x = 1")
        await parent.acheckpoint()
        with await parent.afork(3) as copies:
            results = await asyncio.gather(*[one.aexecute(f"x + {n}") for n, one in enumerate(copies)])
        await parent.aexecute("x = 5")
        await parent.arollback()
        return [*(value(result) for result in results), value(await parent.aexecute("x"))]

    assert asyncio.run(main()) == [1, 2, 3, 1]


def test_a_fork_that_nobody_waited_for_is_closed(parent: Session) -> None:
    """Its task was cancelled: the copies do not stay."""
    parent.execute("x = 1")

    async def main() -> None:
        task = asyncio.ensure_future(parent.afork(20))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert value(parent.execute("x")) == 1


# Where it cannot be had.


@pytest.mark.parametrize("n", [0, -1, 1001, True, 1.5, "2", None])
def test_how_many_is_a_number(parent: Session, n: Any) -> None:
    with pytest.raises(ConfigurationError, match="whole number from 1 to 1000"):
        parent.fork(n)


def test_one_that_was_not_opened_for_it_says_so(session: Session) -> None:
    for ask in (session.fork, session.checkpoint):
        with pytest.raises(ConfigurationError, match="branchable=True"):
            ask()


@pytest.fixture(scope="module")
def thin() -> Iterator[LocalSandbox]:
    """Level process, on any host."""
    with LocalSandbox(isolation="process", pool_size=0) as sandbox:
        yield sandbox


def test_without_namespaces_it_says_so_before_anything_runs(thin: LocalSandbox) -> None:
    assert not thin.supports_fork
    executor = Executor(thin, SandboxConfig(timeout_seconds=5), Policy.permissive())
    with pytest.raises(ConfigurationError, match="cannot fork at isolation level 'process'"):
        executor.session(branchable=True)
    with executor.session() as session:
        assert session.execute("1").value == 1

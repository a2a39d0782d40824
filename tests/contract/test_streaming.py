"""A stream tells what happens while it happens, in order and in full, and whoever lets go of it is rid of the cell."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import threading
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from observers.cells import NAMED
from observers.footprint import resting, settles
from observers.processes import named

from hotcell.config import SandboxConfig
from hotcell.errors import ConfigurationError, QuotaExceeded, SandboxCrashed
from hotcell.events import Event, Finished, Started, Stderr, Stdout
from hotcell.executor import Executor
from hotcell.policy import Policy
from hotcell.results import ExecutionResult, Status
from hotcell.sandboxes.base import Cancellation
from hotcell.sandboxes.local.sandbox import LocalSandbox

LOOP = "print('in', flush=True)\nwhile True: pass"
SLEEP = "print('in', flush=True)\nimport time\ntime.sleep(60)"
numbers = itertools.count(1)


@pytest.fixture(scope="module")
def executor(sandbox: LocalSandbox) -> Executor:
    return Executor(sandbox, SandboxConfig(timeout_seconds=20), Policy.permissive())


@pytest.fixture
def name() -> str:
    """For a cell that is to be found from outside."""
    return f"stream{next(numbers)}"


def is_gone(name: str, within_seconds: float = 5.0) -> bool:
    """True as soon as no process of that name is left."""
    deadline = time.monotonic() + within_seconds
    while named(name, os.getpid()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def stdout_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Stdout))


def finish(events: list[Event]) -> ExecutionResult:
    last = events[-1]
    assert isinstance(last, Finished)
    return last.result


# What is told.


def test_events_are_typed_and_start_and_finish(executor: Executor) -> None:
    events = list(executor.stream("import sys\nprint('a')\nprint('b', file=sys.stderr)\n42"))
    first, *_, last = events
    assert isinstance(first, Started) and isinstance(last, Finished)
    assert {type(event) for event in events[1:-1]} == {Stdout, Stderr}
    assert stdout_of(events) == last.result.stdout == "a\n"
    assert "".join(event.text for event in events if isinstance(event, Stderr)) == last.result.stderr == "b\n"
    assert (last.result.status, last.result.value) == (Status.OK, 42)
    assert (first.execution_id, first.code_sha256) == (last.result.execution_id, last.result.code_sha256)


def test_every_event_is_json(executor: Executor) -> None:
    import json

    for event in executor.stream("import sys\nprint('a')\nprint('b', file=sys.stderr)\n[1, float('nan')]"):
        data = event.to_dict()
        assert data["type"] == event.kind == type(event).__name__.lower()
        assert json.loads(json.dumps(data, allow_nan=False)) == data


def test_output_comes_while_the_code_runs_and_in_order(executor: Executor, name: str) -> None:
    """The code waits for a file that nobody makes, so what is read here was told before its end."""
    code = NAMED.format(name=name) + "for n in range(5): print(n, flush=True)\nimport time\ntime.sleep(60)"
    with executor.stream(code) as stream:
        seen = ""
        for event in stream:
            seen += event.text if isinstance(event, Stdout) else ""
            if seen.count("\n") == 5:
                break
        assert named(name, os.getpid())
    assert seen == "0\n1\n2\n3\n4\n"


def test_what_one_stream_wrote_before_the_other_comes_before_it(executor: Executor) -> None:
    """Two pipes keep no order between them, but for what lies far enough apart."""
    code = "import sys, time\nfor n in range(5):\n    print(n, file=(sys.stdout, sys.stderr)[n % 2], flush=True)\n"
    told = [event for event in executor.stream(code + "    time.sleep(0.1)") if isinstance(event, Stdout | Stderr)]
    assert [event.text for event in told] == ["0\n", "1\n", "2\n", "3\n", "4\n"]
    assert [event.kind for event in told] == ["stdout", "stderr"] * 2 + ["stdout"]


@pytest.mark.parametrize(
    "code",
    [
        "print('x' * (1 << 20 - 1))",
        "for n in range(40_000): print(n, 'line')",
        "import sys\nfor n in range(30_000): sys.stdout.write('aé漢😀' * 3)",
        # Characters cut in two by the write itself.
        "import os, time\nfor byte in 'é漢😀'.encode() * 20: os.write(1, bytes([byte])); time.sleep(0.001)",
        "import os\ndata = ('漢' * 300_000).encode()\nwhile data: data = data[os.write(1, data[:4093]):]",
        "import os\nos.write(1, b'\\xff\\xfe ok \\xf0\\x9f')",
        "print('no newline at the end', end='')",
    ],
)
def test_the_pieces_together_are_the_results_stdout(executor: Executor, code: str) -> None:
    events = list(executor.stream(code, config=SandboxConfig(timeout_seconds=20, output_bytes=2 << 20)))
    result = finish(events)
    assert result.status is Status.OK
    assert stdout_of(events) == result.stdout
    assert result.stdout


def test_what_is_written_to_both_at_once_arrives_whole(executor: Executor) -> None:
    code = """
import sys, threading
def flood(stream, letter):
    for _ in range(400): stream.write(letter * 999 + "\\n")
threads = [threading.Thread(target=flood, args=pair) for pair in ((sys.stdout, "o"), (sys.stderr, "e"))]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
    events = list(executor.stream(code))
    assert stdout_of(events) == finish(events).stdout == ("o" * 999 + "\n") * 400
    assert finish(events).stderr == ("e" * 999 + "\n") * 400


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("1 / 0", Status.ERROR),
        ("import os; os._exit(3)", Status.ERROR),
        ("import os; os.kill(os.getpid(), 9)", Status.KILLED),
        ("while True: pass", Status.TIMEOUT),
        ("while True: print('x' * 10_000)", Status.OUTPUT_LIMIT),
        ("x = bytearray(1 << 40)", Status.MEMORY_LIMIT),
    ],
)
def test_however_it_ends_the_last_event_says_so(executor: Executor, code: str, status: Status) -> None:
    events = list(executor.stream("print('first')\n" + code, config=SandboxConfig(timeout_seconds=0.5)))
    assert finish(events).status is status
    assert stdout_of(events) == finish(events).stdout
    assert stdout_of(events).startswith("first\n")


def test_refused_code_starts_and_finishes(sandbox: LocalSandbox) -> None:
    events = list(Executor(sandbox).stream("import os\nos.system('ls')"))
    assert [type(event) for event in events] == [Started, Finished]
    assert finish(events).status is Status.REJECTED


def test_a_secret_is_in_no_event(sandbox: LocalSandbox) -> None:
    key = "AKIA" + "IOSFODNN7" + "ABCDEFG"
    code = (
        f"import time\nfor part in {[key[:7], key[7:], chr(10)]!r}: print(part, end='', flush=True); time.sleep(0.05)"
    )
    events = list(Executor(sandbox, policy=Policy.permissive()).stream(code))
    assert key not in stdout_of(events)
    assert stdout_of(events) == finish(events).stdout


def test_files_context_and_artifacts_are_those_of_execute(executor: Executor) -> None:
    code = "open('out.txt', 'w').write(open('in.txt').read() * n)"
    *_, last = executor.stream(code, context={"n": 2}, files={"in.txt": b"ab"}, artifacts=["out.*"])
    assert isinstance(last, Finished)
    assert [item.content for item in last.result.artifacts] == [b"abab"]


# A reader who is slow, or away.


FLOOD = "for n in range(20_000): print(f'{n:099}')"  # two million bytes
ROOM = {"output_bytes": 4 << 20, "timeout_seconds": 1.5, "cpu_seconds": 20.0}


def test_a_slow_reader_holds_the_cell_up_and_gets_everything(executor: Executor, name: str) -> None:
    """Nobody reads for longer than the time limit: the clock stands still, nothing is lost, nothing is late."""
    stream = executor.stream(NAMED.format(name=name) + FLOOD, config=SandboxConfig(**ROOM, pause_seconds=60))
    assert isinstance(next(stream), Started)
    time.sleep(2)
    assert named(name, os.getpid())
    assert stream.result is None
    events = list(stream)
    result = finish(events)
    assert (result.status, result.reason) == (Status.OK, "The code ran to its end.")
    assert stdout_of(events) == result.stdout == "".join(f"{n:099}\n" for n in range(20_000))
    assert result.usage.wall_seconds < 1.5


def test_the_clock_stands_still_for_pause_seconds_only(executor: Executor, name: str) -> None:
    config = SandboxConfig(output_bytes=4 << 20, timeout_seconds=0.5, cpu_seconds=20, pause_seconds=0.3)
    stream = executor.stream(NAMED.format(name=name) + FLOOD + "\nwhile True: pass", config=config)
    next(stream)
    assert is_gone(name, within_seconds=10)
    assert finish(list(stream)).status is Status.TIMEOUT


def test_a_reader_who_is_away_costs_little_memory(executor: Executor) -> None:
    """What waits for him is bounded, whatever the code would write."""
    code = "import os\nfor _ in range(4000): os.write(1, b'x' * 65536)"
    config = SandboxConfig(output_bytes=1 << 28, timeout_seconds=20)
    tracemalloc.start()
    try:
        with executor.stream(code, config=config) as stream:
            next(stream)
            time.sleep(1)
            current, peak = tracemalloc.get_traced_memory()
        assert max(current, peak) < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_reader_with_a_pause_now_and_then_gets_everything(executor: Executor) -> None:
    texts = []
    for number, event in enumerate(executor.stream(FLOOD, config=SandboxConfig(**ROOM))):
        if isinstance(event, Stdout):
            texts.append(event.text)
        if number % 20 == 0:
            time.sleep(0.02)
    assert isinstance(event, Finished)
    assert "".join(texts) == event.result.stdout == "".join(f"{n:099}\n" for n in range(20_000))


# Giving up.


def begun(events: Iterator[Event]) -> None:
    """Read until the code is in the middle of it."""
    for event in events:
        if isinstance(event, Stdout):
            return
    raise AssertionError("it ended")


@pytest.mark.parametrize("code", [LOOP, SLEEP], ids=["busy", "asleep"])
def test_closing_ends_the_cell_before_it_returns(executor: Executor, name: str, code: str) -> None:
    stream = executor.stream(NAMED.format(name=name) + code)
    begun(stream)
    assert named(name, os.getpid())
    stream.close()
    assert is_gone(name, within_seconds=1)
    assert stream.result
    assert stream.result.status is Status.CANCELLED
    stream.close()
    assert isinstance(list(stream)[-1], Finished)


def test_a_break_ends_the_cell(executor: Executor, name: str) -> None:
    for event in executor.stream(NAMED.format(name=name) + LOOP):
        if isinstance(event, Stdout):
            break
    assert is_gone(name)


def test_letting_go_of_it_ends_the_cell(executor: Executor, name: str) -> None:
    stream = executor.stream(NAMED.format(name=name) + LOOP)
    begun(stream)
    del stream
    gc.collect()
    assert is_gone(name)


def test_an_exception_in_the_loops_body_ends_the_cell(executor: Executor, name: str) -> None:
    def read() -> None:
        with executor.stream(NAMED.format(name=name) + LOOP) as stream:
            begun(stream)
            raise LookupError

    with pytest.raises(LookupError):
        read()
    assert is_gone(name)


def test_a_reader_who_left_while_the_cell_was_held_up_is_rid_of_it(executor: Executor, name: str) -> None:
    stream = executor.stream(NAMED.format(name=name) + "while True: print('x' * 999)", config=SandboxConfig(**ROOM))
    next(stream)
    time.sleep(0.5)
    stream.close()
    assert is_gone(name, within_seconds=1)


@pytest.mark.parametrize("how", ["stream", "cancellation"])
def test_another_thread_can_cancel_and_the_stream_says_so(executor: Executor, name: str, how: str) -> None:
    cancellation = Cancellation()
    stream = executor.stream(NAMED.format(name=name) + LOOP, cancellation=cancellation)
    begun(stream)
    threading.Timer(0.1, stream.cancel if how == "stream" else cancellation.cancel).start()
    assert finish(list(stream)).status is Status.CANCELLED
    assert is_gone(name)


def test_one_that_was_cancelled_before_it_began_runs_nothing(executor: Executor) -> None:
    cancellation = Cancellation()
    cancellation.cancel()
    events = list(executor.stream("print('never')", cancellation=cancellation))
    assert [type(event) for event in events] == [Started, Finished]
    assert finish(events).status is Status.CANCELLED


# Failures of ours.


def test_a_failure_of_ours_comes_out_of_next(sandbox: LocalSandbox) -> None:
    def refuse(admission: object) -> None:
        raise QuotaExceeded("no more today")

    stream = Executor(sandbox, admit=refuse).stream("1")
    assert isinstance(next(stream), Started)
    with pytest.raises(QuotaExceeded, match="no more today"):
        next(stream)
    with pytest.raises(StopIteration):
        next(stream)
    assert stream.result is None


def test_a_bad_argument_raises_at_once(executor: Executor) -> None:
    with pytest.raises(ConfigurationError, match="context"):
        executor.stream("1", context={"a": object()})
    with pytest.raises(ConfigurationError, match="files"):
        executor.astream("1", files={"../x": b""})


def test_the_sandbox_closed_under_it_is_a_failure_of_ours() -> None:
    with LocalSandbox(pool_size=1) as own:
        stream = Executor(own, policy=Policy.permissive()).stream(LOOP)
        begun(stream)
        own.close()
        with pytest.raises(SandboxCrashed):
            list(stream)


# Many, and from other places.


def test_fifty_streams_at_once_keep_apart(executor: Executor) -> None:
    def read(number: int) -> None:
        events = list(executor.stream(f"for n in range(50): print({number}, n)"))
        assert stdout_of(events) == "".join(f"{number} {n}\n" for n in range(50))

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(read, range(50)))


def test_streams_leave_no_thread_and_no_descriptor(executor: Executor) -> None:
    list(executor.stream("1"))
    before = resting()
    for number in range(20):
        stream = executor.stream(LOOP if number % 2 else "print(1)")
        begun(stream)
        stream.close()
    # Sixteen descriptors are what waits prepared.
    seen = settles(lambda seen: seen.threads <= before.threads and seen.descriptors <= before.descriptors + 16)
    assert seen.threads <= before.threads and seen.descriptors <= before.descriptors + 16


def test_a_forked_copy_of_the_application_streams_too(executor: Executor) -> None:
    child = os.fork()
    if child == 0:
        try:
            events = list(executor.stream("print('from the child')"))
            os._exit(0 if stdout_of(events) == "from the child\n" else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert finish(list(executor.stream("1"))).value == 1


# The async twin.


def run(main: Any) -> Any:
    return asyncio.run(main)


def test_async_events_are_the_same(executor: Executor) -> None:
    async def main() -> list[Event]:
        return [event async for event in executor.astream("for n in range(1000): print(n)\n7")]

    events = run(main())
    assert isinstance(events[0], Started)
    assert stdout_of(events) == finish(events).stdout == "".join(f"{n}\n" for n in range(1000))
    assert finish(events).value == 7


def test_the_loop_goes_on_while_a_stream_is_awaited(executor: Executor) -> None:
    async def main() -> int:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.01)

        ticking = asyncio.create_task(tick())
        async for _ in executor.astream("import time\ntime.sleep(0.5)"):
            pass
        ticking.cancel()
        return ticks

    assert run(main()) > 10


async def _read(executor: Executor, code: str, begun: asyncio.Event) -> None:
    async for event in executor.astream(code):
        if isinstance(event, Stdout):
            begun.set()


@pytest.mark.parametrize("code", [LOOP, SLEEP], ids=["busy", "asleep"])
def test_cancelling_the_task_ends_the_cell(executor: Executor, name: str, code: str) -> None:
    async def main() -> None:
        begun = asyncio.Event()
        task = asyncio.create_task(_read(executor, NAMED.format(name=name) + code, begun))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(is_gone, name, 1)

    run(main())


def test_a_time_limit_of_the_applications_ends_the_cell(executor: Executor, name: str) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_read(executor, NAMED.format(name=name) + LOOP, asyncio.Event()), 0.5)
        assert await asyncio.to_thread(is_gone, name, 1)

    run(main())


@pytest.mark.parametrize("leave", ["break", "aclose", "with", "cancel"])
def test_leaving_an_async_stream_ends_the_cell(executor: Executor, name: str, leave: str) -> None:
    async def main() -> None:
        stream = executor.astream(NAMED.format(name=name) + LOOP)
        if leave == "with":
            async with stream:
                await anext(stream)
        else:
            async for event in stream:
                if isinstance(event, Stdout):
                    break
            if leave == "aclose":
                await stream.aclose()
                await stream.aclose()
            elif leave == "cancel":
                stream.cancel()
        del stream
        gc.collect()
        assert await asyncio.to_thread(is_gone, name)

    run(main())


def test_an_async_stream_that_nobody_reads_never_begins(executor: Executor) -> None:
    async def main() -> list[Event]:
        stream = executor.astream("print('never')")
        await stream.aclose()
        return [event async for event in stream]

    assert finish(run(main())).status is Status.CANCELLED


def test_a_loop_that_ended_in_the_middle_takes_the_cell_along(executor: Executor, name: str) -> None:
    """The stream is kept, but its loop is gone: nobody will ever read it."""
    code = NAMED.format(name=name) + "import time\nwhile True: print(1, flush=True); time.sleep(0.01)"
    stream = executor.astream(code)

    async def main() -> None:
        await anext(stream)

    run(main())
    assert is_gone(name)


def test_many_async_streams_in_one_loop(executor: Executor) -> None:
    async def read(number: int) -> str:
        return stdout_of([event async for event in executor.astream(f"print({number})")])

    async def main() -> list[str]:
        return await asyncio.gather(*(read(number) for number in range(50)))

    assert run(main()) == [f"{number}\n" for number in range(50)]


def test_a_failure_of_ours_comes_out_of_anext(sandbox: LocalSandbox) -> None:
    def refuse(admission: object) -> None:
        raise QuotaExceeded("no more today")

    async def main() -> None:
        with pytest.raises(QuotaExceeded):
            [event async for event in Executor(sandbox, admit=refuse).astream("1")]

    run(main())


# What an unfinished line gives away.


def test_an_unfinished_line_is_told_while_the_code_runs(executor: Executor) -> None:
    """The code goes on for a minute, so what is read here was told before its end."""
    code = "import time\nprint('Loading', end='', flush=True)\nfor _ in range(3): print('.', end='', flush=True)\n"
    with executor.stream(code + "print(' Your name: ', end='', flush=True)\ntime.sleep(60)") as stream:
        seen = ""
        for event in stream:
            seen += event.text if isinstance(event, Stdout) else ""
            if seen == "Loading... Your name: ":
                break
        assert stream.result is None


def test_a_secret_written_in_pieces_with_pauses_is_told_as_a_marker(executor: Executor) -> None:
    secret = "ghp" + "_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    code = "import os, time\nfor piece in ({!r}, {!r}, {!r}): os.write(1, piece); time.sleep(0.2)\nprint('.')"
    events = list(
        executor.stream(code.format(f"it is {secret[:9]}".encode(), secret[9:30].encode(), secret[30:].encode()))
    )
    assert stdout_of(events) == finish(events).stdout == "it is [redacted:github-token].\n"

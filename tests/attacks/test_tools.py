"""Code against the host's tools: it forges calls, floods, will not listen, and asks for what was not meant for it."""

from __future__ import annotations

import functools
import json
import os
import threading
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from hotcell.events import Finished, ToolCall
from hotcell.executor import Executor
from hotcell.results import ExecutionResult, Status
from hotcell.tools import Toolbox, ToolLimits

LONG, MiB = 60.0, 1 << 20
SECRET = "postgres://admin:hunter2@db/prod"

WIRE = """
import json, os, struct
def send(call):
    data = json.dumps(call).encode()
    data = struct.pack("<BI", 9, len(data)) + data
    while data:
        data = data[os.write(3, data):]
def receive():
    head = b""
    while len(head) < 5:
        head += os.read(3, 5 - len(head))
    kind, size = struct.unpack("<BI", head)
    data = b""
    while len(data) < size:
        data += os.read(3, size - len(data))
    return json.loads(data)
def forge(*args, name="pay", **kwargs):
    send({"id": 1, "name": name, "args": list(args), "kwargs": kwargs})
    return receive()
"""
"""Put before code that speaks on the wire itself, past the functions it was given."""


@pytest.fixture(autouse=True)
def nobody_left() -> Iterator[None]:
    """What hung was let go at the end of the test."""
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("hotcell-tool"):
            thread.join(LONG)


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Set at the end, so that no tool hangs on."""
    event = threading.Event()
    yield event
    event.set()


def run(executor: Executor, code: str, tools: Any, **limits: Any) -> ExecutionResult:
    return executor.execute(WIRE + code, tools=tools, config=executor.config.replace(**limits))


@pytest.mark.threat("tools.forged-call")
def test_forged_calls_are_checked_like_any_other(executor: Executor) -> None:
    """Calls written by hand, with wrong names, types and counts: the tool never sees what its signature forbids."""
    seen: list[int] = []

    def pay(amount: int) -> int:
        seen.append(amount)
        return amount

    code = """
answers = [forge("5"), forge(True), forge(1, 2), forge(), forge(5, evil=1), forge(amount=[5]), forge(amount=None),
           forge(1, name="print"), forge(1, name=None), forge(1, name="__class__")]
calls = [{}, {"id": {}, "name": "pay"}, {"args": 5, "kwargs": 5, "name": "pay"}]
for call in [*calls, {"name": ["pay"], "args": [], "kwargs": {}}]:
    send(call)
    answers.append(receive())
[len(answers), all("error" in answer for answer in answers), forge(7)["value"]]
"""
    result = run(executor, code, {"pay": pay})
    assert result.value == [14, True, 7], result.error
    assert seen == [7] and {call.outcome for call in result.tool_calls[:14]} == {"refused"}


@pytest.mark.threat("tools.forged-call")
@pytest.mark.parametrize(
    "payload",
    [
        "b''",
        "b'[]'",
        "b'nonsense'",
        "b'[' * 100_000",
        """b'{"id": NaN}'""",
        """b'{"name": "\\xff"}'""",
        "b'{}' * 500_000",
    ],
    ids=["empty", "a list", "no JSON", "deep", "NaN", "no UTF-8", "many"],
)
def test_what_is_no_call_ends_the_cell_and_nothing_else(executor: Executor, payload: str) -> None:
    """Frames that are not JSON objects break the protocol: the cell ends, the host and the next cell go on."""
    code = f"""
data = {payload}
data = struct.pack("<BI", 9, len(data)) + data
while data: data = data[os.write(3, data):]
receive()
"""
    assert not run(executor, code, {"abs_": abs_}).success
    assert executor.execute("abs_(-1)", tools={"abs_": abs_}).value == 1


def abs_(number: int) -> int:
    return abs(number)


@pytest.mark.threat("tools.forged-call")
def test_calls_without_tools_end_the_cell(executor: Executor) -> None:
    """Where no tools are given a call is a frame that the protocol does not have."""
    result = executor.execute(WIRE + "forge(1)")
    assert not result.success and result.tool_calls == ()


@pytest.mark.threat("tools.flood")
def test_a_flood_of_calls_fills_no_memory(executor: Executor, release: threading.Event) -> None:
    """Ten thousand calls of a megabyte, sent without waiting for one answer: the host listens to one at a time."""

    def hold(text: str) -> None:
        release.wait(LONG)

    code = """
text = "x" * 1_000_000
for n in range(10_000):
    send({"id": n, "name": "hold", "args": [text], "kwargs": {}})
"""
    toolbox = Toolbox({"hold": hold}, limits=ToolLimits(calls=10_000, calls_per_second=1_000_000))
    tracemalloc.start()
    try:
        result = run(executor, code, toolbox, timeout_seconds=1, pause_seconds=0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert result.status is Status.TIMEOUT
    assert peak < 40 * MiB, peak


@pytest.mark.threat("tools.flood")
def test_small_questions_with_large_answers_fill_no_memory(executor: Executor) -> None:
    """Many small calls, none of whose large answers is read: the next is not made before the last is taken."""
    made = 0

    def read() -> str:
        nonlocal made
        made += 1
        return "x" * 1_000_000

    code = """
call = json.dumps({"id": 1, "name": "read", "args": [], "kwargs": {}}).encode()
os.write(3, (struct.pack("<BI", 9, len(call)) + call) * 1000)
import time
time.sleep(60)
"""
    toolbox = Toolbox({"read": read}, limits=ToolLimits(calls=10_000, calls_per_second=1_000_000))
    result = run(executor, code, toolbox, timeout_seconds=0.5)
    assert result.status is Status.TIMEOUT
    assert made <= 3


@pytest.mark.threat("tools.flood")
def test_calls_past_the_limit_are_neither_made_nor_kept(executor: Executor) -> None:
    """A loop that calls for ever gets refusals, at the pace of calls, and a record that does not grow."""
    made: list[int] = []
    toolbox = Toolbox({"count": made.append}, limits=ToolLimits(calls=5, calls_per_second=2000))
    code = "for n in range(500):\n    try: count(n)\n    except RuntimeError as error: last = str(error)\nlast"
    with executor.stream(code, tools=toolbox) as stream:
        events = list(stream)
    result = next(event.result for event in events if isinstance(event, Finished))
    assert result.value == "No more tool calls: calls=5 are used up."
    assert made == [0, 1, 2, 3, 4]
    assert len(result.tool_calls) == sum(isinstance(event, ToolCall) for event in events) == 15
    assert any("485 more tool calls were refused" in note for note in result.notes), result.notes


@pytest.mark.threat("tools.clock")
def test_a_call_does_not_buy_time(executor: Executor, release: threading.Event) -> None:
    """The code asks for something slow and computes meanwhile: its clock stands still for a while only."""

    def slow() -> None:
        release.wait(LONG)

    code = "send({'id': 1, 'name': 'slow', 'args': [], 'kwargs': {}})\nimport time\ntime.sleep(60)"
    began = time.monotonic()
    result = run(executor, code, {"slow": slow}, timeout_seconds=0.3, pause_seconds=0.3)
    assert result.status is Status.TIMEOUT
    assert time.monotonic() - began < 5
    code = "send({'id': 1, 'name': 'slow', 'args': [], 'kwargs': {}})\nwhile True: pass"
    assert run(executor, code, {"slow": slow}, timeout_seconds=0.3, pause_seconds=60).status is Status.TIMEOUT


@pytest.mark.threat("tools.secrets")
def test_the_hosts_exceptions_do_not_tell_secrets(executor: Executor) -> None:
    """Messages of drivers, causes, tracebacks, paths, defaults, what a partial holds: none reaches the code."""

    class DriverError(Exception):
        pass

    def query(sql: str, connection: object = DriverError(SECRET)) -> None:
        try:
            raise DriverError(SECRET)
        except DriverError as error:
            raise LookupError("no such table") from error

    def connect() -> None:
        raise DriverError(SECRET)

    def read() -> None:
        os.listdir(f"/no/such/place/{SECRET}")

    code = """
import inspect
told = []
for tool in (lambda: query("select"), connect, read, held):
    try:
        tool()
    except Exception as error:
        seen, found = error, []
        while seen is not None:
            found.append(repr(seen) + str(vars(seen)))
            seen = seen.__cause__ or seen.__context__
        told.append(" ".join(found))
for tool in (query, connect, read, held):
    told.append(str(inspect.signature(tool)) + str(tool.__defaults__) + str(tool.__globals__) + str(tool.__doc__))
told
"""
    tools = {"query": query, "connect": connect, "read": read, "held": functools.partial(query, connection=SECRET)}
    result = run(executor, code, tools)
    assert result.success, result.error
    assert "no such table" in result.value[0]
    text = json.dumps(result.value)
    assert "hunter2" not in text and "/no/such" not in text
    assert "hunter2" not in result.to_json()


@pytest.mark.threat("tools.fixed-arguments")
def test_what_the_host_has_fixed_stays_fixed(executor: Executor) -> None:
    """A partial's keyword is no parameter of the tool: the code cannot set it, by name or past the function."""

    def orders(customer: int, tenant: str = "nobody", **more: Any) -> str:
        return tenant

    code = """
answers = [forge(1, name="orders")["value"], "error" in forge(1, name="orders", tenant="other")]
try: orders(1, tenant="other")
except TypeError as error: answers.append(str(error))
answers
"""
    result = run(executor, code, {"orders": functools.partial(orders, tenant="ours")})
    assert result.value[:2] == ["ours", True] and "unexpected keyword argument 'tenant'" in result.value[2]


@pytest.mark.threat("tools.other-processes")
@pytest.mark.usefixtures("needs_namespaces")
def test_a_child_of_the_code_is_told_that_it_cannot_call(executor: Executor) -> None:
    """A forked child would mix its frames with its parent's: its functions refuse, and the parent's go on."""
    code = """
import os, sys
child = os.fork()
if child == 0:
    try: abs_(-1)
    except RuntimeError as error: print(error, flush=True)
    os._exit(0)
os.waitpid(child, 0)
abs_(-5)
"""
    result = executor.execute(code, tools={"abs_": abs_})
    assert result.value == 5 and "by the cell's first process only" in result.stdout


@pytest.mark.threat("tools.supervisor")
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError, RecursionError])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_tool_that_throws_takes_nobody_with_it(
    executor: Executor, error: type[BaseException], is_async: bool
) -> None:
    """SystemExit and its like, raised in a tool, are an exception in the cell and nothing on the host."""

    def fail() -> None:
        raise error

    async def fail_later() -> None:
        raise error

    code = "try: fail()\nexcept Exception as error: print(type(error).__name__)\nabs_(-1)"
    result = executor.execute(code, tools={"fail": fail_later if is_async else fail, "abs_": abs_})
    assert result.value == 1 and result.stdout == "ToolError\n"

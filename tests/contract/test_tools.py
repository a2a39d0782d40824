"""Host tools from Python to the cell and back, in every way there is to run code."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from hotcell.config import SandboxConfig
from hotcell.errors import ConfigurationError
from hotcell.events import Finished, ToolCall, ToolReturn
from hotcell.executor import Executor
from hotcell.policy import Policy
from hotcell.results import ExecutionResult, Status
from hotcell.sandboxes.base import Cancellation
from hotcell.sandboxes.local.sandbox import LocalSandbox
from hotcell.tools import Tool, Toolbox, ToolError, ToolLimits

LONG = 60.0
tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")

CUSTOMERS = {1: "Ada", 2: "Grace"}
ORDERS = {1: [("EUR", 10.0), ("USD", 20.0)], 2: []}


@dataclasses.dataclass
class Order:
    currency: str
    amount: float


def list_customers() -> dict[int, str]:
    """All customers by their id."""
    return CUSTOMERS


def orders_of(customer_id: int) -> list[Order]:
    """What a customer has ordered."""
    if customer_id not in ORDERS:
        raise ValueError(f"no customer {customer_id}")
    return [Order(*order) for order in ORDERS[customer_id]]


async def exchange_rate(currency: str) -> float:
    """Euros for one unit."""
    await asyncio.sleep(0)
    return {"EUR": 1.0, "USD": 0.5}[currency]


def whose() -> str:
    """The tenant of the request."""
    return tenant.get()


TOOLS = {"list_customers": list_customers, "orders_of": orders_of, "exchange_rate": exchange_rate, "whose": whose}
PROGRAM = """
total = {}
for number, name in list_customers().items():
    orders = orders_of(int(number))
    total[name] = sum(order["amount"] * exchange_rate(order["currency"]) for order in orders)
total
"""


@pytest.fixture(scope="module")
def executor(sandbox: LocalSandbox) -> Executor:
    return Executor(sandbox, SandboxConfig(timeout_seconds=20), Policy.standard())


@pytest.fixture(autouse=True)
def nobody_left() -> Iterator[None]:
    """Other tests count descriptors, which the loops of async tools hold."""
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("hotcell-tool"):
            thread.join(LONG)
            assert not thread.is_alive()


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Set at the end, so that no tool hangs on."""
    event = threading.Event()
    yield event
    event.set()


def value(result: ExecutionResult) -> Any:
    assert result.success, (result.reason, result.error)
    return result.value


def test_one_program_orchestrates_three_tools(executor: Executor):
    result = executor.execute(PROGRAM, tools=TOOLS)
    assert value(result) == {"Ada": 20.0, "Grace": 0}
    assert [(call.number, call.name, call.outcome) for call in result.tool_calls] == [
        (1, "list_customers", "ok"),
        (2, "orders_of", "ok"),
        (3, "exchange_rate", "ok"),
        (4, "exchange_rate", "ok"),
        (5, "orders_of", "ok"),
    ]
    assert result.tool_calls[1].arguments == {"customer_id": 1}
    assert result.tool_calls[2].value == 1.0
    assert result.to_dict()["tool_calls"][1]["value"][0] == {"currency": "EUR", "amount": 10.0}


def test_the_code_catches_what_a_tool_raises(executor: Executor):
    code = "try:\n    orders_of(9)\nexcept ValueError as error:\n    print(error)\norders_of('x')"
    result = executor.execute(code, tools=TOOLS)
    assert result.status is Status.ERROR and result.stdout == "no customer 9\n"
    assert result.error and result.error.type == "TypeError" and result.error.line == 5
    assert "argument 'customer_id' must be int, not str 'x'" in result.error.message
    assert "/" not in result.error.traceback, "no path of ours, and none of the host's"
    assert [call.outcome for call in result.tool_calls] == ["error", "refused"]


def test_tool_errors_can_be_named(executor: Executor):
    def fail():
        raise ToolError("ask again tomorrow")

    code = "try:\n    fail()\nexcept ToolError as error:\n    result = str(error)"
    assert value(executor.execute(code, tools={"fail": fail})) == "ask again tomorrow"


def test_a_stream_tells_of_calls_as_they_happen(executor: Executor, release: threading.Event):
    def wait(x: int) -> int:
        assert release.wait(LONG)
        return x + 1

    with executor.stream("print('before', flush=True)\nwait(1)", tools={"wait": wait}) as stream:
        events = []
        for event in stream:
            events.append(event)
            if isinstance(event, ToolCall):
                release.set()  # it is told before it comes back
    kinds = [event.kind for event in events]
    assert kinds == ["started", "stdout", "tool_call", "tool_return", "finished"]
    call, back = events[2], events[3]
    assert isinstance(call, ToolCall) and (call.number, call.name, call.arguments) == (1, "wait", {"x": 1})
    assert isinstance(back, ToolReturn) and (back.number, back.outcome, back.error) == (1, "ok", "")
    assert isinstance(events[4], Finished) and value(events[4].result) == 2


def test_every_way_to_run_code_shows_tools_the_callers_context(executor: Executor):
    async def twins() -> list[Any]:
        tenant.set("async")
        results = [await executor.aexecute("whose()", tools=TOOLS)]
        async with executor.astream("whose()", tools=TOOLS) as stream:
            results += [event.result async for event in stream if isinstance(event, Finished)]
        async with await executor.asession() as session:
            results.append(await session.aexecute("whose()", tools=TOOLS))
        return [value(result) for result in results]

    token = tenant.set("sync")
    try:
        results = [executor.execute("whose()", tools=TOOLS)]
        with executor.stream("whose()", tools=TOOLS) as stream:
            results += [event.result for event in stream if isinstance(event, Finished)]
        with executor.session() as session:
            results.append(session.execute("whose()", tools=TOOLS))
    finally:
        tenant.reset(token)
    assert [value(result) for result in results] == ["sync"] * 3
    assert asyncio.run(twins()) == ["async"] * 3


def test_an_async_tool_runs_on_the_loop_that_awaits_the_code(executor: Executor):
    async def main() -> tuple[int, Any]:
        async def where() -> int:
            return id(asyncio.get_running_loop())

        result = await executor.aexecute("where()", tools={"where": where})
        return id(asyncio.get_running_loop()), value(result)

    ours, seen = asyncio.run(main())
    assert ours == seen


def test_a_session_has_the_tools_of_each_call(executor: Executor):
    with executor.session() as session:
        session.execute("def ask(n):\n    return orders_of(n)", tools=TOOLS)
        assert value(session.execute("len(ask(1))", tools=TOOLS)) == 2
        without = session.execute("ask(1)")
        assert without.error and without.error.type == "RuntimeError" and "has ended" in without.error.message
        assert without.tool_calls == ()
        assert value(session.execute("kept = orders_of\nlen(kept(1))", tools=TOOLS)) == 2
        assert value(session.execute("len(kept(1))", tools={"orders_of": orders_of})) == 2


def test_a_sessions_call_that_is_interrupted_in_a_tool_keeps_the_state(executor: Executor, release: threading.Event):
    def hang():
        release.wait(LONG)
        return "late"

    config = executor.config.replace(timeout_seconds=0.3, pause_seconds=0)
    with executor.session(config=config) as session:
        session.execute("x = 41")
        stopped = session.execute("hang()", tools={"hang": hang})
        assert stopped.status is Status.TIMEOUT
        assert [call.outcome for call in stopped.tool_calls] == ["abandoned"]
        release.set()
        assert value(session.execute("x + len(list_customers())", tools=TOOLS)) == 43


def test_the_cells_clock_stands_still_while_the_host_works(executor: Executor):
    def slow():
        time.sleep(0.2)

    code = "for _ in range(5):\n    slow()\n'done'"
    config = executor.config.replace(timeout_seconds=0.7)
    assert value(executor.execute(code, tools={"slow": slow}, config=config)) == "done"


def test_it_does_not_stand_still_for_ever(executor: Executor, release: threading.Event):
    def hang():
        release.wait(LONG)

    config = executor.config.replace(timeout_seconds=0.2, pause_seconds=0.2)
    result = executor.execute("hang()", tools={"hang": hang}, config=config)
    assert result.status is Status.TIMEOUT
    assert [call.outcome for call in result.tool_calls] == ["abandoned"]


def test_a_tool_that_hangs_is_a_timeout_that_the_code_can_catch(executor: Executor, release: threading.Event):
    def hang():
        release.wait(LONG)

    tools = {**TOOLS, "hang": Tool(hang, timeout_seconds=0.1)}
    code = "try:\n    hang()\nexcept TimeoutError as error:\n    print(error)\nlen(list_customers())"
    result = executor.execute(code, tools=tools)
    assert value(result) == 2 and "hang() took longer than 0.1 s" in result.stdout


def test_cancelling_does_not_wait_for_a_tool(executor: Executor, release: threading.Event):
    begun = threading.Event()
    cancellation = Cancellation()

    def hang():
        begun.set()
        release.wait(LONG)

    def cancel():
        assert begun.wait(LONG)
        cancellation.cancel()

    threading.Thread(target=cancel).start()
    result = executor.execute("hang()", tools={"hang": hang}, cancellation=cancellation)
    assert result.status is Status.CANCELLED and not release.is_set()


def test_threads_of_the_code_share_the_tools(executor: Executor):
    code = """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(8) as pool:
    results = list(pool.map(double, range(200)))
results == [2 * number for number in range(200)]
"""
    toolbox = Toolbox({"double": lambda x: 2 * x}, limits=ToolLimits(calls=200, calls_per_second=100_000))
    relaxed = Executor(executor.sandbox, executor.config, Policy.permissive())
    result = relaxed.execute(code, tools=toolbox)
    assert value(result) is True and len(result.tool_calls) == 200


def test_await_outside_a_function_and_tools_go_together(executor: Executor):
    code = "import asyncio\nawait asyncio.sleep(0)\nrate = exchange_rate('USD')\nrate"
    assert value(executor.execute(code, tools=TOOLS)) == 0.5


def test_secrets_are_taken_out_of_what_is_told_of_a_call(executor: Executor):
    secret = "AKIA" + "IOSFODNN7EXAMPLE"

    def lookup(key: str) -> str:
        return f"key {secret}"

    result = executor.execute(f"lookup('{secret}')\nNone", tools={"lookup": lookup})
    assert result.success and secret not in result.to_json()
    assert len(result.tool_calls) == 1


def test_a_name_is_refused_before_anything_runs(executor: Executor):
    for tools in ({"print": whose}, {"orders": 5}, [whose]):
        with pytest.raises(ConfigurationError, match="tools"):
            executor.execute("1", tools=tools)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="also a name in context"):
        executor.execute("1", tools=TOOLS, context={"whose": 1})

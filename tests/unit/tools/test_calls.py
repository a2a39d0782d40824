"""Tools that hang, throw, flood or lie; cells that ask for anything at all. Each call has one answer, and we go on."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import dataclasses
import gc
import json
import logging
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hotcell
from hotcell.tools import Tool, Toolbox, ToolError, ToolLimits
from hotcell.tools.calls import ToolRun

LONG = 60.0
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)
request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="nobody's")


class Cell:
    """The cell's end of a run: asks, and keeps what it is told."""

    def __init__(self, tools: Mapping[str, Any], loop: asyncio.AbstractEventLoop | None = None, **limits: Any) -> None:
        toolbox = tools if isinstance(tools, Toolbox) else Toolbox(tools, limits=ToolLimits(**limits))
        self.run = ToolRun(toolbox, loop=loop)
        self.told: list[Mapping[str, Any] | None] = []
        self.answers: list[dict[str, Any]] = []
        self._news = threading.Condition()

    def take(self, told: Mapping[str, Any] | None, payload: bytes) -> None:
        with self._news:
            self.told.append(told)
            self.answers.append(json.loads(payload))
            self._news.notify_all()

    def send(self, call: Any) -> Mapping[str, Any] | None:
        return self.run.start(call, self.take)

    def wait_for(self, count: int) -> list[dict[str, Any]]:
        with self._news:
            assert self._news.wait_for(lambda: len(self.answers) >= count, LONG)
        return self.answers

    def ask(self, name: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Call, and wait for the answer."""
        count = len(self.answers) + 1
        self.send({"id": count, "name": name, "args": list(args), "kwargs": kwargs})
        answer = self.wait_for(count)[-1]
        assert answer.pop("id") == count
        return answer


def tool_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("hotcell-tool")]


@pytest.fixture(autouse=True)
def nobody_left() -> Iterator[None]:
    """What hung was let go at the end of the test; other tests count descriptors, which loops hold."""
    yield
    for thread in tool_threads():
        thread.join(LONG)
        assert not thread.is_alive()


@contextlib.contextmanager
def cell_with(*functions: Callable[..., Any], **limits: Any) -> Iterator[Cell]:
    cell = Cell({function.__name__: function for function in functions}, **limits)
    try:
        yield cell
    finally:
        cell.run.close()


def error_of(answer: dict[str, Any]) -> tuple[str, str]:
    assert "value" not in answer
    return answer["error"]["type"], answer["error"]["message"]


def double(number: int) -> int:
    return number * 2


# --- results


def test_a_call_comes_back_with_its_result_and_leaves_a_record():
    with cell_with(double) as cell:
        told = cell.send({"id": 7, "name": "double", "args": [4], "kwargs": {}})
        assert told == {"number": 1, "name": "double", "arguments": {"number": 4}}
        assert cell.wait_for(1) == [{"id": 7, "value": 8}]
        assert cell.told[0].keys() == {"number", "name", "outcome", "error", "seconds"}
    (record,) = cell.run.calls
    assert (record.number, record.name, record.arguments, record.outcome) == (1, "double", {"number": 4}, "ok")
    assert (record.value, record.error) == (8, "") and record.seconds > 0


@dataclasses.dataclass
class Row:
    name: str
    scores: tuple[float, ...]


@pytest.mark.parametrize(
    ("value", "becomes"),
    [
        (None, None),
        (Row("Ada", (1.0, float("nan"))), {"name": "Ada", "scores": [1.0, None]}),
        ({3, 1, 2}, [1, 2, 3]),
        ({1: b"\0"}, {"1": "AA=="}),
        ("\ud800", "\\ud800"),
    ],
)
def test_a_result_becomes_data_by_the_rules_of_values(value: Any, becomes: Any):
    def give():
        return value

    with cell_with(give) as cell:
        assert cell.ask("give") == {"value": becomes}


def cyclic() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


@dataclasses.dataclass
class Rude:
    @property
    def name(self) -> str:
        raise SystemExit("rude")


Rude.__dataclass_fields__ = Row.__dataclass_fields__


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: (number for number in range(3)), "TypeError", "give() returned a generator, which is not JSON data."),
        (lambda: [{"a": object()}], "TypeError", "give() returned a object, which is not JSON data."),
        (cyclic, "TypeError", "give() returned a container that contains itself, which is not JSON data."),
        (lambda: 1 << 20_000, "TypeError", "give() returned an int of 20001 bits, which is not JSON data."),
        (lambda: "x" * 2048, "ValueError", "give() returned more than 1,024 bytes as JSON, which is too large."),
        (lambda: "é" * 1000, "ValueError", "give() returned more than 1,024 bytes as JSON, which is too large."),
        (lambda: open, "TypeError", "give() returned a builtin_function_or_method, which is not JSON data."),
        (Rude, "ToolError", "give() returned a Rude, which raised SystemExit when it was looked at."),
    ],
)
def test_what_cannot_cross_is_an_error_that_names_tool_and_type(make: Any, kind: str, message: str):
    def give():
        return make()

    with cell_with(give, result_bytes=1024) as cell:
        assert error_of(cell.ask("give")) == (kind, message)
    assert cell.run.calls[0].outcome == "error"


# --- exceptions


class OwnError(ToolError):
    pass


class DatabaseError(ValueError):
    pass


SECRET = "postgres://admin:hunter2@db/prod"


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (ToolError("No such city: ask for its code first."), "ToolError", "No such city: ask for its code first."),
        (OwnError("meant"), "OwnError", "meant"),
        (ValueError("no such city"), "ValueError", "no such city"),
        (KeyError("Oslo"), "KeyError", "Oslo"),
        (RuntimeError("boom"), "RuntimeError", "boom"),
        (PermissionError("not yours"), "PermissionError", "not yours"),
        (FileNotFoundError(2, "x", "/srv/secrets/key"), "FileNotFoundError", os.strerror(2)),
        (DatabaseError(SECRET), "DatabaseError", "throw() failed on the host with DatabaseError."),
        (sqlite3.OperationalError(SECRET), "OperationalError", "throw() failed on the host with OperationalError."),
        (AttributeError(SECRET), "AttributeError", "throw() failed on the host with AttributeError."),
        (UnicodeDecodeError("utf-8", SECRET.encode(), 0, 1, "x"), "UnicodeDecodeError", None),
        (ImportError(SECRET), "ImportError", None),
        (ExceptionGroup(SECRET, [ValueError(SECRET)]), "ExceptionGroup", None),
        (SystemExit(SECRET), "SystemExit", None),
        (KeyboardInterrupt(SECRET), "KeyboardInterrupt", None),
        (GeneratorExit(SECRET), "GeneratorExit", None),
        (asyncio.CancelledError(SECRET), "CancelledError", None),
        (StopIteration(SECRET), "StopIteration", None),
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
def test_what_a_tool_raises_is_data_and_says_only_what_was_meant_for_the_cell(
    error: BaseException, kind: str, message: str | None, is_async: bool
):
    def throw():
        raise error from OSError(SECRET)

    async def throw_later():
        raise error from OSError(SECRET)

    if is_async and isinstance(error, StopIteration):
        kind, message = "RuntimeError", "coroutine raised StopIteration"
    tool = throw_later if is_async else throw
    cell = Cell({"throw": tool, "double": double})
    try:
        told = error_of(cell.ask("throw"))
        assert told == (kind, message or f"throw() failed on the host with {kind}.")
        assert cell.ask("double", 2) == {"value": 4}
    finally:
        cell.run.close()
    assert SECRET not in repr(cell.run.calls) and cell.run.calls[0].outcome == "error"


def test_the_log_has_all_of_an_exception(caplog: pytest.LogCaptureFixture):
    def throw():
        raise DatabaseError(SECRET)

    def tell():
        raise ToolError("as planned")

    with cell_with(throw, tell) as cell:
        cell.ask("throw")
        cell.ask("tell")
    (record,) = [item for item in caplog.records if item.levelno >= logging.WARNING]
    assert "throw" in record.getMessage() and record.exc_info and SECRET in str(record.exc_info[1])


def test_a_message_that_floods_or_cannot_be_made_is_cut():
    class Mute(ToolError):
        def __str__(self):
            raise ZeroDivisionError

    def flood():
        raise ValueError("x" * 100_000)

    def mute():
        raise Mute

    with cell_with(flood, mute) as cell:
        assert len(error_of(cell.ask("flood"))[1]) == 2000
        assert error_of(cell.ask("mute")) == ("Mute", "<str() of this Mute failed>")


# --- arguments


def test_arguments_are_checked_before_the_tool_sees_them():
    seen = []

    def pay(amount: int, to: str = "me"):
        seen.append((amount, to))

    with cell_with(pay) as cell:
        for args, kwargs in [(["5"], {}), ([True], {}), ([], {}), ([1, 2], {}), ([1], {"evil": 1}), ([1, "a", 3], {})]:
            kind, message = error_of(cell.ask("pay", *args, **kwargs))
            assert kind == "TypeError" and message.startswith("pay()")
        assert {record.outcome for record in cell.run.calls} == {"refused"} and not seen
        cell.ask("pay", 5, to="you")
        assert seen == [(5, "you")]


def test_arguments_that_are_too_large_are_refused():
    with cell_with(double, argument_bytes=1024) as cell:
        kind, message = error_of(cell.ask("double", "x" * 2000))
    assert kind == "ValueError" and "1,024 bytes" in message


def test_the_constructor_of_a_dataclass_runs_where_it_can_neither_block_nor_kill_us():
    release = threading.Event()

    @dataclasses.dataclass
    class Slow:
        number: int

        def __post_init__(self):
            if self.number:
                raise SystemExit
            release.wait(LONG)

    def take(slow: Slow):
        raise AssertionError("never")

    take.__annotations__["slow"] = Slow
    with cell_with(take, double, call_seconds=0.05) as cell:
        assert error_of(cell.ask("take", {"number": 1}))[0] == "SystemExit"
        assert error_of(cell.ask("take", {"number": 0}))[0] == "TimeoutError"
        assert cell.ask("double", 1) == {"value": 2}
        release.set()


def test_a_record_keeps_the_arguments_as_they_came_and_not_too_much_of_them():
    def spoil(data: dict[str, Any], text: str, *rest: int):
        data.clear()
        return "y" * 5000

    with cell_with(spoil) as cell:
        cell.ask("spoil", {"a": 1}, "x" * 5000, 1, 2)
    (record,) = cell.run.calls
    assert record.arguments["data"] == {"a": 1} and record.arguments["rest"] == [1, 2]
    assert len(record.arguments["text"]) < 1100 and record.arguments["text"].endswith("characters more)")
    assert len(record.value) < 1100


# --- hostile calls

CALLS = st.one_of(
    st.dictionaries(st.text(), JSON, max_size=5),
    st.fixed_dictionaries({}, optional={"id": JSON, "name": JSON, "args": JSON, "kwargs": JSON}),
    st.fixed_dictionaries(
        {
            "id": st.integers(),
            "name": st.sampled_from(["double", "keep", "nothing"]),
            "args": st.lists(JSON, max_size=3),
            "kwargs": st.dictionaries(st.sampled_from(["number", "self", "rest", "x"]), JSON, max_size=3),
        }
    ),
)


def keep(*rest: Any, **more: Any) -> Any:
    return [rest, more]


@settings(deadline=None)
@given(st.lists(CALLS, max_size=8))
def test_whatever_a_cell_asks_for_has_exactly_one_answer(calls: list[dict[str, Any]]):
    with cell_with(double, keep, calls=5, calls_per_second=1_000_000) as cell:
        for call in calls:
            told = cell.send(call)
            assert told and json.dumps(told)
        cell.wait_for(len(calls))
        assert cell.ask("double", 1) == ({"value": 2} if len(calls) < 5 else {"error": cell.answers[-1]["error"]})
        assert len(cell.answers) == len(calls) + 1 == len(cell.run.calls)
        assert not cell.run.is_working
    ids = [answer.get("id") for answer in cell.answers[:-1]]
    asked = [call.get("id") for call in calls]
    assert all(number is None or number in asked for number in ids)


def test_a_cell_that_does_not_wait_for_answers_gets_them_all_in_one_row():
    most, now = 0, 0
    lock = threading.Lock()

    def count(number: int) -> int:
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0)
        with lock:
            now -= 1
        return number

    with cell_with(count, calls=1000, calls_per_second=1_000_000) as cell:
        for number in range(1000):
            cell.send({"id": number, "name": "count", "args": [number], "kwargs": {}})
        answers = cell.wait_for(1000)
    assert [(answer["id"], answer["value"]) for answer in answers] == [(number, number) for number in range(1000)]
    assert most == 1
    assert [record.number for record in cell.run.calls] == list(range(1, 1001))


def test_threads_that_start_calls_at_once_lose_none():
    with cell_with(double, calls=400, calls_per_second=1_000_000) as cell:
        threads = [
            threading.Thread(
                target=lambda: [
                    cell.send({"id": number, "name": "double", "args": [number], "kwargs": {}}) for number in range(100)
                ]
            )
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        answers = cell.wait_for(400)
    assert all(answer["value"] == answer["id"] * 2 for answer in answers)
    assert sorted(record.number for record in cell.run.calls) == list(range(1, 401))


# --- limits


def test_calls_past_their_number_are_refused_and_do_not_pile_up():
    with cell_with(double, calls=3, calls_per_second=1_000_000) as cell:
        for number in range(3):
            assert cell.ask("double", number) == {"value": number * 2}
        told = [cell.send({"id": 1, "name": "double", "args": [1], "kwargs": {}}) for _ in range(1000)]
        cell.wait_for(1003)
    assert all(answer["error"]["message"] == "No more tool calls: calls=3 are used up." for answer in cell.answers[3:])
    assert [item is not None for item in told] == [item is not None for item in cell.told[3:]]
    assert sum(item is not None for item in told) == 10, "the rest is nobody's news"
    assert [record.outcome for record in cell.run.calls] == ["ok"] * 3 + ["refused"] * 10
    assert cell.run.notes == ("990 more tool calls were refused: more than calls=3.",)


def test_a_tool_that_hangs_is_a_timeout_and_the_next_call_works():
    release = threading.Event()

    def hang():
        release.wait(LONG)

    with cell_with(hang, double, call_seconds=0.05) as cell:
        assert error_of(cell.ask("hang")) == ("TimeoutError", "hang() took longer than 0.05 s.")
        assert cell.ask("double", 3) == {"value": 6}
        release.set()  # what comes too late is nobody's answer
        assert cell.ask("double", 4) == {"value": 8}
    assert [record.outcome for record in cell.run.calls] == ["timeout", "ok", "ok"]
    assert len(cell.answers) == 3


def test_a_tool_may_have_a_time_of_its_own():
    release = threading.Event()

    def hang():
        release.wait(LONG)

    cell = Cell({"hang": Tool(hang, timeout_seconds=0.05)})
    try:
        assert error_of(cell.ask("hang"))[0] == "TimeoutError"
    finally:
        release.set()
        cell.run.close()


def test_all_calls_together_have_a_time():
    release = threading.Event()

    def hang():
        release.wait(LONG)

    with cell_with(hang, double, total_seconds=0.05) as cell:
        assert error_of(cell.ask("hang"))[0] == "TimeoutError"
        kind, message = error_of(cell.ask("double", 1))
        release.set()
    assert kind == "TimeoutError" and "total_seconds=0.05 are used up" in message
    assert [record.outcome for record in cell.run.calls] == ["timeout", "refused"]


def test_calls_that_come_too_fast_wait_on_the_time_of_the_cell():
    with cell_with(double, calls_per_second=1.0) as cell:
        assert cell.ask("double", 1) == {"value": 2}
        cell.send({"id": 2, "name": "double", "args": [2], "kwargs": {}})
        sent = time.monotonic()
        while cell.run.is_working:  # until the clerk has seen that it is too soon
            time.sleep(0.001)
        assert len(cell.answers) == 1
        assert cell.wait_for(2)[1]["value"] == 4
    assert cell.run.host_seconds < time.monotonic() - sent, "waiting is not the host's work"


def test_the_host_works_from_the_call_to_the_answer():
    begun, release = threading.Event(), threading.Event()

    def wait():
        begun.set()
        release.wait(LONG)

    with cell_with(wait) as cell:
        assert not cell.run.is_working
        cell.send({"id": 1, "name": "wait", "args": [], "kwargs": {}})
        assert cell.run.is_working
        assert begun.wait(LONG) and cell.run.is_working
        release.set()
        cell.wait_for(1)
        assert not cell.run.is_working and cell.run.host_seconds > 0


# --- async


def test_an_async_tool_runs_on_one_loop_of_its_own():
    async def where():
        await asyncio.sleep(0)
        return id(asyncio.get_running_loop())

    with cell_with(where) as cell:
        assert cell.ask("where") == cell.ask("where")


def test_an_async_tool_runs_on_the_loop_of_whoever_awaits():
    async def where():
        return id(asyncio.get_running_loop()), request_id.get()

    async def main():
        request_id.set("ours")
        loop = asyncio.get_running_loop()
        cell = Cell({"where": where, "later": lambda: where()}, loop=loop)
        request_id.set("another's")
        try:
            for name in ("where", "later"):
                assert await asyncio.to_thread(cell.ask, name) == {"value": [id(loop), "ours"]}
        finally:
            cell.run.close()

    asyncio.run(main())


def test_an_async_tool_that_hangs_is_cancelled():
    cancelled = threading.Event()

    async def hang():
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with cell_with(hang, double, call_seconds=0.05) as cell:
        assert error_of(cell.ask("hang"))[0] == "TimeoutError"
        assert cancelled.wait(LONG)
        assert cell.ask("double", 1) == {"value": 2}


def test_an_async_tool_that_blocks_its_loop_blocks_nobody_else():
    release = threading.Event()

    async def block():
        release.wait(LONG)

    with cell_with(block, double, call_seconds=0.05) as cell:
        assert error_of(cell.ask("block"))[0] == "TimeoutError"
        assert cell.ask("double", 1) == {"value": 2}
    with cell_with(block, call_seconds=LONG) as other:
        release.set()
        assert other.ask("block") == {"value": None}


def test_a_loop_that_is_closed_is_an_error_of_the_call():
    async def tool():
        raise AssertionError("never")

    loop = asyncio.new_event_loop()
    loop.close()
    cell = Cell({"tool": tool}, loop=loop)
    try:
        assert error_of(cell.ask("tool")) == ("ToolError", "The event loop that it needs is closed.")
    finally:
        cell.run.close()
    gc.collect()  # a coroutine that was never awaited would be a warning, and so an error


# --- context, re-entrancy, the end


def test_a_tool_sees_the_context_of_the_caller_and_cannot_change_it():
    def who() -> str:
        name = request_id.get()
        request_id.set("changed")
        return name

    token = request_id.set("Ada's")
    cell = Cell({"who": who})
    request_id.reset(token)
    try:
        assert [cell.ask("who"), cell.ask("who")] == [{"value": "Ada's"}] * 2
    finally:
        cell.run.close()
    assert request_id.get() == "nobody's"


def test_a_tool_may_run_code_in_another_cell():
    with hotcell.LocalSandbox() as sandbox:
        executor = hotcell.Executor(sandbox=sandbox)

        def compute(expression: str) -> Any:
            return executor.execute(expression).value

        with cell_with(compute) as cell:
            assert cell.ask("compute", "6 * 7") == {"value": 42}


def test_closing_during_a_call_drops_its_answer():
    begun, release, done = threading.Event(), threading.Event(), threading.Event()

    def hang():
        begun.set()
        release.wait(LONG)
        done.set()
        return 1

    with cell_with(hang, double) as cell:
        cell.send({"id": 1, "name": "hang", "args": [], "kwargs": {}})
        cell.send({"id": 2, "name": "double", "args": [1], "kwargs": {}})
        assert begun.wait(LONG)
        cell.run.close()
        release.set()
        assert done.wait(LONG)
    cell.send({"id": 3, "name": "double", "args": [1], "kwargs": {}})
    assert cell.answers == []
    assert [record.outcome for record in cell.run.calls] == ["abandoned"] * 3


def test_closing_cancels_what_is_awaited():
    begun, cancelled = threading.Event(), threading.Event()

    async def hang():
        begun.set()
        try:
            await asyncio.sleep(LONG)
        finally:
            cancelled.set()

    with cell_with(hang) as cell:
        cell.send({"id": 1, "name": "hang", "args": [], "kwargs": {}})
        assert begun.wait(LONG)
    assert cancelled.wait(LONG)


def test_a_closed_run_leaves_no_thread_but_the_one_that_hangs():
    release = threading.Event()

    def hang():
        release.wait(LONG)

    async def nothing():
        pass

    before = set(tool_threads())
    with cell_with(hang, nothing, double, call_seconds=0.05) as cell:
        cell.ask("double", 1)
        cell.ask("nothing")
        cell.ask("hang")
        cell.ask("double", 1)
    ours = set(tool_threads()) - before
    assert all(thread.daemon for thread in ours), "none keeps the interpreter from ending"
    release.set()
    for thread in ours:
        thread.join(LONG)
    assert not any(thread.is_alive() for thread in ours)


def test_a_tool_that_hangs_for_ever_keeps_neither_the_conversation_nor_the_arguments_alive():
    release, begun = threading.Event(), threading.Event()

    def hang(text: str):
        del text
        begun.set()
        release.wait(LONG)

    cell = Cell({"hang": hang})
    cell.send({"id": 1, "name": "hang", "args": ["x"], "kwargs": {}})
    assert begun.wait(LONG)
    cell.run.close()
    conversation = weakref.ref(cell)
    del cell
    gc.collect()
    assert conversation() is None
    release.set()


def test_whoever_takes_answers_may_fail_and_the_next_call_works():
    def fail(told: Mapping[str, Any] | None, payload: bytes) -> None:
        raise OSError("gone")

    with cell_with(double) as cell:
        cell.run.start({"id": 1, "name": "double", "args": [1], "kwargs": {}}, fail)
        cell.run.start({"id": 1, "name": "nothing", "args": [1], "kwargs": {}}, fail)
        assert cell.ask("double", 1) == {"value": 2}


def test_a_host_without_threads_left_answers_all_the_same(monkeypatch: pytest.MonkeyPatch):
    def none_left(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with cell_with(double) as cell:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", none_left)
            assert error_of(cell.ask("double", 1)) == ("RuntimeError", "The host has no thread left for it.")
        assert cell.ask("double", 1) == {"value": 2}

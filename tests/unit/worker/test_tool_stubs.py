"""Inside the cell a tool is an ordinary function: same errors, same signature, one call at a time, one process."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
import os
import pydoc
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotcell.tools import Toolbox, ToolLimits
from hotcell.tools.calls import ToolRun
from hotcell.worker import namespace, runner
from hotcell.worker.tools import Caller, ToolError, make_stubs
from hotcell.worker.tracebacks import Source

LONG = 60.0
RULES: dict[str, Any] = {"policy": "", "imports_allowed": None, "imports_denied": "", "builtins_denied": []}


class Wire:
    """The way to a real run and back, as JSON text; ``sent`` are the calls that went over it."""

    def __init__(self, run: ToolRun) -> None:
        self.run = run
        self.sent: list[dict[str, Any]] = []

    def exchange(self, call: dict[str, Any]) -> dict[str, Any]:
        self.sent.append(call)
        answered, answers = threading.Event(), []

        def take(_told: Any, payload: bytes) -> None:
            answers.append(json.loads(payload))
            answered.set()

        self.run.start(json.loads(json.dumps(call, allow_nan=False)), take)
        assert answered.wait(LONG)
        return answers[0]


class Inside:
    """What code finds defined."""

    def __init__(self, wire: Wire, caller: Caller, names: dict[str, Any]) -> None:
        self.wire = wire
        self.caller = caller
        self.names = names

    def __getattr__(self, name: str) -> Any:
        return self.names[name]


@contextlib.contextmanager
def cell_with(*functions: Callable[..., Any], **limits: Any) -> Iterator[Inside]:
    limits = {"calls_per_second": 1_000_000, "calls": 100_000, **limits}
    run = ToolRun(Toolbox({function.__name__: function for function in functions}, limits=ToolLimits(**limits)))
    wire, caller = Wire(run), Caller()
    caller.open(wire.exchange)
    try:
        yield Inside(wire, caller, make_stubs(json.loads(json.dumps(run.announce())), caller))
    finally:
        run.close()


def mixed(first: int, second: int = 2, /, third: int = 3, *rest: int, fourth: int = 4, fifth: Any = ..., **more: int):
    """Take all kinds."""
    return [first, second, third, list(rest), fourth, fifth is ..., more]


def search(query: str, limit: int = 10) -> list[str]:
    """Find pages about something."""
    return [query] * limit


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((1,), {}),
        ((1, 5), {}),
        ((1, 5, 6), {}),
        ((1,), {"third": 6}),
        ((1, 5, 6, 7, 8), {}),
        ((1, 5, 6, 7), {"fourth": 9, "fifth": 1}),
        ((1,), {"fifth": None, "first": 8, "rest": 9}),
    ],
)
def test_arguments_arrive_as_they_would_without_a_wall(args: tuple[int, ...], kwargs: dict[str, int]):
    with cell_with(mixed) as cell:
        assert cell.mixed(*args, **kwargs) == mixed(*args, **kwargs)


def test_what_is_not_given_is_not_sent():
    with cell_with(mixed) as cell:
        cell.mixed(1, third=5)
        (call,) = cell.wire.sent
    assert (call["name"], call["args"], call["kwargs"]) == ("mixed", [1], {"third": 5})


def test_it_looks_like_the_function_it_stands_for():
    with cell_with(search, mixed) as cell:
        stub = cell.search
        assert inspect.isfunction(stub) and stub.__name__ == stub.__qualname__ == "search"
        assert str(inspect.signature(stub)) == "(query: 'str', limit: 'int' = 10) -> 'list[str]'"
        assert stub.__doc__ == "Find pages about something."
        assert "Find pages" in pydoc.render_doc(stub)
        assert list(inspect.signature(cell.mixed).parameters) == list(inspect.signature(mixed).parameters)
        assert str(inspect.signature(cell.mixed).parameters["fifth"]) == "fifth: 'Any' = ..."


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda stub: stub(), r"search\(\) missing 1 required positional argument: 'query'"),
        (lambda stub: stub("a", 1, 2), r"search\(\) takes from 1 to 2 positional arguments but 3 were given"),
        (lambda stub: stub("a", evil=1), r"search\(\) got an unexpected keyword argument 'evil'"),
        (lambda stub: stub("a", query="b"), r"search\(\) got multiple values for argument 'query'"),
        (
            lambda stub: stub(open),
            "argument 'query' cannot be sent to the host: a builtin_function_or_method is not JSON",
        ),
        (lambda stub: stub([object()]), "argument 'query' cannot be sent to the host: a object is not JSON data"),
        (lambda stub: stub(float("nan")), "the float nan is not JSON data"),
        (lambda stub: stub([1 << 20_000]), "an int of 20001 bits is not JSON data"),
    ],
)
def test_a_call_that_cannot_be_made_is_a_type_error_and_sends_nothing(call: Callable[[Any], Any], message: str):
    with cell_with(search) as cell:
        with pytest.raises(TypeError, match=message):
            call(cell.search)
        assert not cell.wire.sent


def test_arguments_that_are_too_large_are_not_sent():
    with cell_with(search, argument_bytes=1024) as cell:
        for query in ("x" * 2000, "é" * 600):
            with pytest.raises(ValueError, match="1,024 bytes as JSON"):
                cell.search(query)
        assert not cell.wire.sent


def test_the_host_says_what_it_does_not_like():
    message = r"search\(\): argument 'limit' must be int, not str 'ten'"
    with cell_with(search) as cell, pytest.raises(TypeError, match=message):
        cell.search("a", "ten")


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (ValueError("v"), ValueError),
        (KeyError("k"), KeyError),
        (TypeError("t"), TypeError),
        (LookupError("l"), LookupError),
        (RuntimeError("r"), RuntimeError),
        (PermissionError("p"), PermissionError),
        (TimeoutError("o"), TimeoutError),
        (ToolError("e"), ToolError),
        (Exception("x"), ToolError),
        (SystemExit("s"), ToolError),
        (type("Strange", (Exception,), {})("s"), ToolError),
    ],
)
def test_an_exception_of_the_host_is_raised_here(error: BaseException, seen: type[Exception]):
    def fail():
        raise error

    with cell_with(fail) as cell:
        assert cell.ToolError is ToolError
        with pytest.raises(seen) as told:
            cell.fail()
    assert type(told.value) is seen
    assert str(error) in str(told.value) or type(error).__name__ in str(told.value)


def test_the_error_is_at_the_line_that_called():
    code = "x = 1\ndef f():\n    return search('a', limit='b')\n\nf()\n"
    with cell_with(search) as cell:
        source = Source(code, "<cell>")
        module = namespace.make_module(RULES, cell.names, source.filename, own_builtins=True)
        report = runner.run_in(module, source, {"code": code, "context": {}, "value_bytes": 1 << 20})
        source.forget()
    assert report["error"]["type"] == "TypeError"
    assert report["error"]["line"] == 3
    assert "tools.py" not in report["error"]["traceback"] and "__call__" not in report["error"]["traceback"]


def test_threads_take_turns():
    inside = 0

    def count(number: int) -> int:
        return number

    with cell_with(count) as cell:
        exchange = cell.wire.exchange

        def alone(call: dict[str, Any]) -> dict[str, Any]:
            nonlocal inside
            inside += 1
            assert inside == 1
            answer = exchange(call)
            inside -= 1
            return answer

        cell.caller.open(alone)
        results: dict[int, int] = {}

        def work(start: int) -> None:
            for number in range(start, start + 50):
                results[number] = cell.count(number)

        threads = [threading.Thread(target=work, args=(start,)) for start in (0, 50, 100, 150)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ids = [call["id"] for call in cell.wire.sent]
    assert results == {number: number for number in range(200)}
    assert len(set(ids)) == 200


def test_a_forked_child_cannot_call_even_while_a_thread_of_its_parent_does():
    begun, release = threading.Event(), threading.Event()

    def hang() -> str:
        begun.set()
        release.wait(LONG)
        return "done"

    with cell_with(hang) as cell:
        results: list[str] = []
        thread = threading.Thread(target=lambda: results.append(cell.hang()))
        thread.start()
        assert begun.wait(LONG)
        reader, writer = os.pipe()
        child = _fork()
        if child == 0:
            try:
                cell.hang()
            except RuntimeError as error:
                os.write(writer, str(error).encode())
            finally:
                os._exit(0)
        os.close(writer)
        with open(reader, "rb") as stream:
            told = stream.read().decode()
        os.waitpid(child, 0)
        release.set()
        thread.join(LONG)
    assert told == "hang() is a host tool, and can be called by the cell's first process only."
    assert results == ["done"]


def _fork() -> int:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # there are threads: that is what is tried
        return os.fork()


def test_closing_waits_for_the_call_under_way_and_refuses_the_next():
    begun, release = threading.Event(), threading.Event()

    def hang() -> int:
        begun.set()
        release.wait(LONG)
        return 1

    with cell_with(hang) as cell:
        results: list[int] = []
        caller = threading.Thread(target=lambda: results.append(cell.hang()))
        caller.start()
        assert begun.wait(LONG)
        closer = threading.Thread(target=cell.caller.close)
        closer.start()
        release.set()
        closer.join(LONG)
        caller.join(LONG)
        assert results == [1]
        with pytest.raises(RuntimeError, match="has ended"):
            cell.hang()
        cell.caller.open(cell.wire.exchange)
        assert cell.hang() == 1, "a session's next cell can"


def test_a_call_that_is_interrupted_does_not_block_the_next():
    with cell_with(search) as cell:
        exchange = cell.wire.exchange

        def interrupted(call: dict[str, Any]) -> dict[str, Any]:
            raise KeyboardInterrupt

        cell.caller.open(interrupted)
        with pytest.raises(KeyboardInterrupt):
            cell.search("a")
        cell.caller.open(exchange)
        assert cell.search("a", 1) == ["a"]


class Evil(dict):  # type: ignore[type-arg]
    def items(self):
        raise ZeroDivisionError

    @property
    def __class__(self):  # type: ignore[override]
        raise ZeroDivisionError


@dataclasses.dataclass
class Thrower:
    name: str

    def __getattribute__(self, name: str) -> Any:
        raise ZeroDivisionError


def test_a_subclass_cannot_lie_and_what_throws_throws_where_the_call_is():
    with cell_with(echo) as cell:
        assert cell.echo(Evil(a=1)) == [{"a": 1}, [], {}]
        with pytest.raises(ZeroDivisionError):
            cell.echo(Thrower("x"))


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def echo(value: Any, *rest: Any, **more: Any) -> Any:
    return [value, list(rest), more]


@given(PLAIN, st.lists(PLAIN, max_size=3), st.dictionaries(st.sampled_from(["a", "self", "id", "name"]), PLAIN))
def test_plain_data_comes_back_as_it_went(value: Any, rest: list[Any], more: dict[str, Any]):
    with cell_with(echo) as cell:
        assert cell.echo(value, *rest, **more) == [value, rest, more]

"""Host tools as the code sees them: ordinary functions. A call waits until the host has answered.

The other side checks everything again; what is checked here gives an honest mistake its error at the right line.
"""

from __future__ import annotations

import itertools
import json
import os
import threading
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

from hotcell.worker import values
from hotcell.worker.tracebacks import safe_text

_ids = itertools.count(1)
_getpid, _dumps = os.getpid, json.dumps


class ToolError(RuntimeError):
    """A host tool failed. The author of a tool raises it to tell the code why; its message crosses as it is."""


_RAISED: dict[str, type[Exception]] = {
    kind.__name__: kind
    for kind in (
        *(ArithmeticError, AssertionError, ConnectionError, FileExistsError, FileNotFoundError, IndexError, KeyError),
        *(LookupError, NotImplementedError, OSError, OverflowError, PermissionError, RuntimeError, TimeoutError),
        *(TypeError, ValueError, ZeroDivisionError),
    )
}


class Caller:
    """The way out for all tools of a cell, open while the code of one request runs. One call at a time, any thread."""

    def __init__(self) -> None:
        self._exchange: Callable[[dict[str, Any]], dict[str, Any]] | None = None
        self._lock = threading.Lock()
        self._owner = 0

    def open(self, exchange: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """From now on ``exchange`` sends a call and returns the answer with its ``id``."""
        self._lock, self._owner = threading.Lock(), _getpid()  # of this process, which may be a copy
        self._exchange = exchange

    def close(self) -> None:
        """Wait for a call that is under way in another thread; later ones are a RuntimeError."""
        if _getpid() != self._owner:  # a child of the code's, in which nobody would let go of the lock
            return
        with self._lock:
            self._exchange = None

    def call(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """What the tool returned. Raises what it raised."""
        if _getpid() != self._owner:  # before the lock, which a thread that is not here may hold
            raise RuntimeError(f"{name}() is a host tool, and can be called by the cell's first process only.")
        number = next(_ids)
        with self._lock:
            if self._exchange is None:
                raise RuntimeError(f"{name}() is a host tool, and the cell that could call it has ended.")
            answer = self._exchange({"id": number, "name": name, "args": args, "kwargs": kwargs})
        error = answer.get("error")
        if error is not None:
            raise _RAISED.get(error["type"], ToolError)(error["message"])
        return answer.get("value")


def offer(
    caller: Caller,
    announced: list[dict[str, Any]],
    exchange: Callable[[dict[str, Any]], dict[str, Any]],
    names: dict[str, Any],
) -> None:
    """Define the tools in ``names``, where code finds them, and let them call through ``exchange``."""
    names.update(make_stubs(announced, caller))
    caller.open(exchange)


def make_stubs(announced: list[dict[str, Any]], caller: Caller) -> dict[str, Any]:
    """The names that code finds defined: a function for each tool, and ``ToolError``."""
    return {"ToolError": ToolError, **{tool["name"]: _stub(tool, caller) for tool in announced}}


class _Default:
    """Stands for a default that only the host knows, and shows what it may show."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _stub(tool: Mapping[str, Any], caller: Caller) -> FunctionType:
    """A function of its own with Python's own handling of arguments.

    It is made from text, as ``dataclasses`` does: the names in it were checked by the other side, which we trust.
    """
    name, parameters = tool["name"], tool["parameters"]

    def call(given: dict[str, Any]) -> Any:
        args, kwargs = _crossing(tool, given)
        return caller.call(name, args, kwargs)

    inner = ", ".join(f"{item['name']!r}: {item['name']}" for item in parameters)
    names: dict[str, Any] = {"__name__": "tools", "__call__": call}
    # The file is ours, so that tracebacks leave the frame out.
    text = f"def {name}({_header(parameters)}):\n    return __call__({{{inner}}})"
    exec(compile(text, __file__, "exec"), names)  # noqa: S102
    function: FunctionType = names[name]
    optional = [item for item in parameters if item["default"] is not None]
    function.__defaults__ = tuple(_Default(item["default"]) for item in optional if item["kind"] in ("/", "")) or None
    function.__kwdefaults__ = {item["name"]: _Default(item["default"]) for item in optional if item["kind"] == "="}
    function.__annotations__ = {item["name"]: item["annotation"] for item in parameters}
    if tool["returns"]:
        function.__annotations__["return"] = tool["returns"]
    function.__doc__ = tool["doc"] or None
    return function


def _header(parameters: list[dict[str, Any]]) -> str:
    kinds = [item["kind"] for item in parameters]
    parts = []
    for place, item in enumerate(parameters):
        kind = item["kind"]
        if kind == "=" and "*" not in kinds and "=" not in kinds[:place]:
            parts.append("*")
        parts.append(
            (kind if kind in ("*", "**") else "") + item["name"] + ("" if item["default"] is None else "=None")
        )
        if kind == "/" and kinds[place + 1 : place + 2] != ["/"]:
            parts.append("/")
    return ", ".join(parts)


def _crossing(tool: Mapping[str, Any], given: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments as JSON data, without those that were not given. Raises TypeError or ValueError."""
    name, most = tool["name"], tool["argument_bytes"]
    data: dict[str, Any] = {}
    for item, value in given.items():
        if type(value) is not _Default:
            data[item] = _to_data(name, item, value, most)
    args, kwargs = _arranged(tool["parameters"], data)
    if len(_dumps([args, kwargs], ensure_ascii=False).encode()) > most:
        raise ValueError(f"{name}(): the arguments are more than {most:,} bytes as JSON: pass less.")
    return args, kwargs


def _to_data(name: str, item: str, value: Any, most: int) -> Any:
    try:
        return values.to_data(value, most)
    except TypeError as error:
        what = safe_text(error)
        raise TypeError(f"{name}(): argument {item!r} cannot be sent to the host: {what} is not JSON data.") from None
    except ValueError as error:
        raise ValueError(f"{name}(): argument {item!r} cannot be sent to the host: {safe_text(error)}.") from None


def _arranged(parameters: list[dict[str, Any]], data: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """By position what must be, by name whatever can: the host then knows which were left out."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    has_rest = any(item["kind"] == "*" and data[item["name"]] for item in parameters)
    for item in parameters:
        name, kind = item["name"], item["kind"]
        if kind == "*":
            args += data[name]
        elif kind == "**":
            kwargs.update(data[name])
        elif name in data and (kind == "/" or (kind == "" and has_rest)):
            args.append(data[name])
        elif name in data:
            kwargs[name] = data[name]
    return args, kwargs

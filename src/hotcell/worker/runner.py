"""Runs one piece of code and says what became of it, as JSON data.

``run`` is for a process that exists for this piece alone: it takes over ``__main__`` and ends as Python ends.
``run_in`` runs one in a module that may have run others, and leaves the process around it as it was. Whatever the
report says is told from inside, so the other side treats it as hostile; what is grabbed at import time here is for
honest code that patches a module, not for security.
"""

from __future__ import annotations

import _thread
import ast
import atexit
import builtins
import os
import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from types import CodeType, ModuleType
from typing import Any, NoReturn, Protocol

from hotcell.worker import awaiting, determinism, displays, namespace, streams, tools, tracebacks, values
from hotcell.worker.tracebacks import Source

_EXIT_CODE: Any = SystemExit.__dict__["code"]
_COROUTINE = 0x80  # inspect.CO_COROUTINE
_RECURSION_LIMIT = sys.getrecursionlimit()
_RESERVE_BYTES = 4 << 20
# The real ones: the code may replace the names in sys, threading and atexit.
_set_trace, _set_profile, _set_recursion_limit = sys.settrace, sys.setprofile, sys.setrecursionlimit
_join_threads: Callable[[], None] = threading._shutdown  # type: ignore[attr-defined]  # what Python calls at its end
_getpid, _exit_process = os.getpid, os._exit
_count, _count_threads = len, _thread._count
_BUILTINS = dict(builtins.__dict__)
_run_exit_functions = atexit._run_exitfuncs
_count_exit_functions = atexit._ncallbacks
_finalize: Any = weakref.finalize

_reserve: list[bytearray] = []
_previous_main: list[ModuleType] = []


def prepare() -> None:
    """Once before the processes that run cells are forked, after the libraries they share have been imported."""
    streams.prepare_streams()
    # Untouched pages cost nothing; freed when memory is short, they let the report be built.
    _reserve[:] = [bytearray(_RESERVE_BYTES)]
    _forget_exit_functions()


class Outlet(Protocol):
    """The ways out of a cell besides its streams."""

    def display(self, bundle: dict[str, Any]) -> None:
        """Show a MIME bundle."""

    def exchange(self, call: dict[str, Any]) -> dict[str, Any]:
        """Call a host tool and wait for its answer."""


def run(request: Mapping[str, Any], outlet: Outlet | None = None) -> dict[str, Any]:
    """Run ``request["code"]`` as the ``__main__`` of this process. Returns the report; see ``run_in`` for its keys.

    Then, as at the end of any Python program: non-daemon threads are joined, ``atexit`` functions called, streams
    flushed. A process is good for one call. With ``request["deterministic"]`` (see ``determinism.apply``) the report
    also says whether a second run would come to the same: ``reproducible``.
    """
    source = Source(request["code"], request.get("filename", "<cell>"))
    module = become_main(request, source.filename)
    settings = request.get("deterministic")
    watch = determinism.apply(settings) if settings else None
    caller = tools.Caller()
    if outlet is not None and request.get("tools"):
        tools.offer(caller, request["tools"], outlet.exchange, module.__dict__)
    owner, before = _getpid(), _exit_work()
    report = run_in(module, source, request, outlet=outlet, at_end=lambda: _end_as_python_does(before))
    if _getpid() != owner:
        leave_forked_child(report)
    streams.flush_streams()
    return {**report, "reproducible": watch.reproducible} if watch else report


def become_main(request: Mapping[str, Any], filename: str) -> ModuleType:
    """A module for the request's code, which is this process's ``__main__`` from now on."""
    module = namespace.make_module(request["namespace"], request["context"], filename)
    _previous_main.append(sys.modules["__main__"])  # kept alive: its functions may be on our stack
    sys.modules["__main__"] = module
    sys.argv = [filename]
    sys.path.insert(0, os.getcwd())  # as for a script: modules among its files can be imported
    return module


def run_in(
    module: ModuleType,
    source: Source,
    request: Mapping[str, Any],
    *,
    outlet: Outlet | None = None,
    at_end: Callable[[], None] | None = None,
    at_last: Callable[[], None] | None = None,
    stop: type[BaseException] | None = None,
) -> dict[str, Any]:
    """Run the source in the module's namespace; ``at_end`` is called between the code and the report, ``at_last`` when
    the report is made.

    Without an ``outlet`` nothing is shown and there are no host tools.

    An exception of the class ``stop`` is not the code's doing but ours to end it, and is raised on.

    The report: ``outcome`` (``ok``, ``error`` or ``exit``), ``exit_code``, ``value``, ``value_repr``, ``error`` (see
    ``tracebacks.describe``) and ``memory_error``. It can be written as JSON without NaN. Raises nothing else.
    """
    source.register()
    if outlet is not None:
        displays.start(outlet.display, request["figure_formats"], request["display_bytes"])
    value, error = _execute(request["code"], source, module.__dict__)
    _set_trace(None)
    _set_profile(None)
    _set_recursion_limit(max(_RECURSION_LIMIT, sys.getrecursionlimit()))
    if error is not None and type(error) is stop:
        raise error
    ends = (at_end, at_last)
    try:
        return _finish(value, error, source, request, ends)
    except BaseException as late:  # a timer, a signal handler or a thread of the cell hit us, or it broke the builtins
        if type(late) is stop:
            raise
    builtins.__dict__.update(_BUILTINS)
    try:
        return _finish(value, error, source, request, ends)
    except BaseException as late:
        if type(late) is stop:
            raise
        return _report("error", 1, error=tracebacks.describe(late, source))


def _finish(
    value: Any,
    error: BaseException | None,
    source: Source,
    request: Mapping[str, Any],
    ends: tuple[Callable[[], None] | None, Callable[[], None] | None],
) -> dict[str, Any]:
    at_end, at_last = ends
    report = None if error is None else failure(error, source)
    if not (report and report["memory_error"]):
        displays.finish(value, error)
    if at_end is not None:
        at_end()
    report = report or _success(value, request["value_bytes"])
    if at_last is not None:
        at_last()
    return report


def _execute(text: str, source: Source, names: dict[str, Any]) -> tuple[Any, BaseException | None]:
    """The value of the last expression or, when there is none, of ``result``; or what was raised instead."""
    before = names.get("result")  # from the context, or from an earlier cell
    try:
        # dont_inherit: the __future__ imports of this file are not the cell's.
        tree: Any = compile(text, source.filename, "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        body = compile(tree, source.filename, "exec", flags, dont_inherit=True) if tree.body else None
        final = compile(ast.Expression(last.value), source.filename, "eval", flags, dont_inherit=True) if last else None
        del tree, last
        value = _evaluate([code for code in (body, final) if code is not None], names)
        if value is None and names.get("result") is not before:
            value = names.get("result")
        return value, None
    except BaseException as error:  # noqa: BLE001  # whatever the code raises is its result
        return None, error


def _evaluate(codes: list[CodeType], names: dict[str, Any]) -> Any:
    """The value of the last one."""
    # Code with ``await`` outside a function gives a coroutine instead of running; all of it runs in one loop then.
    if any(code.co_flags & _COROUTINE for code in codes):
        return awaiting.run(_evaluate_in_loop(codes, names))
    value = None
    for code in codes:
        value = eval(code, names)  # noqa: S307  # this is the product
    return value


async def _evaluate_in_loop(codes: list[CodeType], names: dict[str, Any]) -> Any:
    value = None
    for code in codes:
        value = eval(code, names)  # noqa: S307  # as above
        if code.co_flags & _COROUTINE:
            value = await value
    return value


def _success(value: Any, value_bytes: int) -> dict[str, Any]:
    data, text = (None, None) if value is None else values.convert(value, value_bytes)
    return _report("ok", 0, value=data, value_repr=text)


def failure(error: BaseException, source: Source) -> dict[str, Any]:
    """The report for code that ended with ``error``. Never raises."""
    if issubclass(type(error), SystemExit):
        return _exit(error, source)
    failed_allocation = tracebacks.is_failed_allocation(error)
    if failed_allocation:
        _reserve.clear()
        tracebacks.release_frames(error)
    return _report("error", 1, error=tracebacks.describe(error, source), memory_error=failed_allocation)


def _exit(error: BaseException, source: Source) -> dict[str, Any]:
    code = _EXIT_CODE.__get__(error)
    if code is None:
        return _report("ok", 0)
    if issubclass(type(code), int):
        code = int.__index__(code) & 0xFF  # as the system reports it
    else:
        streams.write_error(tracebacks.safe_text(code))
        code = 1
    if code == 0:
        return _report("ok", 0)
    return _report("exit", code, error=tracebacks.describe(error, source))


def _report(outcome: str, exit_code: int, **parts: Any) -> dict[str, Any]:
    blank = {"value": None, "value_repr": None, "error": None, "memory_error": False}
    return {"outcome": outcome, "exit_code": exit_code, **blank, **parts}


def _exit_work() -> tuple[int, int, int]:
    """Changes when the cell leaves something to do at its end."""
    processes: Any = sys.modules.get("multiprocessing.process")
    return _count_exit_functions(), _count(_finalize._registry), _count(processes._children) if processes else 0


def _end_as_python_does(before: tuple[int, int, int]) -> None:
    # Mostly there is nothing to do, and finding that out by doing it costs a fifth of a millisecond in a fresh fork.
    try:
        if _count_threads():
            _join_threads()
        if _exit_work() != before:
            _run_exit_functions()
    except BaseException as error:  # noqa: BLE001  # from the cell's thread hooks and exit functions
        streams.write_error(f"Exception ignored at exit: {tracebacks.type_name(error)}")


def leave_forked_child(report: dict[str, Any]) -> NoReturn:
    """The code forked and let the child run to its end. There is one report, and it is the parent's."""
    if report["outcome"] == "error":
        streams.write_error(report["error"]["traceback"].rstrip("\n"))
    streams.flush_streams()
    _exit_process(report["exit_code"])


def _forget_exit_functions() -> None:
    """What libraries registered before the fork is not the cell's to run, but for what flushes or joins its own."""
    atexit._clear()
    for owner, name in (("logging", "shutdown"), ("multiprocessing.util", "_exit_function")):
        if owner in sys.modules:
            atexit.register(getattr(sys.modules[owner], name))
    for entry in _finalize._registry.values():
        entry.atexit = False
    if _finalize._registered_with_atexit:
        atexit.register(_finalize._exitfunc)

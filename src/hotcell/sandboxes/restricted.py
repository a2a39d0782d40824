"""The development sandbox: the cell runs in a thread of this very process. **There is no wall.**

    HOTCELL_DEBUG=1 python -c '...'        # or Django with DEBUG = True

    sandbox = RestrictedPythonSandbox()
    executor = Executor(sandbox, policy=Policy.strict(), min_isolation=IsolationLevel.NONE)

It exists for tests, for learning, and for hosts where nothing else starts. What stands between the code and the
application is the strict policy alone, and every sandbox built on that alone has been broken. Also: memory is not
limited; the time limit is an exception raised in the thread, which code inside a C call does not notice; a thread that
cannot be stopped keeps running after its TIMEOUT, and a note says so.

The code gets stand-ins for the modules it imports, so ``math.pi = 3`` stays its own. The classes and functions in them
are the application's: ``def f(c): c.encode = spy`` called with ``json.JSONEncoder`` changes them for ever, wherever the
policy does not see it coming, and nothing here puts them back.
"""

from __future__ import annotations

import contextlib
import contextvars
import ctypes
import json
import os
import queue
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, ClassVar, TextIO

from hotcell.errors import ConfigurationError
from hotcell.results import ErrorInfo, IsolationLevel, SandboxInfo, Status, Usage
from hotcell.sandboxes.base import RunOutcome, RunRequest, Sandbox
from hotcell.sandboxes.standins import StandIns
from hotcell.worker import namespace, runner
from hotcell.worker.tracebacks import Source

_CONFIRMATION = "HOTCELL_ALLOW_NO_ISOLATION"
_GRACE_SECONDS = 1.0
_INFO = SandboxInfo(name="restricted", isolation=IsolationLevel.NONE, layers=("builtins", "imports"))
_NO_WALL = "There was no isolation: the code ran in this process, without a memory limit."


class RestrictedPythonSandbox(Sandbox):
    """Runs code in this process, behind the strict policy only. For development."""

    name: ClassVar[str] = "restricted"
    required_policy: ClassVar[str | None] = "strict"

    def __init__(self, *, allow_no_isolation: bool = False) -> None:
        """With debugging on (``HOTCELL_DEBUG=1``, or Django's ``DEBUG``) nothing more is asked.

        With debugging off it must be told twice: ``allow_no_isolation=True`` by the program, and
        ``HOTCELL_ALLOW_NO_ISOLATION=1`` in the environment by whoever runs it. Else raises ConfigurationError.
        """
        if _debugging() or (allow_no_isolation and os.environ.get(_CONFIRMATION) == "1"):
            return
        raise ConfigurationError(
            "RestrictedPythonSandbox gives no isolation and is for development only; debugging is off here. Use "
            "LocalSandbox. To use this one all the same, set HOTCELL_DEBUG=1, or pass allow_no_isolation=True and set "
            f"{_CONFIRMATION}=1 in the environment."
        )

    @property
    def info(self) -> SandboxInfo:
        return _INFO

    def run(self, request: RunRequest) -> RunOutcome:
        """Run the code in a thread of its own. Raises ConfigurationError when files or artifacts are asked for."""
        if request.files or request.artifacts:
            raise ConfigurationError(
                "RestrictedPythonSandbox has no files: pass data in as context and take it out as the value, "
                "or use LocalSandbox."
            )
        return _Cell(request).run()

    def close(self) -> None:
        """Nothing to close."""


def _debugging() -> bool:
    if os.environ.get("HOTCELL_DEBUG") == "1":
        return True
    # Only a Django that the application has imported and configured counts; we do not import it for that.
    settings = getattr(sys.modules.get("django.conf"), "settings", None)
    return bool(settings is not None and settings.configured and settings.DEBUG)


class _Stop(BaseException):
    """Raised inside the cell to end it."""


def _raise_in(thread: int, kind: type[BaseException]) -> None:
    """Have that thread raise it soon: at its next call or jump back."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(kind))


class _Capture:
    """What one cell writes to stdout and stderr, up to a limit."""

    def __init__(self, limit: int, full: queue.SimpleQueue[None]) -> None:
        self._limit = limit
        self._pieces: dict[str, list[str]] = {"stdout": [], "stderr": []}
        self._wake = full
        self.size = 0
        self.full = False

    def write(self, stream: str, text: str) -> int:
        data = str.encode(text, "utf-8", "backslashreplace")
        room = self._limit - self.size
        self._pieces[stream].append(data[: max(room, 0)].decode("utf-8", "ignore"))
        self.size += len(data)
        if len(data) > room:
            if not self.full:
                self._wake.put(None)
                self.full = True
            raise _Stop
        return len(text)

    def text(self, stream: str) -> str:
        return "".join(self._pieces[stream])


_current: contextvars.ContextVar[_Capture | None] = contextvars.ContextVar("hotcell_capture", default=None)


class _Router:
    """Stands in for ``sys.stdout``: a cell's thread writes to its capture, everybody else to the real stream."""

    def __init__(self, original: TextIO, stream: str) -> None:
        self.original = original
        self._stream = stream

    def write(self, text: str) -> int:
        capture = _current.get()
        return self.original.write(text) if capture is None else capture.write(self._stream, text)

    def flush(self) -> None:
        if _current.get() is None:
            self.original.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)


class _Host:
    """This process. While at least one cell runs the routers are in place; after the last, it is as it was."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._restore = contextlib.ExitStack()
        self._cells = 0

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        with self._lock:
            self._cells += 1
            if self._cells == 1:
                self._restore.enter_context(warnings.catch_warnings())
                self._restore.callback(sys.setrecursionlimit, sys.getrecursionlimit())
            # Each time, as the host may have put a stream of its own there since.
            for name in ("stdout", "stderr"):
                if type(getattr(sys, name)) is not _Router:
                    setattr(sys, name, _Router(getattr(sys, name), name))
        try:
            yield
        finally:
            with self._lock:
                self._cells -= 1
                if self._cells == 0:
                    self._restore.close()
                    for name in ("stdout", "stderr"):
                        if type(stream := getattr(sys, name)) is _Router:
                            setattr(sys, name, stream.original)


_host = _Host()


class _Cell:
    """One execution: the cell's thread, watched by the caller's."""

    def __init__(self, request: RunRequest) -> None:
        self._request = request
        # What wakes the caller is one step in C: a lock that _Stop finds the cell's thread in would stay locked.
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._capture = _Capture(request.config.output_bytes, self._wake)
        self._report: Mapping[str, Any] | None = None
        self._cpu_seconds = 0.0
        self._interruptible = False
        self._interrupting = False

    def run(self) -> RunOutcome:
        config = self._request.config
        # In a thread of its own, so that an exception meant for the cell can never hit the caller.
        # And in a context of its own, as decimal keeps the caller's precision in the caller's.
        context = contextvars.Context()
        thread = threading.Thread(target=context.run, args=(self._work,), name="hotcell-cell", daemon=True)
        self._request.cancellation.on_cancel(partial(self._wake.put, None))
        began = time.perf_counter()
        thread.start()
        try:
            self._wake.get(timeout=config.timeout_seconds)
            timed_out = False
        except queue.Empty:
            timed_out = True
        wall = time.perf_counter() - began
        stopped = self._end(thread)
        status, reason, decided_by = self._verdict(timed_out=timed_out)
        report = self._report if self._report is not None and status in (Status.OK, Status.ERROR) else {}
        error = report.get("error")
        notes = [_NO_WALL] if stopped else [_NO_WALL, "The code could not be stopped and still runs in this process."]
        return RunOutcome(
            status=status,
            reason=reason,
            decided_by=decided_by,
            stdout=self._capture.text("stdout"),
            stderr=self._capture.text("stderr"),
            value=report.get("value"),
            value_repr=report.get("value_repr"),
            error=ErrorInfo(**error) if error else None,
            notes=tuple(notes),
            usage=Usage(wall_seconds=wall, cpu_seconds=self._cpu_seconds, output_bytes=self._capture.size),
            run_seconds=wall,
        )

    def _work(self) -> None:
        _current.set(self._capture)
        request = self._request
        # A name of its own, as linecache is shared with the host and with other cells.
        source = Source(request.code, f"<hotcell {id(self):x}>", shown=request.filename)
        with _host.guarded():
            try:
                self._report = self._execute(source)
            finally:
                source.forget()
                self._cpu_seconds = time.thread_time()
                self._wake.put(None)

    def _execute(self, source: Source) -> Mapping[str, Any] | None:
        request = self._request
        # A copy, as the cell may change what it is given.
        variables = json.loads(json.dumps(dict(request.context)))
        module = namespace.make_module(request.namespace, variables, request.filename, own_builtins=True)
        names = vars(module)["__builtins__"]
        names["__import__"] = StandIns(names["__import__"]).import_module
        data = {"code": request.code, "context": variables, "value_bytes": request.config.value_bytes}
        report = None
        try:
            self._interruptible = True
            report = runner.run_in(module, source, data, stop=_Stop)
        except _Stop:
            pass
        while True:
            try:
                self._close_to_interruptions()
                return report
            except _Stop:
                continue

    def _close_to_interruptions(self) -> None:
        """After this no ``_Stop`` is raised here. No lock, as ``_Stop`` could come while it is held."""
        self._interruptible = False
        while self._interrupting:
            time.sleep(0)
        # What was asked for before is raised at a jump back, so here. Taking it back instead (by NULL) would leave
        # CPython 3.11 looking for it for ever wherever a tracer runs, a coverage measurement for one.
        for _ in range(3):
            pass

    def _end(self, thread: threading.Thread) -> bool:
        """Wait for the thread, urging it on; False when it does not listen."""
        deadline = time.perf_counter() + _GRACE_SECONDS
        while thread.is_alive() and time.perf_counter() < deadline:
            self._interrupting = True
            if self._interruptible and thread.ident is not None:
                _raise_in(thread.ident, _Stop)
            self._interrupting = False
            thread.join(0.02)
        return not thread.is_alive()

    def _verdict(self, *, timed_out: bool) -> tuple[Status, str, str]:
        config = self._request.config
        if self._capture.full:
            return Status.OUTPUT_LIMIT, f"It wrote more than output_bytes={config.output_bytes}.", "limits"
        if timed_out:
            return Status.TIMEOUT, f"It ran longer than timeout_seconds={config.timeout_seconds:g}.", "limits"
        if self._request.cancellation.cancelled:
            return Status.CANCELLED, "The caller cancelled it.", "caller"
        report = self._report or {"outcome": "error", "error": None}
        if report.get("memory_error"):
            return Status.MEMORY_LIMIT, "This process could not get the memory the code asked for.", "kernel"
        if report["outcome"] == "ok":
            return Status.OK, "The code ran to its end.", "code"
        if report["outcome"] == "exit":
            return Status.ERROR, f"The code exited with code {report['exit_code']}.", "code"
        kind = report["error"]["type"] if report["error"] else "an exception"
        return Status.ERROR, f"The code raised {kind}.", "code"

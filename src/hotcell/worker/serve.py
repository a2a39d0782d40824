"""The worker's side of one execution: say that the cell is ready, take one request, run it, answer, end.

Every layer is on when this starts. The process never takes a second request.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from typing import Any, NoReturn

from hotcell.worker import namespace, runner, wire
from hotcell.worker.tracebacks import Source

CHANNEL = 3
"""The descriptor of the wire; 0 is /dev/null, 1 and 2 are the code's own output."""

_Run = Callable[[dict[str, Any]], dict[str, Any]]

# Kept from before the code ran: it may replace what the modules hold.
_dumps, _write, _exit = json.dumps, os.write, os._exit
_REHEARSED = " ".join(f"module{number}" for number in range(100))
"""About as many denied modules as a real policy has."""


def serve(directory: str, listener: int, touch: Callable[[], None], run: _Run = runner.run) -> NoReturn:
    """Serve the one request. ``directory`` is the work directory, where the process already is.

    ``listener`` is a descriptor that the other side is to have (of the seccomp filter); -1 when there is none.
    ``touch`` makes the first request quicker; it is called when the other side has time for it. ``run`` takes the
    request and returns the report.
    """
    if listener < 0:
        _send(wire.encode(wire.READY))
    else:
        _send_with_handle(wire.encode(wire.READY), listener)
    report = _run(directory, touch, run)
    try:
        payload = _dumps(report, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")
        _send(wire.encode(wire.RESULT, payload))
    except OSError:
        _exit(1)
    _exit(0)


def _run(directory: str, touch: Callable[[], None], run: _Run) -> dict[str, Any]:
    try:
        request = _receive(directory, touch)
    except (OSError, MemoryError) as error:  # the files, or the variables, do not fit
        told = {"type": type(error).__name__, "message": f"while the cell was given its files: {error}"}
        blank = {"exit_code": 1, "value": None, "value_repr": None}
        return {"outcome": "error", "error": told, "memory_error": isinstance(error, MemoryError), **blank}
    if request is None:
        _exit(0)
    return run(request)


def rehearse(snippet: str) -> None:
    """Walk the whole way of a request for a harmless piece of code, but for the sending: so that it has been walked."""
    rules: dict[str, Any] = {"policy": "", "imports_allowed": None, "imports_denied": _REHEARSED, "builtins_denied": []}
    request = {"code": snippet, "filename": "<cell>", "context": {}, "namespace": rules, "value_bytes": 1 << 16}
    decoder = wire.Decoder(wire.FROM_US)
    for _, payload in decoder.feed(wire.encode(wire.REQUEST, _dumps(request).encode())):
        request = json.loads(payload)
        source = Source(snippet, "<cell>")
        module = namespace.make_module(request["namespace"], {}, source.filename)
        report = runner.run_in(module, source, request)
        wire.encode(wire.RESULT, _dumps(report, ensure_ascii=False, allow_nan=False).encode())


def fault(message: str) -> NoReturn:
    """Report that a layer is missing, and end without having seen anybody's code."""
    _send(wire.encode(wire.FAULT, message.encode()[:4096]))
    _exit(1)


def _send(frame: bytes) -> None:
    view = memoryview(frame)
    while view:
        view = view[_write(CHANNEL, view) :]


def _receive(directory: str, touch: Callable[[], None]) -> dict[str, Any] | None:
    """The request, with its files already written; None when the other side went away."""
    decoder = wire.Decoder(wire.FROM_US)
    request: dict[str, Any] | None = None
    files: _Files | None = None
    while True:
        data = os.read(CHANNEL, 1 << 16)  # larger ones are mapped and unmapped for each read
        if not data:
            return None
        for kind, payload in decoder.feed(data):
            if kind == wire.REQUEST:
                request = json.loads(payload)
                files = _Files(directory, request.pop("files", []))
                if request.pop("artifacts", False):
                    _send_directory(directory)
            elif kind == wire.TOUCH:
                touch()
                _send(wire.encode(wire.READY))
            elif files:
                files.write(payload)
        if request is not None and files is not None and files.complete:
            return request


def _send_directory(directory: str) -> None:
    _send_with_handle(wire.encode(wire.DIRECTORY), os.open(directory, os.O_RDONLY | os.O_DIRECTORY))


def _send_with_handle(frame: bytes, handle: int) -> None:
    """Give a descriptor away along with a frame; it is closed here."""
    with socket.socket(fileno=os.dup(CHANNEL)) as channel:
        socket.send_fds(channel, [frame], [handle])
    os.close(handle)


class _Files:
    """Writes the bytes that follow a request into the files it announced, one after the other."""

    def __init__(self, directory: str, announced: list[list[Any]]) -> None:
        self._directory = directory
        self._waiting = list(reversed(announced))
        self._handle = -1
        self._missing = 0
        self._next()

    @property
    def complete(self) -> bool:
        return self._handle < 0

    def _next(self) -> None:
        while not self._missing:
            if self._handle >= 0:
                os.close(self._handle)
                self._handle = -1
            if not self._waiting:
                return
            name, self._missing = self._waiting.pop()
            path = os.path.join(self._directory, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view and self._handle >= 0:
            count = os.write(self._handle, view[: self._missing])
            view = view[count:]
            self._missing -= count
            self._next()

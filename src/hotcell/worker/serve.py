"""The worker's side of an execution: say that the cell is ready, take a request, run it, answer; in a session go on.

Every layer is on when this starts. The process serves one caller: one request, or the requests of one session.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any, NoReturn

from hotcell.worker import namespace, runner, wire
from hotcell.worker.inbox import Fork, Inbox, send_handles
from hotcell.worker.outlet import Outlet
from hotcell.worker.session import Session
from hotcell.worker.tracebacks import Source

CHANNEL = 3
"""The descriptor of the wire; 0 is /dev/null, 1 and 2 are the code's own output."""

_Run = Callable[[dict[str, Any], Outlet], dict[str, Any]]

# Kept from before the code ran: it may replace what the modules hold.
_dumps, _write, _exit = json.dumps, os.write, os._exit
_REHEARSED = " ".join(f"module{number}" for number in range(100))
"""About as many denied modules as a real policy has."""


def serve(
    directory: str,
    handles: list[int],
    touch: Callable[[], None],
    *,
    run: _Run = runner.run,
    split: Callable[[dict[str, Any], list[int]], bool] | None = None,
) -> NoReturn:
    """Serve one caller. ``directory`` is the work directory, where the process already is.

    ``handles`` are descriptors that the other side is to have. ``touch`` makes the first request quicker; it is called
    when the other side has time for it. ``run`` takes a request outside of sessions and returns its report. ``split``
    makes a copy of this process in a place of its own, with the wire of its own: it returns True there and False here.
    """
    try:
        _say_ready(handles)
        inbox = Inbox(CHANNEL, directory, touch, _send)
        request = _next(inbox)
        if isinstance(request, dict) and request.get("session"):
            _serve_session(inbox, request, split)
        elif isinstance(request, dict):
            _answer(run(request, _outlet(inbox)))
    except OSError:
        _exit(1)
    _exit(0)


def _serve_session(
    inbox: Inbox, first: dict[str, Any], split: Callable[[dict[str, Any], list[int]], bool] | None
) -> None:
    inbox.keep_descriptors()
    session = Session(first)
    request: dict[str, Any] | Fork | None = first
    while request is not None:
        if isinstance(request, dict):
            _answer(session.run(request, _outlet(inbox)))
        elif split is not None and split(request.order, request.handles):
            inbox.keep_descriptors()
            session.renew()
            _say_ready([])
        request = _next(inbox)


def _next(inbox: Inbox) -> dict[str, Any] | Fork | None:
    """The next request; one whose files or variables do not fit is answered here, and was the last but in a session."""
    while True:
        try:
            return inbox.next()
        except (OSError, MemoryError) as error:
            told = {"type": type(error).__name__, "message": f"while the cell was given its files: {error}"}
            blank = {"exit_code": 1, "value": None, "value_repr": None}
            _answer({"outcome": "error", "error": told, "memory_error": isinstance(error, MemoryError), **blank})
            if not inbox.keeps_descriptors:
                return None


def _outlet(inbox: Inbox) -> Outlet:
    return Outlet(lambda kind, data: _send(kind, _encode(data)), inbox.answer)


class _Nowhere:
    """For a rehearsal: what is shown is not sent."""

    def display(self, bundle: dict[str, Any]) -> None:
        _encode(bundle)

    def exchange(self, call: dict[str, Any]) -> dict[str, Any]:
        raise RuntimeError(call)


def rehearse(snippet: str) -> None:
    """Walk the whole way of a request for a harmless piece of code, but for the sending: so that it has been walked."""
    rules: dict[str, Any] = {"policy": "", "imports_allowed": None, "imports_denied": _REHEARSED, "builtins_denied": []}
    request = {"code": snippet, "filename": "<cell>", "context": {}, "namespace": rules, "value_bytes": 1 << 16}
    request |= {"figure_formats": ["png"], "display_bytes": 1 << 20}
    decoder = wire.Decoder(wire.FROM_US)
    for _, payload in decoder.feed(wire.encode(wire.REQUEST, _dumps(request).encode())):
        request = json.loads(payload)
        source = Source(snippet, "<cell>")
        module = namespace.make_module(request["namespace"], {}, source.filename)
        report = runner.run_in(module, source, request, outlet=_Nowhere())
        wire.encode(wire.RESULT, _encode(report))


def fault(message: str) -> NoReturn:
    """Report that a layer is missing, and end without having seen anybody's code."""
    _send(wire.FAULT, message.encode()[:4096])
    _exit(1)


def _say_ready(handles: list[int]) -> None:
    if handles:
        send_handles(CHANNEL, wire.encode(wire.READY), handles)
    else:
        _send(wire.READY, b"")


def _answer(report: dict[str, Any]) -> None:
    _send(wire.RESULT, _encode(report))


def _encode(data: dict[str, Any]) -> bytes:
    return _dumps(data, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")


def _send(kind: int, payload: bytes) -> None:
    view = memoryview(wire.encode(kind, payload))
    while view:
        view = view[_write(CHANNEL, view) :]

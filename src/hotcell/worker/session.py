"""A namespace that lives through many requests: what one cell defines, the next one finds.

Cells are numbered from 1. A call that takes too long is interrupted by SIGINT, as by Ctrl-C in a notebook: the code
sees a KeyboardInterrupt, and what it had made until then stays.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any

from hotcell.worker import runner, streams, tools
from hotcell.worker.outlet import Outlet
from hotcell.worker.tracebacks import Source

_getpid, _set_handler, _interrupt = os.getpid, signal.signal, signal.SIGINT


class Session:
    """The worker's side of a session; belongs to the process's main thread."""

    def __init__(self, first: Mapping[str, Any]) -> None:
        self._running = False
        self._outlet: Outlet | None = None
        self._caller = tools.Caller()
        self._owner = _getpid()
        self._module = runner.become_main(first, "<cell 1>")

    def run(self, request: Mapping[str, Any], outlet: Outlet) -> dict[str, Any]:
        """Run one cell; returns its report."""
        self._outlet = outlet
        number = request["number"]
        source = Source(request["code"], f"<cell {number}>", shown=f"Cell {number}", number=number)
        names = self._module.__dict__
        names.update(request["context"])
        sys.modules["__main__"] = self._module
        # Each time, as code may have put its own in the place. Between calls an interrupt that came late is nothing.
        _set_handler(_interrupt, self._on_interrupt)
        if request.get("tools"):
            tools.offer(self._caller, request["tools"], outlet.exchange, names)
        self._running = True
        try:
            report = runner.run_in(self._module, source, request, outlet=outlet, at_last=self._stop_listening)
        except KeyboardInterrupt as error:  # just before the code began, or just after it had ended
            report = runner.failure(error, source)
        finally:
            self._running = False
            self._caller.close()
        if _getpid() != self._owner:
            runner.leave_forked_child(report)
        streams.flush_streams()
        return report

    def renew(self) -> None:
        """This process is a copy of the one that the session was in."""
        self._owner = _getpid()

    def _on_interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if not self._running or _getpid() != self._owner:
            return
        if self._outlet is not None and self._outlet.is_sending:
            self._outlet.was_interrupted = True
            return
        raise KeyboardInterrupt

    def _stop_listening(self) -> None:
        self._running = False

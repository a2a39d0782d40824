"""What the code says besides its output: what it shows, and the host tools it calls. Any thread of its may do so."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from hotcell.worker import wire

_getpid = os.getpid


class Outlet:
    """The way out of one call. ``send`` writes a frame, ``answer`` waits for the answer to a tool call."""

    def __init__(self, send: Callable[[int, dict[str, Any]], None], answer: Callable[[], dict[str, Any]]) -> None:
        self._send = send
        self._answer = answer
        self._owner = _getpid()
        self._lock = threading.Lock()
        self.is_sending = False
        """True while an interrupt would cut a frame in two."""
        self.was_interrupted = False
        """Set by whoever held an interrupt back because of that."""

    def display(self, bundle: dict[str, Any]) -> None:
        """Show a MIME bundle. In a forked child of the code nothing happens: the wire is its parent's."""
        if _getpid() == self._owner:
            self._say(wire.DISPLAY, bundle)

    def exchange(self, call: dict[str, Any]) -> dict[str, Any]:
        """Call a host tool and wait for its answer. One call at a time."""
        if _getpid() != self._owner:
            raise RuntimeError("Host tools can be called by the cell's first process only.")
        self._say(wire.CALL, call)
        while True:
            answer = self._answer()
            if answer.get("id") == call["id"]:
                return answer
            # Else it is the answer to a call that was interrupted.

    def _say(self, kind: int, data: dict[str, Any]) -> None:
        with self._lock:
            self.is_sending = True
            try:
                self._send(kind, data)
            finally:
                self.is_sending = False
        if self.was_interrupted:
            self.was_interrupted = False
            raise KeyboardInterrupt

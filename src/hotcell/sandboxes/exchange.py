"""Calls of host tools, in the middle of a conversation: begun here, worked on elsewhere, answered here."""

from __future__ import annotations

import collections
import os
import socket
import threading
from collections.abc import Mapping
from typing import Any

from hotcell.sandboxes.base import Observer, ToolHost
from hotcell.worker import wire


class Exchange:
    """The calls of one execution, one at a time: each begins when the worker has taken the answer to the last.

    ``begin`` and ``send_answers`` belong to one thread; answers may come from any.
    """

    def __init__(self, channel: socket.socket, tools: ToolHost, observer: Observer | None) -> None:
        self._channel = channel
        self._tools = tools
        self._observer = observer
        self._lock = threading.Lock()
        self._answers: collections.deque[tuple[Mapping[str, Any] | None, bytes]] = collections.deque()
        self._outgoing = bytearray()
        self._waiting: collections.deque[dict[str, Any]] = collections.deque()
        self._is_unanswered = False
        self.wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        """Readable when an answer has come."""

    @property
    def is_working(self) -> bool:
        """True while the host works for the cell."""
        return self._tools.is_working

    @property
    def has_more_to_send(self) -> bool:
        """True when the worker has not taken all answers yet."""
        return bool(self._outgoing)

    @property
    def is_full(self) -> bool:
        """True when a worker that does not wait for answers must not be listened to, or memory would fill up."""
        return bool(self._waiting)

    def begin(self, call: dict[str, Any]) -> None:
        """Start what a worker asks for, whatever that is; not before its turn."""
        self._waiting.append(call)
        self._begin_next()

    def _begin_next(self) -> None:
        if not self._waiting or self._is_unanswered or self._outgoing:
            return
        self._is_unanswered = True
        known = self._tools.start(self._waiting.popleft(), self._take)
        if self._observer and known is not None:
            self._observer.tool_called(known)

    def _take(self, record: Mapping[str, Any] | None, answer: bytes) -> None:
        with self._lock:
            if self.wake >= 0:
                self._answers.append((record, answer))
                os.eventfd_write(self.wake, 1)

    def send_answers(self) -> None:
        """Send what has come, as far as the worker takes it."""
        with self._lock:
            if self._answers:
                os.eventfd_read(self.wake)
            answers, self._answers = self._answers, collections.deque()
        for record, answer in answers:
            self._is_unanswered = False
            self._outgoing += wire.encode(wire.RETURN, answer)
            if self._observer and record is not None:
                self._observer.tool_returned(record)
        while self._outgoing:
            try:
                sent = self._channel.send(self._outgoing)
            except BlockingIOError:
                return
            except (BrokenPipeError, ConnectionResetError):
                self._outgoing.clear()  # it is dead; listening tells how
                return
            del self._outgoing[:sent]
        self._begin_next()

    def close(self) -> None:
        """Answers that come later are dropped."""
        with self._lock:
            wake, self.wake = self.wake, -1
        os.close(wake)

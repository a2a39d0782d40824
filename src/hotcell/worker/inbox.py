"""What the other side sends a worker: requests with their files, answers to tool calls, the order to split in two."""

from __future__ import annotations

import array
import collections
import json
import os
import socket
from collections.abc import Callable
from typing import Any, NamedTuple

from hotcell.worker import wire

_MOST_HANDLES = 8
_decode_json, _read = json.loads, os.read


class Fork(NamedTuple):
    """An order to split in two, and the descriptors that came with it."""

    order: dict[str, Any]
    handles: list[int]


class Inbox:
    """The receiving end of the wire. ``send`` writes a frame; ``touch`` is called when the other side has time for it.

    In a session it keeps frames that came too early, and descriptors; not thread-safe.
    """

    def __init__(
        self, channel: int, directory: str, touch: Callable[[], None], send: Callable[[int, bytes], None]
    ) -> None:
        self._channel = channel
        self._directory = directory
        self._touch = touch
        self._send = send
        self._socket: socket.socket | None = None
        self._decoder = wire.Decoder(wire.FROM_US)
        self._frames: collections.deque[tuple[int, bytes]] = collections.deque()
        self._handles: list[int] = []

    @property
    def keeps_descriptors(self) -> bool:
        """True in a session."""
        return self._socket is not None

    def keep_descriptors(self) -> None:
        """For a session, from here on: what comes with a frame is kept. Again for a copy, with its own wire."""
        self._socket = socket.socket(fileno=os.dup(self._channel))
        self._decoder = wire.Decoder(wire.FROM_US)
        self._frames.clear()
        self._handles.clear()

    def next(self) -> dict[str, Any] | Fork | None:
        """The next request, its files already written, or the order to split; None when the other side went away.

        Raises OSError or MemoryError when the files, or the variables, do not fit.
        """
        while (frame := self._frame()) is not None:
            kind, payload = frame
            if kind == wire.REQUEST:
                return self._with_files(_decode_json(payload))
            if kind == wire.TOUCH:
                self._touch()
                self._send(wire.READY, b"")
            elif kind == wire.FORK:
                handles, self._handles = self._handles, []
                return Fork(_decode_json(payload), handles)
        return None

    def answer(self) -> dict[str, Any]:
        """The answer to a tool call. Raises EOFError when the other side went away."""
        while (frame := self._frame()) is not None:
            if frame[0] == wire.RETURN:
                answer: dict[str, Any] = _decode_json(frame[1])
                return answer
        raise EOFError("the other side of the wire is gone")

    def _frame(self) -> tuple[int, bytes] | None:
        while not self._frames:
            data = (
                self._receive() if self._socket else _read(self._channel, 1 << 16)
            )  # larger ones are mapped each time
            if not data:
                return None
            self._frames.extend(self._decoder.feed(data))
        return self._frames.popleft()

    def _receive(self) -> bytes:
        assert self._socket
        data, ancillary, _, _ = self._socket.recvmsg(1 << 16, socket.CMSG_LEN(_MOST_HANDLES * 4))
        for level, kind, payload in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                handles = array.array("i")
                handles.frombytes(payload[: len(payload) - len(payload) % handles.itemsize])
                self._handles += handles
        return data

    def _with_files(self, request: dict[str, Any]) -> dict[str, Any] | None:
        if request.pop("artifacts", False):
            directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
            send_handles(self._channel, wire.encode(wire.DIRECTORY), [directory])
        files = _Files(self._directory, request.pop("files", []))
        while not files.complete:
            frame = self._frame()
            if frame is None:
                return None
            files.write(frame[1])
        return request


def send_handles(channel: int, frame: bytes, handles: list[int]) -> None:
    """Give descriptors away along with a frame; they are closed here."""
    with socket.socket(fileno=os.dup(channel)) as wire_socket:
        socket.send_fds(wire_socket, [frame], handles)
    for handle in handles:
        os.close(handle)


class _Files:
    """Writes the bytes that follow a request into the files it announced, one after the other."""

    def __init__(self, directory: str, announced: list[list[Any]]) -> None:
        self._directory = directory
        self._waiting = list(reversed(announced))
        self._handle = -1
        self._missing = 0
        self._path = ""
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
            name, self._missing, mode = self._waiting.pop()
            self._path = path = os.path.join(self._directory, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            # Only in a session can something of that name be there already; it is replaced, never written through.
            if os.path.lexists(path):
                os.unlink(path)
            self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view and self._handle >= 0:
            try:
                count = os.write(self._handle, view[: self._missing])
            except OSError:  # it does not fit; half a file is worse than none
                os.close(self._handle)
                os.unlink(self._path)
                raise
            view = view[count:]
            self._missing -= count
            self._next()

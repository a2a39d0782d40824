"""One execution over a cell's streams: send the request, listen within the limits, and say how it came to an end.

Written once for every sandbox whose worker sits at the other end of a byte stream. All that is heard is hostile data:
it is counted and cut here, and nothing in it can change why the conversation ended.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import hashlib
import io
import json
import os
import select
import socket
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from hotcell.errors import ConfigurationError, PoolExhausted, SandboxCrashed, SandboxUnavailable
from hotcell.sandboxes.artifacts import Given
from hotcell.sandboxes.base import RunRequest
from hotcell.sandboxes.handles import receive
from hotcell.worker import wire

_TICK_SECONDS = 0.02
_READY_SECONDS = 30.0
_READ_BYTES = 1 << 16
_REPORT_BYTES = 1 << 20
"""Room in a report for everything but the value."""


class NeverBegan(SandboxCrashed):
    """The cell was dead before the request reached it, so another may be tried."""


class End(enum.Enum):
    """What ended the conversation."""

    REPORT = enum.auto()
    """The worker reported; what it says is the code's own word."""
    DEATH = enum.auto()
    """The process ended without a report."""
    WALL_CLOCK = enum.auto()
    CPU_TIME = enum.auto()
    MEMORY = enum.auto()
    OUTPUT = enum.auto()
    FORBIDDEN = enum.auto()
    """It asked the kernel for something that ends a cell."""
    PROTOCOL = enum.auto()
    """It sent what the protocol does not allow."""


_Readable = io.BytesIO | io.FileIO


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...


class Cell(Protocol):
    """What a conversation needs of a cell."""

    channel: socket.socket
    stdout: int
    stderr: int
    end: int
    """Readable when the cell, with everything in it, is dead."""
    alarm: int
    """Readable when it asked the kernel for something forbidden; -1 when there is no such thing."""

    def read_alarm(self) -> str: ...
    def start_measuring(self) -> None: ...
    def cpu_seconds(self) -> float: ...
    def holds_more_than(self, memory_bytes: int) -> bool: ...
    def kill(self) -> None: ...


@dataclass(kw_only=True)
class Heard:
    """What came of a conversation."""

    end: End
    problem: str = ""
    report: dict[str, Any] = field(default_factory=dict)
    output: dict[str, bytearray] = field(default_factory=lambda: {"stdout": bytearray(), "stderr": bytearray()})
    output_bytes: int = 0
    """All that was written and read, also what was cut."""
    given: dict[str, Given] = field(default_factory=dict)
    """The files that were put in, when artifacts were asked for."""
    directory: int = -1
    """A descriptor of the work directory, when artifacts were asked for. A context manager closes it."""
    seconds: float = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.directory >= 0:
            handle, self.directory = self.directory, -1
            os.close(handle)


def wait_until_ready(cell: Cell) -> int:
    """Wait for a prepared cell's word that every layer is on; returns the descriptor that comes with it, or -1.

    Raises SandboxUnavailable or SandboxCrashed.
    """
    decoder = wire.Decoder(wire.BEFORE_REQUEST)
    cell.channel.settimeout(_READY_SECONDS)
    listener = -1
    try:
        while True:
            data, handles = receive(cell.channel, 4096, 1)
            listener = handles[0] if handles else listener
            if not data:
                raise SandboxCrashed("A cell ended while it was prepared.")
            for kind, payload in decoder.feed(data):
                if kind == wire.READY:
                    return listener
                raise SandboxUnavailable(f"A cell could not be closed: {payload.decode(errors='replace')}")
    except BaseException as error:
        if listener >= 0:
            os.close(listener)
        if isinstance(error, TimeoutError):
            raise SandboxCrashed(f"A cell was not ready after {_READY_SECONDS:g} s.") from None
        if isinstance(error, OSError) and error.errno == errno.EMFILE:
            raise PoolExhausted(
                "The application has no descriptors left for a cell: raise its RLIMIT_NOFILE."
            ) from error
        if isinstance(error, (OSError, wire.WireError)):
            raise SandboxCrashed(f"A cell failed while it was prepared: {error}.") from error
        raise


def converse(cell: Cell, request: RunRequest) -> Heard:
    """Hold the conversation with a cell that is ready. It may still run when this returns: kill it.

    Raises NeverBegan, and ConfigurationError for a file that cannot be read.
    """
    talk = _Talk(cell, request)
    try:
        talk.send()
        talk.listen()
    except BaseException:
        talk.heard.__exit__()
        raise
    return talk.heard


class _Talk:
    def __init__(self, cell: Cell, request: RunRequest) -> None:
        self.cell = cell
        self.request = request
        self.heard = Heard(end=End.DEATH)
        self._decoder = wire.Decoder({wire.RESULT: request.config.value_bytes + _REPORT_BYTES})
        self._poll = select.poll()
        self._ended = False

    def send(self) -> None:
        request, channel = self.request, self.cell.channel
        with contextlib.ExitStack() as stack:
            files = [_open_file(stack, name, content) for name, content in request.files.items()]
            body: dict[str, Any] = {
                "code": request.code,
                "filename": request.filename,
                "context": request.context,
                "namespace": _compact(request.namespace),
                "value_bytes": request.config.value_bytes,
                "files": [(name, size) for name, size, _ in files],
                "artifacts": bool(request.artifacts),
            }
            if request.deterministic is not None:
                body["deterministic"] = request.deterministic.to_dict()
            payload = json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")
            channel.settimeout(_READY_SECONDS)
            self.cell.start_measuring()
            try:
                channel.sendall(wire.encode(wire.REQUEST, payload))
            except (BrokenPipeError, ConnectionResetError):
                if not request.cancellation.cancelled:
                    raise NeverBegan("The fork server's cells died while they waited.") from None
            try:
                for name, size, file in files:
                    digest = hashlib.sha256() if request.artifacts else None
                    _send_file(channel, name, size, file, digest)
                    if digest:
                        self.heard.given[name] = Given(size=size, sha256=digest.hexdigest())
                if request.artifacts:
                    self.heard.directory = _receive_directory(channel)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it died already; listening tells how
        channel.setblocking(False)

    def listen(self) -> None:
        cell, config, heard = self.cell, self.request.config, self.heard
        started = time.monotonic()
        deadline = started + config.timeout_seconds
        channel = cell.channel.fileno()
        for handle in (channel, cell.stdout, cell.stderr, cell.end):
            self._poll.register(handle, select.POLLIN)
        if cell.alarm >= 0:
            self._poll.register(cell.alarm, select.POLLIN)
        next_look = started + _TICK_SECONDS
        while not self._ended:
            now = time.monotonic()
            if now >= deadline:
                self._finish(End.WALL_CLOCK)
                break
            if now >= next_look:
                self._look()
                next_look = now + _TICK_SECONDS
            wait = max(0.0, min(deadline, next_look) - now)
            ready = {handle for handle, _ in self._poll.poll(wait * 1000 + 1)}
            if cell.stdout in ready:
                self._read_output("stdout", cell.stdout)
            if cell.stderr in ready:
                self._read_output("stderr", cell.stderr)
            if channel in ready and not self._ended:
                self._read_channel()
            if cell.alarm in ready and not self._ended:
                self._read_alarm()
            if cell.end in ready and not self._ended:
                self._read_channel_to_its_end()
        heard.seconds = time.monotonic() - started
        if heard.end is not End.OUTPUT:
            self._drain()

    def _finish(self, end: End, problem: str = "") -> None:
        self.heard.end, self.heard.problem = end, problem
        self._ended = True

    def _read_alarm(self) -> None:
        problem = self.cell.read_alarm()
        if problem:
            self._finish(End.FORBIDDEN, problem)
        else:
            self._poll.unregister(self.cell.alarm)  # everybody who could ring it is dead

    def _look(self) -> None:
        """The limits that no kernel mechanism keeps for all of the cell's processes together."""
        config = self.request.config
        if self.cell.holds_more_than(config.memory_bytes):
            self._finish(End.MEMORY)
        elif self.cell.cpu_seconds() > config.effective_cpu_seconds:
            self._finish(End.CPU_TIME)

    def _read_output(self, name: str, handle: int) -> bool:
        """Take what is there; returns False when there is nothing more for now."""
        try:
            data = os.read(handle, _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._poll.unregister(handle)
            return False
        heard = self.heard
        room = self.request.config.output_bytes - heard.output_bytes
        heard.output_bytes += len(data)
        heard.output[name] += data[: max(0, room)]
        if len(data) > room:
            self._finish(End.OUTPUT)
            return False
        return True

    def _drain(self) -> None:
        """What was written before the end and is still in the pipes."""
        for name, handle in (("stdout", self.cell.stdout), ("stderr", self.cell.stderr)):
            try:
                while self._read_output(name, handle):
                    pass
            except KeyError:
                continue  # closed before: it is not registered any more

    def _read_channel(self) -> bool:
        """Returns False when nothing more will come."""
        try:
            data = self.cell.channel.recv(_READ_BYTES)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            data = b""
        if not data:
            self._poll.unregister(self.cell.channel)
            return False
        try:
            for _, payload in self._decoder.feed(data):
                self.heard.report = wire.decode_json(payload)
                self._finish(End.REPORT)
                return False
        except wire.WireError as error:
            self._finish(End.PROTOCOL, str(error))
            return False
        return True

    def _read_channel_to_its_end(self) -> None:
        """It is dead; a report may still be in the stream."""
        try:
            while self._read_channel():
                pass
        except KeyError:
            pass  # it was closed before
        if not self._ended:
            self._finish(End.DEATH)


def _compact(rules: Mapping[str, Any]) -> dict[str, Any]:
    """The rules with the names of modules as one text each, which both sides handle quicker than a hundred."""
    imports = {name: rules.get(name) for name in ("imports_allowed", "imports_denied")}
    return {**rules, **{name: " ".join(names) for name, names in imports.items() if names is not None}}


def _open_file(stack: contextlib.ExitStack, name: str, content: bytes | os.PathLike[str]) -> tuple[str, int, _Readable]:
    """Name, size in bytes and the open file. Raises ConfigurationError for what is not a readable regular file."""
    if isinstance(content, bytes):
        return name, len(content), io.BytesIO(content)
    try:
        # O_NONBLOCK: opening a FIFO must not wait for somebody to write to it.
        handle = os.open(content, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigurationError(f"files[{name!r}]: {error.strerror}: {os.fspath(content)}") from error
    stack.callback(os.close, handle)
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        raise ConfigurationError(f"files[{name!r}]: {os.fspath(content)} is not a regular file.")
    return name, status.st_size, io.FileIO(handle, closefd=False)


def _send_file(channel: socket.socket, name: str, size: int, file: _Readable, digest: _Digest | None) -> None:
    sent = 0
    while sent < size:
        try:
            data = file.read(min(wire.CHUNK, size - sent))
        except OSError as error:
            raise ConfigurationError(f"files[{name!r}]: {error.strerror}.") from error
        if not data:
            raise ConfigurationError(f"files[{name!r}]: it became shorter while it was read.")
        if digest:
            digest.update(data)
        channel.sendall(wire.encode(wire.DATA, data))
        sent += len(data)


def _receive_directory(channel: socket.socket) -> int:
    """The descriptor that comes before the code runs; -1 when it does not come."""
    try:
        _, handles = receive(channel, wire.HEADER.size, 1)
    except (TimeoutError, OSError):
        return -1
    return handles[0] if handles else -1


def text_of(report: Mapping[str, Any], key: str, most: int) -> str | None:
    """A text field of a hostile report, or None."""
    value = report.get(key)
    return value[:most] if isinstance(value, str) else None

"""One execution over a cell's streams: send the request, listen within the limits, and say how it came to an end.

Written once for every sandbox whose worker sits at the other end of a byte stream. All that is heard is hostile data:
it is counted and cut here, and nothing in it can change why the conversation ended.
"""

from __future__ import annotations

import enum
import errno
import os
import select
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from hotcell.errors import PoolExhausted, SandboxCrashed, SandboxUnavailable
from hotcell.sandboxes.artifacts import Given
from hotcell.sandboxes.base import RunRequest
from hotcell.sandboxes.clock import Clock
from hotcell.sandboxes.exchange import Exchange
from hotcell.sandboxes.handles import receive
from hotcell.sandboxes.sending import send
from hotcell.worker import wire

_TICK_SECONDS = 0.02
_READY_SECONDS = 30.0
_READ_BYTES = 1 << 16
_MOST_HANDLES = 2
_MOST_READS = 64
"""A pipe holds at most 1 MiB (fs.pipe-max-size), which an ordinary cell can ask for."""
_REPORT_BYTES = 1 << 20
"""Room in a report for everything but the value."""
_GRACE_SECONDS = 1.0
"""How long a session's code may take to obey an interrupt; it is asked a second time when half of that is over."""
_HELD_UP_SECONDS = 0.005
"""How often a reader who is behind is looked at."""


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
    CANCELLED = enum.auto()
    """The caller gave up on a call of a session."""


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
    def interrupt(self) -> None: ...


@dataclass(kw_only=True)
class Heard:
    """What came of a conversation."""

    end: End
    problem: str = ""
    report: dict[str, Any] = field(default_factory=dict)
    output: dict[str, bytearray] = field(default_factory=lambda: {"stdout": bytearray(), "stderr": bytearray()})
    output_bytes: int = 0
    """All that was written and read, also what was cut."""
    displays: list[dict[str, Any]] = field(default_factory=list)
    """What the code has shown: MIME bundles, nothing about them is checked yet."""
    notes: list[str] = field(default_factory=list)
    """What was cut, and why."""
    is_alive: bool = False
    """In a session: the worker has reported, and waits for the next request."""
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


def wait_until_ready(cell: Cell) -> list[int]:
    """Wait for a prepared cell's word that every layer is on; returns the descriptors that come with it.

    Raises SandboxUnavailable or SandboxCrashed.
    """
    decoder = wire.Decoder(wire.BEFORE_REQUEST)
    cell.channel.settimeout(_READY_SECONDS)
    handles: list[int] = []
    try:
        while True:
            data, more = receive(cell.channel, 4096, _MOST_HANDLES)
            handles += more
            if not data:
                raise SandboxCrashed("A cell ended while it was prepared.")
            for kind, payload in decoder.feed(data):
                if kind == wire.READY:
                    return handles
                raise SandboxUnavailable(f"A cell could not be closed: {payload.decode(errors='replace')}")
    except BaseException as error:
        for handle in handles:
            os.close(handle)
        if isinstance(error, TimeoutError):
            raise SandboxCrashed(f"A cell was not ready after {_READY_SECONDS:g} s.") from None
        if isinstance(error, OSError) and error.errno == errno.EMFILE:
            raise PoolExhausted(
                "The application has no descriptors left for a cell: raise its RLIMIT_NOFILE."
            ) from error
        if isinstance(error, (OSError, wire.WireError)):
            raise SandboxCrashed(f"A cell failed while it was prepared: {error}.") from error
        raise


def converse(cell: Cell, request: RunRequest, *, in_session: bool = False, wants_directory: bool = False) -> Heard:
    """Hold the conversation with a cell that is ready. It may still run when this returns: kill it.

    In a session, code that reaches a limit is first interrupted; ``Heard.is_alive`` says whether it obeyed.
    ``wants_directory`` asks for a descriptor of the work directory also where there are no artifacts to collect.
    Raises NeverBegan, and ConfigurationError for a file that cannot be read.
    """
    talk = _Talk(cell, request, is_session=in_session)
    try:
        cell.start_measuring()
        wants_directory = wants_directory or (bool(request.artifacts) and not in_session)
        sent = send(cell.channel, request, in_session=in_session, wants_directory=wants_directory)
        talk.heard.given, talk.heard.directory = sent.given, sent.directory
        if not sent.arrived and not request.cancellation.cancelled:
            raise NeverBegan("The fork server's cells died while they waited.")
        talk.listen()
    except BaseException:
        talk.heard.__exit__()
        raise
    finally:
        talk.close()
    return talk.heard


class _Talk:
    def __init__(self, cell: Cell, request: RunRequest, *, is_session: bool) -> None:
        self.cell = cell
        self.request = request
        self.heard = Heard(end=End.DEATH)
        config = request.config
        limits = {wire.RESULT: config.value_bytes + _REPORT_BYTES, wire.DISPLAY: wire.DISPLAY_BYTES}
        if request.tools:
            limits[wire.CALL] = wire.CALL_BYTES
        self._decoder = wire.Decoder(limits)
        self._poll = select.poll()
        self._is_session = is_session
        self._ended = False
        self._notice: tuple[End, float] | None = None
        """In a session: which limit was reached, and until when the code may obey."""
        self._has_insisted = False
        self._reading = [("stdout", cell.stdout), ("stderr", cell.stderr)]
        self._is_held_up = False
        self._display_room = config.display_bytes
        self._exchange: Exchange | None = None
        if request.tools:
            self._exchange = Exchange(cell.channel, request.tools, request.observer)
        self._listens_to_channel = True
        self._clock: Clock

    def close(self) -> None:
        if self._exchange:
            self._exchange.close()

    def listen(self) -> None:
        self._clock = Clock(self.request.config.timeout_seconds, self.request.config.pause_seconds)
        self._register()
        now = time.monotonic()
        next_look = now + _TICK_SECONDS
        while not self._ended:
            now = time.monotonic()
            if now >= next_look:
                self._look(now)
                next_look = now + _TICK_SECONDS
            if self._is_over(now):
                break
            wait = max(0.0, min(self._clock.left(now), next_look - now, _HELD_UP_SECONDS if self._is_held_up else 1.0))
            self._hear({handle for handle, _ in self._poll.poll(wait * 1000 + 1)})
            self._hold_up_while_behind()
        self.heard.seconds = self._clock.elapsed(time.monotonic())
        if self.heard.end is not End.OUTPUT or self.heard.is_alive:
            self._drain()

    def _register(self) -> None:
        cell = self.cell
        handles = [cell.channel.fileno(), cell.stdout, cell.stderr, cell.end]
        if cell.alarm >= 0:
            handles.append(cell.alarm)
        if self._exchange:
            handles.append(self._exchange.wake)
        for handle in handles:
            self._poll.register(handle, select.POLLIN)

    def _hear(self, ready: set[int]) -> None:
        for name, handle in self._reading:
            if handle in ready:
                self._read_output(name, handle)
        # In this order: a report is worth more than the death that follows it.
        for handle, read in (
            (self.cell.channel.fileno(), self._read_channel),
            (self.cell.alarm, self._read_alarm),
            (self.cell.end, self._read_channel_to_its_end),
        ):
            if handle in ready and not self._ended:
                read()
        if self._exchange and not self._ended:
            self._attend_to_tools(self._exchange)

    def _is_over(self, now: float) -> bool:
        """See whether the wall clock, or the patience with code that was interrupted, is at its end."""
        if self._notice:
            end, until = self._notice
            if now >= until:
                self._finish(end)
            elif until - now <= _GRACE_SECONDS / 2 and not self._has_insisted:
                # The first may have come before the code had begun, and been nothing.
                self._has_insisted = True
                self.cell.interrupt()
        elif self._clock.left(now) <= 0:
            self._reach(End.WALL_CLOCK)
        return self._ended

    def _reach(self, end: End) -> None:
        """A limit is reached. A session's code is asked to stop; what it reports then is its last word on this call."""
        if self._ended or not self._is_session:
            self._finish(end)
        elif not self._notice:
            self._notice = (end, time.monotonic() + _GRACE_SECONDS)
            self.cell.interrupt()

    def _attend_to_tools(self, exchange: Exchange) -> None:
        exchange.send_answers()
        events = select.POLLOUT if exchange.has_more_to_send else 0
        if not exchange.is_full:  # whoever does not read our answers may not ask for more
            events |= select.POLLIN
        if self._listens_to_channel:
            self._poll.modify(self.cell.channel, events)
        self._set_clock(time.monotonic())

    def _finish(self, end: End, problem: str = "") -> None:
        self.heard.end, self.heard.problem = end, problem
        self._ended = True

    def _read_alarm(self) -> None:
        problem = self.cell.read_alarm()
        if problem:
            self._finish(End.FORBIDDEN, problem)
        else:
            self._poll.unregister(self.cell.alarm)  # everybody who could ring it is dead

    def _look(self, now: float) -> None:
        """The limits that no kernel mechanism keeps for all of the cell's processes together; and whoever waits."""
        config, observer = self.request.config, self.request.observer
        if observer:
            observer.tick()
        self._set_clock(now)
        if self._is_session and self.request.cancellation.cancelled:
            self._reach(End.CANCELLED)
        if self.cell.holds_more_than(config.memory_bytes):
            self._finish(End.MEMORY)
        elif self.cell.cpu_seconds() > config.effective_cpu_seconds:
            self._reach(End.CPU_TIME)

    def _set_clock(self, now: float) -> None:
        host_works = self._is_held_up or (self._exchange is not None and self._exchange.is_working)
        self._clock.pause(now, really=host_works)

    def _hold_up_while_behind(self) -> None:
        """Stop reading output while the one who wants it is behind, and start again.

        Code that was told to stop may write on: it could not obey while it waits for a reader who has left.
        """
        observer = self.request.observer
        really = observer is not None and not self._notice and observer.is_behind()
        if really == self._is_held_up:
            return
        self._is_held_up = really
        for _, handle in self._reading:
            self._poll.modify(handle, 0 if really else select.POLLIN)

    def _read_output(self, name: str, handle: int) -> bool:
        """Take what is there; returns False when there is nothing more for now."""
        try:
            data = os.read(handle, _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._poll.unregister(handle)
            self._reading = [item for item in self._reading if item[1] != handle]
            return False
        heard = self.heard
        room = max(0, self.request.config.output_bytes - heard.output_bytes)
        heard.output_bytes += len(data)
        heard.output[name] += data[:room]
        if self.request.observer and room:
            self.request.observer.output(name, data[:room])
        if len(data) > room:
            self._reach(End.OUTPUT)
            return self._is_session  # it must be able to write on, or it could not obey
        return True

    def _drain(self) -> None:
        """What was written before the end and is still in the pipes; they hold a bounded amount."""
        for name, handle in list(self._reading):
            for _ in range(_MOST_READS):
                if not self._read_output(name, handle):
                    break

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
            self._listens_to_channel = False
            return False
        try:
            for kind, payload in self._decoder.feed(data):
                if kind == wire.RESULT:
                    self._take_report(wire.decode_json(payload))
                    return False
                if kind == wire.DISPLAY:
                    self._take_display(payload)
                elif self._exchange:
                    self._exchange.begin(wire.decode_json(payload))
        except wire.WireError as error:
            self._finish(End.PROTOCOL, str(error))
            return False
        return True

    def _take_report(self, report: dict[str, Any]) -> None:
        self.heard.report = report
        self.heard.is_alive = self._is_session
        self._finish(self._notice[0] if self._notice else End.REPORT)

    def _take_display(self, payload: bytes) -> None:
        config, heard = self.request.config, self.heard
        self._display_room -= len(payload)
        if self._display_room < 0 or len(heard.displays) >= config.display_count:
            note = (
                f"Displays were left out: more than display_count={config.display_count} or "
                f"display_bytes={config.display_bytes}."
            )
            heard.notes = [note]
            return
        bundle = wire.decode_json(payload)
        heard.displays.append(bundle)
        if self.request.observer:
            self.request.observer.display(bundle)

    def _read_channel_to_its_end(self) -> None:
        """It is dead; a report may still be in the stream."""
        while self._listens_to_channel and self._read_channel():
            pass
        if not self._ended:  # code that a limit's interrupt drove out of its process has still reached the limit
            self._finish(self._notice[0] if self._notice else End.DEATH)


def text_of(report: Mapping[str, Any], key: str, most: int) -> str | None:
    """A text field of a hostile report, or None."""
    value = report.get(key)
    return value[:most] if isinstance(value, str) else None

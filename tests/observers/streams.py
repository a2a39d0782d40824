"""A conversation's two ends over real sockets and pipes: a cell, and a worker that may do anything."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

from hotcell.config import SandboxConfig
from hotcell.sandboxes.base import RunRequest
from hotcell.sandboxes.conversation import Heard, converse
from hotcell.worker import wire

Script = Callable[["Worker"], None]


def descriptors() -> set[str]:
    return {name for name in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{name}")}


class Worker:
    """The far side of the streams, as a hostile program that owns all of them."""

    def __init__(self, channel: socket.socket, stdout: int, stderr: int, end: int, alarm: int) -> None:
        self.channel = channel
        self.stdout, self.stderr, self.end, self.alarm = stdout, stderr, end, alarm
        self.stopped = threading.Event()
        self.got = bytearray()

    def send(self, *frames: bytes) -> None:
        self.channel.sendall(b"".join(frames))

    def report(self, **fields: Any) -> None:
        self.send(wire.encode(wire.RESULT, json.dumps(fields).encode()))

    def hear_request(self) -> dict[str, Any]:
        """The request; what came after it is in ``got``."""
        while True:
            if len(self.got) >= wire.HEADER.size:
                kind, length = wire.HEADER.unpack_from(self.got)
                if len(self.got) >= wire.HEADER.size + length:
                    assert kind == wire.REQUEST
                    payload = bytes(self.got[wire.HEADER.size : wire.HEADER.size + length])
                    del self.got[: wire.HEADER.size + length]
                    return json.loads(payload)
            self.got += self._more()

    def hear_data(self, size: int) -> bytes:
        decoder = wire.Decoder(wire.FROM_US)
        frames = decoder.feed(bytes(self.got))
        while sum(len(payload) for _, payload in frames) < size:
            frames += decoder.feed(self._more())
        assert {kind for kind, _ in frames} <= {wire.DATA}
        return b"".join(payload for _, payload in frames)

    def _more(self) -> bytes:
        data = self.channel.recv(1 << 16)
        if not data:
            raise BrokenPipeError
        return data

    def close(self, name: str) -> None:
        handle = getattr(self, name)
        if isinstance(handle, socket.socket):
            handle.close()
        elif handle >= 0:
            os.close(handle)
            setattr(self, name, -1)

    def die(self) -> None:
        for name in ("channel", "stdout", "stderr", "end", "alarm"):
            self.close(name)


class Cell:
    """The near side: what a sandbox gives a conversation."""

    def __init__(self, *, sockets: bool = False, alarm: bool = False) -> None:
        self.channel, far = socket.socketpair()
        self._kept: list[socket.socket] = []
        ends = [self._pipe(sockets) for _ in range(2)]
        end = os.pipe()
        bell = os.pipe() if alarm else (-1, -1)
        self.stdout, self.stderr = ends[0][0], ends[1][0]
        for handle in (self.stdout, self.stderr):
            os.set_blocking(handle, False)
        self.end, self.alarm = end[0], bell[0]
        self.worker = Worker(far, ends[0][1], ends[1][1], end[1], bell[1])
        self.held, self.cpu, self.killed, self.name = 0, 0.0, False, ""
        self.interrupted = threading.Event()

    def _pipe(self, sockets: bool) -> tuple[int, int]:
        if not sockets:
            return os.pipe()
        near, far = socket.socketpair()
        return near.detach(), far.detach()

    def read_alarm(self) -> str:
        os.read(self.alarm, 1)
        return self.name

    def start_measuring(self) -> None:
        self.measured = True

    def cpu_seconds(self) -> float:
        return self.cpu

    def holds_more_than(self, memory_bytes: int) -> bool:
        return self.held > memory_bytes

    def interrupt(self) -> None:
        self.interrupted.set()

    def kill(self) -> None:
        self.killed = True
        self.worker.stopped.set()
        with contextlib.suppress(OSError):
            self.channel.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.channel.close()
        for handle in (self.stdout, self.stderr, self.end, self.alarm):
            if handle >= 0:
                os.close(handle)


@contextlib.contextmanager
def played(script: Script, **options: bool) -> Iterator[Cell]:
    """A cell whose worker follows the script in a thread of its own; nothing is left open afterwards."""
    before = descriptors()
    cell = Cell(**options)

    def play() -> None:
        # The near side may hang up at any point.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            script(cell.worker)

    thread = threading.Thread(target=play)
    thread.start()
    try:
        yield cell
    finally:
        cell.kill()
        cell.close()
        thread.join(20)
        cell.worker.die()
        assert not thread.is_alive()
        assert descriptors() == before


def request(**options: Any) -> RunRequest:
    limits = {"timeout_seconds": 5.0, **options.pop("config", {})}
    return RunRequest(code=options.pop("code", "pass"), config=SandboxConfig(**limits), **options)


def talk(script: Script, *, asked: RunRequest | None = None, near: dict[str, bool] | None = None) -> Heard:
    with played(script, **(near or {})) as cell:
        heard = converse(cell, asked or request())
        if heard.directory >= 0:
            os.close(heard.directory)
        return heard


def after_request(action: Script) -> Script:
    def script(worker: Worker) -> None:
        worker.hear_request()
        action(worker)

    return script


def then_waits(action: Script) -> Script:
    def script(worker: Worker) -> None:
        worker.hear_request()
        action(worker)
        worker.stopped.wait(30)

    return script

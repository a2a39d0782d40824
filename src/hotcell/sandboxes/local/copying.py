"""Making a copy of a session, from outside: a shell for it, streams for it, the word that it is there, and is ready."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import struct
import time

from hotcell.errors import PoolExhausted, SandboxCrashed
from hotcell.sandboxes.local.family import parent_of
from hotcell.sandboxes.local.forkserver import ForkServer
from hotcell.sandboxes.local.nested import NestedCell, end_shell, is_first_in
from hotcell.worker import wire

_READY_SECONDS = 30.0
_PARTING_SECONDS = 5.0
_CREDENTIALS = struct.Struct("<3i")
"""``struct ucred``: the sender's PID in our namespace, by the kernel's word; uid and gid."""


def bear(server: ForkServer, cell: NestedCell, *, keep_random: bool) -> NestedCell:
    """A copy of ``cell``, which waits for its next request and is not frozen: born, but not ready yet.

    Raises SandboxError, and ConfigurationError when it is too deep.
    """
    cell.require_room()
    with cell.family.copying(), contextlib.ExitStack() as ours:
        try:
            shell = cell.take_shell(server)
            ours.callback(end_shell, shell)
            channel, outputs, theirs = _streams(ours)
            try:
                order = wire.encode(wire.FORK, json.dumps({"keep_random": keep_random}).encode())
                cell.channel.settimeout(_READY_SECONDS)
                socket.send_fds(cell.channel, [order], [shell.mount, shell.pid, *theirs])
            finally:
                for handle in theirs:
                    os.close(handle)
            process = _wait_until_born(channel, outputs[1], cell, shell.init)
            ours.pop_all()  # all of it is the copy's from here on
            return NestedCell((channel.detach(), *outputs), process, shell, cell.limits, cell.family, origin=cell)
        except OSError as error:
            raise PoolExhausted(f"A session could not be copied: {error}. Free descriptors or memory.") from error


def wait_until_ready(copy: NestedCell) -> None:
    """Until it has files and memory of its own, and waits for a request. Raises SandboxCrashed."""
    poller = select.poll()
    for handle in (copy.channel.fileno(), copy.end):  # the original may hold the far end of the wire, too
        poller.register(handle, select.POLLIN)
    if not poller.poll(_READY_SECONDS * 1000):
        raise _late()
    told = b""
    with contextlib.suppress(OSError):
        told = copy.channel.recv(wire.HEADER.size, socket.MSG_DONTWAIT)
    if told != wire.encode(wire.READY):
        raise _failure(copy.stderr)


def _streams(ours: contextlib.ExitStack) -> tuple[socket.socket, list[int], list[int]]:
    """Our ends: the wire, then stdout and stderr; and the three ends for the copy."""
    channel, wire_end = socket.socketpair()
    ours.callback(channel.close)
    theirs = [wire_end.detach()]
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    outputs = []
    for _ in range(2):
        reading, writing = os.pipe()
        ours.callback(os.close, reading)
        theirs.append(writing)
        outputs.append(reading)
    return channel, outputs, theirs


def _late() -> SandboxCrashed:
    return SandboxCrashed(f"The copy of a session was not ready after {_READY_SECONDS:g} s.")


def _failure(stderr: int) -> SandboxCrashed:
    os.set_blocking(stderr, False)
    data = b""
    with contextlib.suppress(BlockingIOError):
        data = os.read(stderr, 500)
    told = data.decode(errors="replace").strip() or "it gave no answer"
    return SandboxCrashed(f"The session could not be copied: {told}.")


def _wait_until_born(channel: socket.socket, stderr: int, origin: NestedCell, init_handle: int) -> int:
    """A pidfd of the copy. Who says that it is the copy may lie: a session can send any PID that it sees."""
    channel.settimeout(_READY_SECONDS)
    try:
        data, ancillary, _, _ = channel.recvmsg(wire.HEADER.size, socket.CMSG_LEN(_CREDENTIALS.size))
    except TimeoutError:
        raise _late() from None
    if data != wire.encode(wire.HERE):
        raise _failure(stderr)
    pids = [
        _CREDENTIALS.unpack(payload)[0]
        for level, kind, payload in ancillary
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS)
    ]
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 0)
    if len(pids) != 1 or (process := _open_copy(pids[0], origin, init_handle)) is None:
        raise SandboxCrashed("The session could not be copied: what answered is not in the place that was made for it.")
    return process


def _open_copy(pid: int, origin: NestedCell, init_handle: int) -> int | None:
    """Its pidfd if it is the first in its place. Below one session all others that are first in one are known."""
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return None
    poller = select.poll()
    poller.register(process, select.POLLIN)
    if is_first_in(pid, init_handle) and pid not in origin.family.known():
        deadline = time.monotonic() + _PARTING_SECONDS
        # By the detour for processes with threads it has another parent for a moment. Whose child it stays is what we
        # need to know: there its hidden siblings are looked for.
        while not (is_ours := parent_of(pid) in origin.parents_of_copies()) and time.monotonic() < deadline:
            if poller.poll(1):
                break
        # That it lives is looked at last: until then the number was its own.
        if is_ours and not poller.poll(0):
            return process
    os.close(process)
    return None

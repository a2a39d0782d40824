"""Making a copy of a session, from outside: a shell for it, streams for it, and the word that it has moved in."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct

from hotcell.errors import PoolExhausted, SandboxCrashed
from hotcell.sandboxes.local.forkserver import ForkServer
from hotcell.sandboxes.local.nested import NestedCell, is_first_in
from hotcell.worker import wire

_READY_SECONDS = 30.0
_CREDENTIALS = struct.Struct("<3i")
"""``struct ucred``: the sender's PID in our namespace, by the kernel's word; uid and gid."""


def copy(server: ForkServer, cell: NestedCell, *, keep_random: bool) -> NestedCell:
    """A copy of ``cell``, which waits for its next request and is not frozen. Raises SandboxError.

    ConfigurationError when it is too deep.
    """
    cell.require_room()
    with contextlib.ExitStack() as ours:
        try:
            shell = cell.take_spare() or server.make_shell(cell.namespaces, cell.limits)
            for handle in shell:
                ours.callback(os.close, handle)
            channel, outputs, theirs = _streams(ours)
            try:
                order = wire.encode(wire.FORK, json.dumps({"keep_random": keep_random}).encode())
                cell.channel.settimeout(_READY_SECONDS)
                socket.send_fds(cell.channel, [order], [shell.mount, shell.pid, *theirs])
            finally:
                for handle in theirs:
                    os.close(handle)
            pid = _wait_until_moved_in(channel, outputs[1], shell.init)
            process = os.pidfd_open(pid)
            ours.pop_all()  # all of it is the copy's from here on
            return NestedCell((channel.detach(), *outputs), process, shell, cell.limits, origin=cell)
        except OSError as error:
            raise PoolExhausted(f"A session could not be copied: {error}. Free descriptors or memory.") from error


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


def _wait_until_moved_in(channel: socket.socket, stderr: int, init_handle: int) -> int:
    """The copy's PID, as the kernel tells it and not as the copy does."""
    channel.settimeout(_READY_SECONDS)
    try:
        data, ancillary, _, _ = channel.recvmsg(wire.HEADER.size, socket.CMSG_LEN(_CREDENTIALS.size))
    except TimeoutError:
        raise SandboxCrashed(f"The copy of a session was not ready after {_READY_SECONDS:g} s.") from None
    if data != wire.encode(wire.READY):
        os.set_blocking(stderr, False)
        with contextlib.suppress(BlockingIOError):
            data = os.read(stderr, 500)
        raise SandboxCrashed(f"The session could not be copied: {data.decode(errors='replace').strip() or 'it ended'}.")
    pids = [
        _CREDENTIALS.unpack(payload)[0]
        for level, kind, payload in ancillary
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS)
    ]
    if len(pids) != 1 or not is_first_in(pids[0], init_handle):
        raise SandboxCrashed("The session could not be copied: what answered is not in the place that was made for it.")
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 0)
    pid: int = pids[0]
    return pid

"""Receiving descriptors over a Unix socket."""

from __future__ import annotations

import array
import socket


def receive(channel: socket.socket, size: int, most: int) -> tuple[bytes, list[int]]:
    """Up to ``size`` bytes and the descriptors, ``most`` at the most, that came along; the kernel drops any others.

    They are not inherited by programs that the application starts, as they would be with ``socket.recv_fds``, which
    does not pass its flags on (CPython 3.11-3.13).
    """
    data, ancillary, _, _ = channel.recvmsg(size, socket.CMSG_LEN(most * 4), socket.MSG_CMSG_CLOEXEC)
    handles = array.array("i")
    for level, kind, payload in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            handles.frombytes(payload[: len(payload) - len(payload) % handles.itemsize])
    return data, list(handles)

"""Receiving descriptors over a Unix socket."""

from __future__ import annotations

import array
import errno
import os
import socket


def receive(channel: socket.socket, size: int, most: int) -> tuple[bytes, list[int]]:
    """Up to ``size`` bytes and the descriptors, ``most`` at the most, that came along; the kernel drops any others.

    Raises OSError (EMFILE) when this process has no room for them. They are not inherited by programs that the
    application starts, as they would be with ``socket.recv_fds``, which does not pass its flags on (CPython 3.11-3.13).
    """
    data, ancillary, flags, _ = channel.recvmsg(size, socket.CMSG_LEN(most * 4), socket.MSG_CMSG_CLOEXEC)
    handles = array.array("i")
    for level, kind, payload in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            handles.frombytes(payload[: len(payload) - len(payload) % handles.itemsize])
    if flags & socket.MSG_CTRUNC and len(handles) < most:
        for handle in handles:
            os.close(handle)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    return data, list(handles)

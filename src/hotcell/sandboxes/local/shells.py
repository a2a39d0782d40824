"""Empty places for copies of a session, made by the fork server; see docs/decisions/0013-branches.md.

A copy cannot be moved to a place of its own from outside: a process enters a PID or mount namespace only by itself. So
the trusted side makes the place, a shell: a PID namespace with an init that only waits, and a mount namespace with an
empty tmpfs and a ``/proc`` of its own, both owned by the session's user namespace. The session's process forks, and its
child moves in (``branch``).
"""

from __future__ import annotations

import array
import fcntl
import os
import signal
import socket
import struct
from typing import NoReturn

from hotcell.sandboxes.local import jail, kernel, seccomp

SHELL = struct.Struct("<4Q")
"""A number that the answer repeats, then ``disk_bytes``, ``disk_files`` and nothing; two descriptors come with it: the
session's user namespace and its PID namespace. The answer has three: the shell's mount and PID namespaces, and a pidfd
of its init."""

_NS_GET_OWNER_UID = 0xB704  # ioctl_ns(2)


def make(
    control: socket.socket,
    head: bytes,
    limits: jail.Limits,
    links: list[tuple[str, str]],
    namespaces: tuple[int, int],
) -> NoReturn:
    """In a child of the fork server that is in the session's PID namespace already: make the shell, answer, and end."""
    user_namespace, _ = namespaces
    try:
        os.setpgid(0, 0)
        ours, theirs = socket.socketpair()
        owner = _owner_of(user_namespace)
        kernel.call("unshare", kernel.CLONE_NEWNS)
        # Files are to be the session's. Real and effective ids stay: they keep its signals off.
        kernel.call("setfsgid", owner)
        kernel.call("setfsuid", owner)
        jail.walk(jail.own_files(limits, links))
        kernel.call("setns", user_namespace, kernel.CLONE_NEWUSER)
        kernel.call("unshare", kernel.CLONE_NEWNS | kernel.CLONE_NEWPID)
        init = kernel.fork()
        if init == 0:
            _become_init_of_shell(theirs)
        if init < 0:
            raise kernel.failure("fork")
        theirs.close()
        told, handles, _, _ = socket.recv_fds(ours, 200, 2)
        if len(handles) < 2:
            raise OSError(told.decode(errors="replace") or "the init of a new place ended")
        socket.send_fds(control, [head + b"M"], [*handles, os.pidfd_open(init)])
    except OSError as error:
        control.send(head + b"R" + str(error).encode()[:500])
    finally:
        os._exit(0)


def _owner_of(user_namespace: int) -> int:
    owner = array.array("I", [0])
    fcntl.ioctl(user_namespace, _NS_GET_OWNER_UID, owner)
    return owner[0]


def _become_init_of_shell(channel: socket.socket) -> NoReturn:
    try:
        jail.walk([jail.own_proc()])
        mount, pid = (os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in ("mnt", "pid"))
        socket.send_fds(channel, [b"M"], [mount, pid])
    except OSError as error:
        channel.send(str(error).encode()[:200])
        os._exit(1)
    become_init()


def become_init() -> NoReturn:
    """Wait for ever, as PID 1 of a namespace in which hostile code lives, with no power and no system call but that.

    Children that are left to it are buried by the kernel.
    """
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        kernel.block_signals()
        os.closerange(0, 1 << 20)
        jail.walk(jail.powerless())
        pause, program = kernel.libc.pause, seccomp.only(("pause", "rt_sigreturn"))
        seccomp.install(program)
        while True:
            pause()
    finally:
        os._exit(1)

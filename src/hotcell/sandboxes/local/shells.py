"""Places for sessions that may be copied, and for their copies, made by the fork server; see decision 13.

A process cannot be moved to a place of its own from outside: it enters a PID or mount namespace only by itself. So the
trusted side makes the place, a shell: a PID namespace with an init of ours, and a mount namespace with an empty tmpfs
and a ``/proc`` of its own, both owned by the session's user namespace. The session's first process is born in one. For
a copy, that process forks, and the child moves into another (``branch``).

Around them all is a PID namespace with one more init, the witness, whose children they are. Each init buries what is
left to it and tells how it ended.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import signal
import socket
import struct
from typing import NamedTuple, NoReturn

from hotcell.sandboxes.local import jail, kernel, mounts, seccomp

SHELL = struct.Struct("<2Q")
"""``disk_bytes`` and ``disk_files``; three descriptors come with it: the session's user namespace, the PID namespace to
make it in, and a socket for the answer, which has the descriptors of a ``Shell``. That is a socket of its own because
the process that answers is in the session's PID namespace: what happens to it there is nobody else's trouble."""
WITNESSED = struct.Struct("<iiQQ")
"""A PID in the init's namespace, its wait status, and its user and system CPU time in microseconds."""

_NS_GET_OWNER_UID = 0xB704  # ioctl_ns(2)
_WITNESS_CALLS = "wait4 write rt_sigtimedwait rt_sigreturn mmap munmap mremap mprotect madvise brk futex exit_group"


class Shell(NamedTuple):
    """Descriptors: what it takes to enter a shell, to look into it and to end it."""

    user: int
    """The user namespace that owns it."""
    mount: int
    pid: int
    work: int
    """Its work directory, opened before anybody was in it."""
    init: int
    """A pidfd."""
    report: int
    """The pipe in which its init tells of ends."""


def make_first(limits: jail.Limits, links: list[tuple[str, str]]) -> Shell:
    """In a child of the fork server that has the session's ids already: a shell whose user namespace is new.

    This process is in its mount namespace then, and its next child in its PID namespace. Raises OSError.
    """
    kernel.call("unshare", kernel.CLONE_NEWNS | kernel.CLONE_NEWIPC)
    work = _own_files(limits, links)
    kernel.call("unshare", kernel.CLONE_NEWUSER)
    return _make(os.open("/proc/self/ns/user", os.O_RDONLY | os.O_CLOEXEC), work)


def answer_with_another(
    answer: socket.socket, limits: jail.Limits, links: list[tuple[str, str]], user_namespace: int
) -> NoReturn:
    """In a child of the fork server: make a shell for a copy, answer, and end."""
    try:
        os.setpgid(0, 0)
        owner = _owner_of(user_namespace)
        kernel.call("unshare", kernel.CLONE_NEWNS)
        # Files are to be the session's. Real and effective ids stay: they keep its signals off.
        kernel.call("setfsgid", owner)
        kernel.call("setfsuid", owner)
        work = _own_files(limits, links)
        kernel.call("setns", user_namespace, kernel.CLONE_NEWUSER)
        socket.send_fds(answer, [b"M"], _make(user_namespace, work))
    except OSError as error:
        answer.send(b"R" + str(error).encode()[:500])
    finally:
        os._exit(0)


def _own_files(limits: jail.Limits, links: list[tuple[str, str]]) -> int:
    jail.walk(jail.own_files(limits, links))
    return os.open(mounts.WORK, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _make(user_namespace: int, work: int) -> Shell:
    ours, theirs = socket.socketpair()
    report, end = os.pipe()
    kernel.call("unshare", kernel.CLONE_NEWNS | kernel.CLONE_NEWPID)
    init = kernel.fork()
    if init == 0:
        _become_init_of_shell(theirs, end)
    if init < 0:
        raise kernel.failure("fork")
    theirs.close()
    os.close(end)
    told, handles, _, _ = socket.recv_fds(ours, 200, 2)
    if len(handles) < 2:
        raise OSError(told.decode(errors="replace") or "the init of a new place ended")
    ours.close()
    mount, pid = handles
    return Shell(user=user_namespace, mount=mount, pid=pid, work=work, init=os.pidfd_open(init), report=report)


def _owner_of(user_namespace: int) -> int:
    owner = array.array("I", [0])
    fcntl.ioctl(user_namespace, _NS_GET_OWNER_UID, owner)
    return owner[0]


def _become_init_of_shell(channel: socket.socket, report: int) -> NoReturn:
    try:
        jail.walk([jail.own_proc()])
        mount, pid = (os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in ("mnt", "pid"))
        socket.send_fds(channel, [b"M"], [mount, pid])
    except OSError as error:
        channel.send(str(error).encode()[:200])
        os._exit(1)
    become_witness(report)


def become_witness(report: int) -> NoReturn:
    """Wait for ever, as PID 1 of a namespace in which hostile code lives, with no power and few system calls.

    It buries its children, and what is left to it. Each end is one ``WITNESSED`` struct in the pipe ``report``; when
    that is full, nobody has read for long, and an end is not told.
    """
    try:
        os.set_blocking(report, False)
        kernel.hear_of_ends_only()
        _give_up_everything(_WITNESS_CALLS, keep=report)
        while True:
            signal.sigwaitinfo((signal.SIGCHLD,))  # blocked, so it waits for us when it comes too early
            _tell_of_the_dead(report)
    finally:
        os._exit(1)


def _tell_of_the_dead(report: int) -> None:
    while True:
        try:
            pid, status, used = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        with contextlib.suppress(OSError):
            os.write(report, WITNESSED.pack(pid, status, int(used.ru_utime * 1e6), int(used.ru_stime * 1e6)))


def _give_up_everything(calls: str, *, keep: int) -> None:
    kernel.block_signals()
    os.closerange(0, keep)
    os.closerange(keep + 1, 1 << 20)
    jail.walk(jail.powerless())
    seccomp.install(seccomp.only(calls.split()))

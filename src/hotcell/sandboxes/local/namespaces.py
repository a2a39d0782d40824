"""The namespaces a fork server lives in, made once; each cell adds its own user, PID, mount and IPC namespaces.

As root the server becomes a range of ids that own nothing on the host; as an ordinary user it is that user, seen as
root inside. Both ways it holds its powers over its own namespaces alone.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable

from hotcell.sandboxes.local.kernel import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    PR_SET_PDEATHSIG,
    call,
)

HOSTNAME = b"hotcell"
ID_COUNT = 65536
FIRST_OUTER_ID = 1_879_048_192
"""Above every range that systemd and the distributions hand out (systemd's UIDS-GIDS document)."""

OPTIONAL = {
    "network-namespace": CLONE_NEWNET,
    "ipc-namespace": CLONE_NEWIPC,
    "uts-namespace": CLONE_NEWUTS,
    "cgroup-namespace": CLONE_NEWCGROUP,
}


def fork_inside(build_root: Callable[[], object], without: frozenset[str]) -> int:
    """Like fork, but the child is PID 1 of new namespaces: returns 0 there and the child's PID here.

    ``build_root`` is called in the child at the moment when mounts may be made; layers named in ``without`` are left
    out. Raises OSError where the host refuses.
    """
    as_root = os.geteuid() == 0
    if as_root:
        call("unshare", CLONE_NEWPID)
    else:
        _become_user_namespace_root()
    outside, inside = socket.socketpair()
    child = os.fork()
    if child:
        inside.close()
        if as_root and outside.recv(1):
            _map_ids(child)
            outside.send(b"m")
        outside.close()
        return child
    outside.close()
    flags = sum(flag for layer, flag in OPTIONAL.items() if layer not in without)
    call("unshare", CLONE_NEWNS | flags)
    if "uts-namespace" not in without:
        call("sethostname", HOSTNAME, len(HOSTNAME))
    build_root()
    if as_root:
        _give_up_root(inside)
    inside.close()
    return 0


def _give_up_root(inside: socket.socket) -> None:
    """From root outside to root of a user namespace that owns nothing outside, in a PID namespace that it does own.

    Only the child of this process returns; this one waits, as PID 1 of the namespace around it, and takes it along.
    """
    call("unshare", CLONE_NEWUSER | CLONE_NEWPID)
    inside.send(b"u")
    if not inside.recv(1):
        raise OSError("the launcher could not write the id maps")
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    die_with_parent()
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        os._exit(abs(os.waitstatus_to_exitcode(status)))
    # The mounts so far belong to the real root; in a copy that is ours, cells may put their own on top.
    call("unshare", CLONE_NEWNS)
    call("mount", b"proc", b"/proc", b"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, None)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends; to be called after the last change of ids."""
    call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _become_user_namespace_root() -> None:
    uid, gid = os.geteuid(), os.getegid()
    call("unshare", CLONE_NEWUSER | CLONE_NEWPID)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def _map_ids(child: int) -> None:
    # A range of its own for each supervisor, so that two of them share no identity.
    first = FIRST_OUTER_ID + os.getpid() % 4096 * ID_COUNT
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{child}/{name}", "w", encoding="ascii") as file:
            file.write(f"0 {first} {ID_COUNT}")

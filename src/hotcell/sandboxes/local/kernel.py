"""System calls by number, through the C library that Python itself is linked to.

Everything the jail does is a system call, so a jail can be written down as a list of them. The calls go through
``PyDLL``: the GIL is not released around them, which is cheaper, and safe in a process that has one thread.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
from collections.abc import Callable

from hotcell.sandboxes.local.numbers import NUMBERS

MACHINE = os.uname().machine
NR: dict[str, int] = NUMBERS.get(MACHINE, {})

libc = ctypes.PyDLL(None, use_errno=True)
syscall = libc.syscall
syscall.restype = ctypes.c_long
# Variadic C arguments default to int; addresses, flags and lengths are 64 bits wide.
syscall.argtypes = [ctypes.c_long] * 7
ARGUMENT_COUNT = 6
fork: Callable[[], int] = libc.fork
"""``fork`` without Python's at-fork hooks (0.8 ms with numpy loaded); only for a process with one thread."""

Argument = int | bytes | None


def address(item: Argument) -> int:
    """The number that a system call takes for an argument; the caller keeps bytes alive."""
    if isinstance(item, bytes):
        return ctypes.cast(ctypes.c_char_p(item), ctypes.c_void_p).value or 0
    return item or 0


def call(name: str, *arguments: Argument) -> int:
    """Make the system call ``name``; returns its result. Raises OSError with the call's name."""
    rest = [0] * (ARGUMENT_COUNT - len(arguments))
    result: int = syscall(NR[name], *map(address, arguments), *rest)
    if result < 0:
        raise failure(name)
    return result


def fork_sibling() -> int:
    """Like ``fork``, but the new process is a child of this one's parent. Raises OSError."""
    # The C library keeps the thread's number in memory and has the kernel write it there, at a place the kernel knows.
    place = ctypes.c_ulong()
    call("prctl", PR_GET_TID_ADDRESS, ctypes.addressof(place), 0, 0, 0)
    flags = CLONE_PARENT | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | signal.SIGCHLD
    if MACHINE == "aarch64":
        return call("clone", flags, 0, 0, 0, place.value)
    return call("clone", flags, 0, 0, place.value, 0)


_SIG_SETMASK, _EVERY_SIGNAL = 2, b"\xff" * 8
_SA_NOCLDSTOP = 1


def block_signals() -> None:
    """All of them. Raw, as the C library keeps two signals out of every mask it sets."""
    call("rt_sigprocmask", _SIG_SETMASK, _EVERY_SIGNAL, None, len(_EVERY_SIGNAL))


def unblock_signals() -> None:
    """All of them."""
    call("rt_sigprocmask", _SIG_SETMASK, bytes(len(_EVERY_SIGNAL)), None, len(_EVERY_SIGNAL))


def hear_of_ends_only() -> None:
    """SIGCHLD is for children that end, not for those that are stopped and go on, as those of a session often are."""
    call("rt_sigaction", signal.SIGCHLD, struct.pack("<4Q", signal.SIG_DFL, _SA_NOCLDSTOP, 0, 0), None, 8)


def failure(what: str) -> OSError:
    """The OSError for the call that just failed."""
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)} ({errno.errorcode.get(number, number)})")


# prctl operations, from <linux/prctl.h>.
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_CAPBSET_DROP = 24
PR_SET_SECUREBITS = 28
PR_SET_NO_NEW_PRIVS = 38
PR_GET_TID_ADDRESS = 40
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
PR_SET_MDWE = 65
PR_GET_MDWE = 66
PR_MDWE_REFUSE_EXEC_GAIN = 1

# <linux/securebits.h>: no power through uid 0, none kept over setuid, no ambient ones, and all of it locked.
SECBIT_NO_SETUID_FIXUP = 1 << 2
SECBITS_LOCKED = 0b1110_1111

# clone and unshare flags, from <linux/sched.h>.
CLONE_VM = 0x100
CLONE_FILES = 0x400
CLONE_PARENT = 0x8000
CLONE_CHILD_CLEARTID = 0x200000
CLONE_CHILD_SETTID = 0x1000000
CLONE_NEWNS = 0x20000
CLONE_NEWCGROUP = 0x2000000
CLONE_NEWUTS = 0x4000000
CLONE_NEWIPC = 0x8000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

# mount flags, from <linux/mount.h>.
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2

CAP_SYS_CHROOT, CAP_SYS_ADMIN = 18, 21  # <linux/capability.h>
LAST_CAPABILITY = 40  # CAP_CHECKPOINT_RESTORE, Linux 5.9; dropping one the kernel has not fails harmlessly
CAPABILITY_VERSION_3 = 0x20080522


def has_mdwe() -> bool:
    """True when the kernel can refuse new executable memory (Linux 6.3)."""
    try:
        return call("prctl", PR_GET_MDWE, 0, 0, 0, 0) >= 0
    except OSError:
        return False

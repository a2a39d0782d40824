"""The seccomp filter: which system calls a cell may make, as data, and its translation to classic BPF.

An allow-list. What the kernel knows and honest programs try is refused with EPERM, so that they can go on; what this
table does not name answers ENOSYS, as on an older kernel, so that the C library falls back; what only an exploit asks
for ends the cell, and is reported by name. The program is a binary search over the call's number (a linear list of 250
costs 0.4 ms to install).

Sources: seccomp(2); the allow-lists were found by tracing numpy, pandas, matplotlib, scikit-learn, asyncio, threads,
multiprocessing and sqlite3.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import struct

from hotcell.sandboxes.local import mappings
from hotcell.sandboxes.local.kernel import MACHINE, NR, call
from hotcell.sandboxes.local.numbers import NUMBERS

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

KILL = 0x80000000
REPORT = 0x7FC00000
"""SECCOMP_RET_USER_NOTIF: the call waits, and we are told its number; then we kill the cell."""
ALLOW = 0x7FFF0000


def _errno(number: int) -> int:
    return 0x00050000 | number


_FILES = """
    read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 open openat openat2 creat close close_range
    lseek stat fstat lstat newfstatat statx access faccessat faccessat2 readlink readlinkat getdents getdents64 getcwd
    chdir fchdir mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat truncate
    ftruncate fallocate fsync fdatasync sync_file_range fadvise64 readahead sendfile copy_file_range splice tee vmsplice
    dup dup2 dup3 fcntl umask pipe pipe2 statfs fstatfs
"""
_STAMPS = "utime utimes utimensat futimesat"
_OWNERSHIP = "chmod fchmod fchmodat chown fchown lchown fchownat"
_MEMORY = "mmap munmap mremap mprotect madvise brk msync mincore mlock munlock mlock2 membarrier"
_TIME = """
    clock_gettime clock_getres clock_nanosleep gettimeofday time nanosleep times getitimer setitimer alarm
    timer_settime timer_gettime timer_getoverrun timer_delete
    timerfd_create timerfd_settime timerfd_gettime
"""
_EVENTS = """
    poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2
    eventfd eventfd2 signalfd signalfd4 futex futex_waitv pause
"""
_SIGNALS = """
    rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend sigaltstack restart_syscall
    kill tkill tgkill
"""
_SELF = """
    getpid gettid getppid getpgid getpgrp setpgid getsid setsid getuid geteuid getgid getegid getresuid getresgid
    getgroups uname sysinfo getrusage getrlimit setrlimit prlimit64 getpriority setpriority sched_yield
    sched_getaffinity sched_setaffinity sched_getparam sched_getscheduler sched_get_priority_max
    sched_get_priority_min sched_rr_get_interval getcpu getrandom arch_prctl set_tid_address set_robust_list
    get_robust_list rseq prctl capget exit exit_group
"""
# A socket pair has no address, so nothing outside can be reached by it; asyncio wakes itself through one.
_PAIRS = "sendto recvfrom sendmsg recvmsg shutdown getsockname getpeername getsockopt"
_PROCESSES = "fork vfork execve execveat wait4 waitid pidfd_open"

_ABOUT_ANYBODY = "prlimit64 pidfd_open sched_getaffinity sched_getscheduler sched_getparam getsid getpgid"

# Honest programs and libraries try these and can do without.
_REFUSED = """
    setsockopt sendmmsg recvmmsg
    socket connect bind listen accept accept4 memfd_create mbind set_mempolicy get_mempolicy migrate_pages move_pages
    set_mempolicy_home_node setuid setgid setreuid setregid setresuid setresgid setgroups setfsuid setfsgid capset
    ioprio_set ioprio_get sched_setscheduler sched_setparam sched_setattr sched_getattr mknod mknodat mount umount2
    chroot pivot_root unshare setns sethostname setdomainname syslog shmget shmat shmctl shmdt semget semop semctl
    semtimedop msgget msgsnd msgrcv msgctl mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr
    mlockall munlockall swapon swapoff quotactl quotactl_fd acct personality ustat sysfs settimeofday adjtimex
    clock_settime clock_adjtime iopl ioperm vhangup fanotify_init fanotify_mark name_to_handle_at lookup_dcookie
    pidfd_send_signal pidfd_getfd process_madvise process_mrelease rt_sigqueueinfo rt_tgsigqueueinfo
    io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents kcmp sync syncfs remap_file_pages uselib
    inotify_init inotify_init1 inotify_add_watch inotify_rm_watch memfd_secret
    landlock_create_ruleset landlock_add_rule landlock_restrict_self pkey_alloc pkey_free pkey_mprotect
    nfsservctl
"""
_UNSUPPORTED = """
    setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr
    removexattr lremovexattr fremovexattr
"""
# No honest program in a cell has a use for these.
_LETHAL = """
    ptrace process_vm_readv process_vm_writev bpf userfaultfd io_uring_setup io_uring_enter io_uring_register
    perf_event_open keyctl add_key request_key kexec_load kexec_file_load init_module finit_module delete_module
    create_module query_module get_kernel_syms open_by_handle_at reboot modify_ldt seccomp
"""

NAMESPACE_FLAGS = 0x7E020000
"""Every CLONE_NEW* bit that clone(2) takes."""
CLONE_PARENT = 0x8000
CLONE_THREAD = 0x10000
IOCTL_ALLOWED = (0x5401, 0x540F, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""TCGETS, TIOCGPGRP, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX: what Python asks of descriptors. Others tell of
the host's file systems, push into terminals (TIOCSTI) or send signals to a descriptor's owner."""
FCNTL_ALLOWED = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1031, 1032)
"""Duplicating, flags, locks, pipe sizes. Not owners and their signals, leases, or notices of others' doings."""
MSG_OOB = 1
AF_UNIX = 1
MAP_SHARED, MAP_ANONYMOUS, MAP_HUGETLB = 0x01, 0x20, 0x40000
O_ACCMODE, O_TRUNC = 0x3, 0x200
PRCTL_ALLOWED = (2, 3, 7, 15, 16, 21, 23, 27, 29, 30, 38, 39, 40, 41, 42, 0x53564D41)
"""What reads, and names, timer slack, huge pages and PR_SET_VMA; all that loosens or hides a process is refused."""

# struct seccomp_data: int nr; u32 arch; u64 instruction_pointer; u64 args[6]; little-endian on both machines.
_NR, _ARCH = 0, 4


def _low(argument: int) -> int:
    return 16 + 8 * argument


_LOAD, _RETURN, _AND = 0x20, 0x06, 0x54
_JEQ, _JGE, _JSET, _JA = 0x15, 0x35, 0x45, 0x05

Instruction = tuple[int, int, int, int]


def _is_any(argument: int, values: tuple[int, ...], then: int, otherwise: int) -> list[Instruction]:
    """Compare the low 32 bits of an argument, which is all the kernel looks at for these calls."""
    code: list[Instruction] = [(_LOAD, 0, 0, _low(argument))]
    for index, value in enumerate(values):
        code.append((_JEQ, len(values) - index, 0, value))
    return [*code, (_RETURN, 0, 0, otherwise), (_RETURN, 0, 0, then)]


def _has_bits(argument: int, bits: int, then: int, otherwise: int) -> list[Instruction]:
    return [(_LOAD, 0, 0, _low(argument)), (_JSET, 0, 1, bits), (_RETURN, 0, 0, then), (_RETURN, 0, 0, otherwise)]


def _masked_is_any(argument: int, mask: int, values: tuple[int, ...], then: int, otherwise: int) -> list[Instruction]:
    load, *compare = _is_any(argument, values, then, otherwise)
    return [load, (_AND, 0, 0, mask), *compare]


def rules(
    *, processes: bool, own_pid: int | None, counted: bool, branchable: bool = False
) -> dict[str, int | list[Instruction]]:
    """What happens at each call, by name: an action, or instructions that look at the arguments.

    ``branchable`` lets it enter the namespaces of a shell, whose descriptors it gets for that. ``processes`` false
    refuses new processes (threads stay); ``own_pid`` confines signals to that process, for where
    no PID namespace does it; ``counted`` says that a memory group counts the cell's pages.
    """
    refuse = _errno(errno.EPERM)
    table: dict[str, int | list[Instruction]] = {}
    for names in (_FILES, _MEMORY, _TIME, _EVENTS, _SIGNALS, _SELF, _PAIRS, _PROCESSES, _OWNERSHIP, _STAMPS):
        table |= dict.fromkeys(names.split(), ALLOW)
    table |= dict.fromkeys(_REFUSED.split(), refuse)
    table |= dict.fromkeys(_UNSUPPORTED.split(), _errno(errno.ENOTSUP))
    table |= dict.fromkeys(_LETHAL.split(), REPORT)
    # A lock on a shared read-only file would be seen by other cells, and hold up the host's programs.
    table["flock"] = _errno(errno.ENOLCK)
    table["clone"] = _has_bits(0, NAMESPACE_FLAGS | CLONE_PARENT, refuse, ALLOW)
    table["ioctl"] = _is_any(1, IOCTL_ALLOWED, ALLOW, _errno(errno.ENOTTY))
    table["fcntl"] = _is_any(1, FCNTL_ALLOWED, ALLOW, refuse)
    # Which signal a timer sends is in memory, where no filter sees it; SIGCONT would wake a session between two calls.
    table["timer_create"] = _errno(errno.EAGAIN)
    # Out-of-band data on socket pairs has let programs out of other sandboxes (CVE-2025-38236).
    table |= {"sendto": _has_bits(3, MSG_OOB, refuse, ALLOW), "recvfrom": _has_bits(3, MSG_OOB, refuse, ALLOW)}
    table |= {"sendmsg": _has_bits(2, MSG_OOB, refuse, ALLOW), "recvmsg": _has_bits(2, MSG_OOB, refuse, ALLOW)}
    table["socketpair"] = _is_any(0, (AF_UNIX,), ALLOW, refuse)
    table["prctl"] = _is_any(0, PRCTL_ALLOWED, ALLOW, refuse)
    # Huge pages that the host keeps for others are in no account of the cell's.
    table["mmap"] = _has_bits(3, MAP_HUGETLB, _errno(errno.ENOMEM), ALLOW)
    if branchable:
        table["ioctl"] = _is_any(1, (*IOCTL_ALLOWED, mappings.QUERY), ALLOW, _errno(errno.ENOTTY))
        # A copy is born as its original's sibling, below an init that counts and buries all of them.
        table["clone"] = _has_bits(0, NAMESPACE_FLAGS, refuse, ALLOW)
        # Dropping capabilities, or taking back those that stayed permitted, is all that capset can do here.
        table |= {"setns": ALLOW, "capset": ALLOW}
        # A session may not end all its copies in one call: they live in PID namespaces below its own.
        table["kill"] = _is_any(0, (0xFFFFFFFF,), refuse, ALLOW)
        # The copies inherit this filter, and one listener could not tell them apart.
        table |= dict.fromkeys(_LETHAL.split(), KILL)
    if not counted:
        # Shared pages stay when they are unmapped, where no watchdog sees them.
        nameless = MAP_SHARED | MAP_ANONYMOUS
        table["mmap"] = _masked_is_any(3, nameless | MAP_HUGETLB, (0, MAP_SHARED, MAP_ANONYMOUS), ALLOW, refuse)
    if not processes:
        threads_only = _has_bits(0, CLONE_THREAD, ALLOW, refuse)
        table |= dict.fromkeys(("fork", "vfork", "execve", "execveat"), refuse)
        table["clone"] = [*_has_bits(0, NAMESPACE_FLAGS | CLONE_PARENT, refuse, ALLOW)[:-1], *threads_only]
    if own_pid is not None:
        # Without a PID namespace the host's processes have numbers here; without mounts its files have names.
        confined = _is_any(0, (own_pid,), ALLOW, refuse)
        table |= dict.fromkeys(("sched_setaffinity", "setpgid", "setpriority"), refuse)
        table["getpriority"] = _is_any(1, (0, own_pid), ALLOW, refuse)
        table |= {"kill": confined, "tgkill": confined}
        table |= dict.fromkeys(_ABOUT_ANYBODY.split(), _is_any(0, (0, own_pid), ALLOW, refuse))
        # Before its version 3 Landlock lets a file be emptied that may not be written, or is opened in access mode 3.
        empties = (O_ACCMODE | O_TRUNC, (O_TRUNC, O_TRUNC | O_ACCMODE), refuse, ALLOW)
        table |= {"open": _masked_is_any(1, *empties), "openat": _masked_is_any(2, *empties), "truncate": refuse}
        table["openat2"] = _errno(errno.ENOSYS)  # its flags are in memory, where no filter sees them
        table["tkill"] = refuse
        # Landlock does not cover these, and the host's files may be the same user's: success without effect, so that
        # shutil.copy2 and the like go on.
        table |= dict.fromkeys((*_OWNERSHIP.split(), *_STAMPS.split()), _errno(0))
    return table


def only(names: list[str]) -> Filter:
    """A filter that allows these calls and ends the process at any other."""
    table: dict[str, int | list[Instruction]] = {**dict.fromkeys(NR, KILL), **dict.fromkeys(names, ALLOW)}
    return Filter(assemble(table))


def install(program: Filter, *, with_listener: bool = False) -> int:
    """From here on only allowed calls. Returns the descriptor that tells of others, if it is wanted; raises OSError."""
    flags = SECCOMP_FILTER_FLAG_SPEC_ALLOW | (SECCOMP_FILTER_FLAG_NEW_LISTENER if with_listener else 0)
    try:
        return call("seccomp", SECCOMP_SET_MODE_FILTER, flags, ctypes.addressof(program))
    except OSError as error:
        raise OSError(error.errno, f"layer seccomp: {error.strerror}") from None


def assemble(table: dict[str, int | list[Instruction]], machine: str = MACHINE) -> bytes:
    """The filter program as ``struct sock_filter[]``. Foreign architectures (also x32 and int 0x80) are killed."""
    numbers = NUMBERS[machine]
    known = sorted((numbers[name], action) for name, action in table.items() if name in numbers)
    unknown = _errno(errno.ENOSYS)

    def leaf(action: int | list[Instruction]) -> list[Instruction]:
        return [(_RETURN, 0, 0, action)] if isinstance(action, int) else action

    # Runs of neighbouring numbers with one action become one range, so the tree has a leaf for each range.
    ranges: list[tuple[int, int | list[Instruction]]] = [(0, unknown)]
    for position, (number, action) in enumerate(known):
        if ranges[-1][1] != action or not isinstance(action, int):
            ranges.append((number, action))
        following = known[position + 1][0] if position + 1 < len(known) else None
        if following != number + 1:
            ranges.append((number + 1, unknown))

    def tree(low: int, high: int) -> list[Instruction]:
        if high - low == 1:
            return leaf(ranges[low][1])
        middle = (low + high) // 2
        left, right = tree(low, middle), tree(middle, high)
        if len(left) < 256:
            return [(_JGE, len(left), 0, ranges[middle][0]), *left, *right]
        return [(_JGE, 0, 1, ranges[middle][0]), (_JA, 0, 0, len(left)), *left, *right]

    # x32 calls carry bit 30 in their number and would pass as x86-64 otherwise.
    program: list[Instruction] = [
        (_LOAD, 0, 0, _ARCH),
        (_JEQ, 1, 0, AUDIT_ARCH[machine]),
        (_RETURN, 0, 0, KILL),
        (_LOAD, 0, 0, _NR),
        (_JGE, 0, 1, 0x40000000),
        (_RETURN, 0, 0, KILL),
        *tree(0, len(ranges)),
    ]
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in program)


class Filter(ctypes.Structure):
    """``struct sock_fprog``; keeps its program alive."""

    _fields_ = [("length", ctypes.c_ushort), ("program", ctypes.c_char_p)]

    def __init__(self, program: bytes) -> None:
        super().__init__(len(program) // 8, program)
        self.kept = program


SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_NEW_LISTENER = 8
SECCOMP_FILTER_FLAG_SPEC_ALLOW = 4
"""Without it old kernels switch off speculative store bypass, which slows every program in the cell."""


_NOTIFICATION = struct.Struct("<QIIiIQ6Q")
"""``struct seccomp_notif``: id, pid, flags, then ``struct seccomp_data``."""
_NOTIF_RECV = 0xC0502100


def read_report(listener: int) -> str:
    """The name of the call that a process of the cell waits in; empty when it is gone already."""
    buffer = bytearray(_NOTIFICATION.size)
    try:
        fcntl.ioctl(listener, _NOTIF_RECV, buffer)
    except OSError:
        return ""
    number = _NOTIFICATION.unpack(buffer)[3]
    return next((name for name, known in NR.items() if known == number), f"number {number}")


def available() -> bool:
    """True when this machine's table is known and the kernel filters."""
    if MACHINE not in AUDIT_ARCH or "seccomp" not in NR:
        return False
    try:
        call("seccomp", SECCOMP_SET_MODE_FILTER, 0, None)
    except OSError as error:
        return error.errno == errno.EFAULT  # it would have read the program: filters are supported
    return False

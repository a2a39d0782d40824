"""The jail of one cell, as a list of system calls in the order they are made.

The list is built in the fork server, once for each set of limits, and walked by the fresh child before it has seen a
byte of anybody's code. Each step belongs to a layer; tests leave layers out to prove that each one matters.
"""

from __future__ import annotations

import resource
import struct
from typing import NamedTuple

from hotcell.sandboxes.local import kernel, landlock, mounts
from hotcell.sandboxes.local.kernel import NR

_NO_LIMIT = (1 << 64) - 1
RLIMIT_MEMLOCK, RLIMIT_SIGPENDING, RLIMIT_MSGQUEUE = 8, 11, 12
SLACK_BYTES = 2 << 30
"""Address space for thread stacks, arenas and shared mappings that are reserved but never touched."""
PROGRAM_SLACK_BYTES = 512 << 20
"""The same within private data, for interpreters of other languages: what they hold is counted from outside."""


_MOUNT_FLAGS = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
_MOST_IN_FAMILY = 1024
TO_BRANCH = 1 << kernel.CAP_SYS_ADMIN | 1 << kernel.CAP_SYS_CHROOT
"""What entering a shell takes, over a user namespace that owns nothing but shells."""


class Limits(NamedTuple):
    """What one cell may use; the part of SandboxConfig that the kernel enforces."""

    memory_bytes: int
    processes: int
    open_files: int
    file_bytes: int
    disk_bytes: int
    disk_files: int
    cpu_seconds: int
    branchable: int
    """1 for a session that is to be forked; see ``branch``."""


class Step(NamedTuple):
    """One system call of the jail."""

    layer: str
    what: str
    arguments: tuple[int, ...]
    """Number first, ready for ``kernel.syscall``."""
    kept: tuple[bytes, ...]
    """What the addresses among them point to."""
    optional: bool = False
    """An old kernel may lack it; nothing else depends on it."""


def _step(layer: str, name: str, *arguments: kernel.Argument, optional: bool = False) -> Step:
    rest = [0] * (kernel.ARGUMENT_COUNT - len(arguments))
    kept = tuple(item for item in arguments if isinstance(item, bytes))
    return Step(layer, name, (NR[name], *map(kernel.address, arguments), *rest), kept, optional)


def _prctl(layer: str, *arguments: int, optional: bool = False) -> Step:
    return _step(layer, "prctl", *arguments, *[0] * (5 - len(arguments)), optional=optional)


def plan(
    limits: Limits,
    *,
    namespaced: bool,
    links: list[tuple[str, str]],
    ruleset: int | None,
    baseline: tuple[int, int],
    without: frozenset[str],
    in_shell: bool = False,
    program: bool = False,
    counted: bool = False,
) -> list[Step]:
    """Every step from the fork to the last wall but the filter, which comes after (``seccomp.install``).

    ``in_shell`` is for a process that is born in its place, by a parent that ends (``shells``). ``links`` are what
    ``mounts.build_root`` returned; ``baseline`` is what the preloaded heap takes already: address space and private
    data, in bytes. ``program``: the cell starts an interpreter of another language; ``counted``: a memory group counts
    what it holds.
    """
    if program:
        baseline = (_NO_LIMIT, _NO_LIMIT) if counted else (baseline[0], baseline[1] + PROGRAM_SLACK_BYTES)
    # A group of its own, so that kill(0) stays inside. The fork server is a session leader without a terminal already,
    # and a new session would cost the cell its place in the scheduler's queue (sched_autogroup).
    steps = [_step("process-group", "setpgid", 0, 0)]
    if namespaced and not in_shell:
        steps += [
            _step("mount-namespace", "unshare", kernel.CLONE_NEWNS),
            _step("ipc-namespace", "unshare", kernel.CLONE_NEWIPC),
            *own_files(limits, links),
            own_proc(),
        ]
        steps.append(_step("user-namespace", "unshare", kernel.CLONE_NEWUSER))
    if not in_shell:  # there its end comes with its init's, and that with the fork server's
        steps.append(_prctl("parent-death-signal", kernel.PR_SET_PDEATHSIG, 9))
    steps += _rlimits(limits, namespaced=namespaced, baseline=baseline)
    steps += _privileges(namespaced=namespaced, kept=TO_BRANCH if limits.branchable else 0)
    if ruleset is not None:
        steps.append(_step("landlock", "landlock_restrict_self", ruleset, 0))
    return [step for step in steps if step.layer not in without]


def own_files(limits: Limits, links: list[tuple[str, str]]) -> list[Step]:
    """An empty tmpfs under a quota, with the directories and links that a cell expects."""
    quota = f"size={limits.disk_bytes},nr_inodes={limits.disk_files},mode=700".encode()
    shown = [part for link, _ in links for part in _missing_parents(link)]
    return [
        _step("private-files", "mount", b"tmpfs", mounts.CELL.encode(), b"tmpfs", _MOUNT_FLAGS, quota),
        *[
            _step("private-files", "mkdirat", -100, f"{mounts.CELL}/{name}".encode(), 0o700)
            for name in mounts.DIRECTORIES
        ],
        *[_step("private-files", "mkdirat", -100, part.encode(), 0o700) for part in dict.fromkeys(shown)],
        *[_step("private-files", "symlinkat", target.encode(), -100, link.encode()) for link, target in links],
        _step("private-files", "chdir", mounts.WORK.encode()),
    ]


def own_proc() -> Step:
    """The processes of the PID namespace that this is called in, and no others."""
    return _step("private-proc", "mount", b"proc", b"/proc", b"proc", _MOUNT_FLAGS, b"subset=pid,hidepid=invisible")


def _missing_parents(link: str) -> list[str]:
    """The directories to make between the cell's /tmp and the link, outermost first."""
    base, *parts = link.removeprefix(f"{mounts.CELL}/").split("/")[:-1]
    return [f"{mounts.CELL}/{'/'.join([base, *parts[:count]])}" for count in range(1, len(parts) + 1)]


def _rlimits(limits: Limits, *, namespaced: bool, baseline: tuple[int, int]) -> list[Step]:
    values = {
        # One, not none: the kernel starts a core_pattern's program in spite of 0 (core(5)), and takes 1 for an answer.
        resource.RLIMIT_CORE: (1, 1),
        resource.RLIMIT_CPU: (limits.cpu_seconds, limits.cpu_seconds + 1),
        resource.RLIMIT_DATA: (baseline[1] + limits.memory_bytes,) * 2,
        resource.RLIMIT_AS: (baseline[0] + limits.memory_bytes + SLACK_BYTES,) * 2,
        resource.RLIMIT_FSIZE: (limits.file_bytes,) * 2,
        resource.RLIMIT_NOFILE: (limits.open_files,) * 2,
        RLIMIT_MEMLOCK: (65536, 65536),
        RLIMIT_SIGPENDING: (128, 128),  # timers too; counted with all of the user's
        RLIMIT_MSGQUEUE: (0, 0),
    }
    if namespaced:
        # Counted by user namespace since Linux 5.14, so by cell. Without one it would count the host user's processes.
        # A session and its copies share one, so there the kernel's number is a backstop and ours is kept by looking.
        values[resource.RLIMIT_NPROC] = (limits.processes + (_MOST_IN_FAMILY if limits.branchable else 0),) * 2
    return [
        _step("resource-limits", "prlimit64", 0, number, struct.pack("<2Q", *(min(v, _NO_LIMIT) for v in pair)), None)
        for number, pair in values.items()
    ]


def powerless() -> list[Step]:
    """For an init: no capability, and no way to any."""
    return _privileges(namespaced=False, kept=0)


def _privileges(*, namespaced: bool, kept: int) -> list[Step]:
    """``kept`` is a mask of capabilities that stay permitted, though not in effect."""
    steps = []
    if namespaced:  # elsewhere there are none to drop, or the uid change took them
        steps.append(_prctl("capabilities", kernel.PR_SET_SECUREBITS, kernel.SECBITS_LOCKED))
        steps += [
            _prctl("capabilities", kernel.PR_CAPBSET_DROP, number) for number in range(kernel.LAST_CAPABILITY + 1)
        ]
    header, sets = struct.pack("<Ii", kernel.CAPABILITY_VERSION_3, 0), struct.pack("<6I", 0, kept, 0, 0, 0, 0)
    return [
        *steps,
        _prctl("capabilities", kernel.PR_CAP_AMBIENT, kernel.PR_CAP_AMBIENT_CLEAR_ALL),
        _step("capabilities", "capset", header, sets),
        _prctl("no-new-privileges", kernel.PR_SET_NO_NEW_PRIVS, 1),
        _prctl("not-dumpable", kernel.PR_SET_DUMPABLE, 0),
        _prctl("no-executable-memory", kernel.PR_SET_MDWE, kernel.PR_MDWE_REFUSE_EXEC_GAIN, optional=True),
    ]


def use_capabilities(mask: int) -> None:
    """Have these of the kept capabilities in effect, and no others."""
    header = struct.pack("<Ii", kernel.CAPABILITY_VERSION_3, 0)
    kernel.call("capset", header, struct.pack("<6I", mask, TO_BRANCH, 0, 0, 0, 0))


def walk(steps: list[Step]) -> None:
    """Make the calls. Raises OSError naming the layer of the first that fails."""
    syscall = kernel.syscall
    for layer, what, arguments, _, optional in steps:
        if syscall(*arguments) < 0 and not optional:
            raise kernel.failure(f"layer {layer}: {what}")


def landlock_ruleset(*, namespaced: bool, own_directories: list[str], environment: str | None = None) -> int | None:
    """The rules of every cell of a fork server, made once. None where the kernel has no Landlock."""
    abi = landlock.version()
    if not abi:
        return None
    if namespaced:
        return landlock.ruleset(["/"], [mounts.HOLDER, "/dev"], abi)
    system = [
        *mounts.python_paths(),
        *([environment] if environment else []),
        "/lib",
        "/lib64",
        "/usr/lib",
        "/usr/lib64",
        "/usr/share/zoneinfo",
        "/etc/localtime",
    ]
    harmless = [f"/dev/{name}" for name in mounts.DEVICES]
    return landlock.ruleset(system, [*harmless, *own_directories], abi)

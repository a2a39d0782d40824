"""The layers of the local wall, as data: what each is called, what it stops, and how a host comes to have it."""

from __future__ import annotations

from typing import NamedTuple

from hotcell.results import IsolationLevel

_USERNS = (
    "Allow user namespaces: sysctl kernel.unprivileged_userns_clone=1 (Debian), "
    "kernel.apparmor_restrict_unprivileged_userns=0 or an AppArmor profile (Ubuntu 24.04), "
    "--security-opt seccomp=unconfined or a profile with unshare and mount (Docker)."
)


class Layer(NamedTuple):
    """One layer of the wall."""

    id: str
    title: str
    stops: str
    remedy: str
    needs_namespaces: bool


# id | title | what it stops | remedy, if not the usual one; a star marks those that need no namespaces
_TABLE = """
user-namespace       | User namespace           | Using any privilege over the host, or over the cell's own mounts.
*separate-uid        | An id of its own         | Reaching another cell or the application as the same user.
pid-namespace        | PID namespace            | Seeing, signalling or outliving anything: daemons die with the cell.
mount-namespace      | Mount namespace          | Changing what anybody else has mounted.
root-filesystem      | A root of its own        | Reading the host's files: there is only Python, read-only.
private-files        | Private work directory   | Leaving files for the next cell; filling the disk.
private-proc         | Private /proc            | Reading other processes' memory, environment and command lines.
network-namespace    | Network namespace        | Any network, the host's loopback included.
ipc-namespace        | IPC namespace            | Shared memory and message queues between cells.
uts-namespace        | UTS namespace            | Learning the host's name.
cgroup-namespace     | Cgroup namespace         | Learning the host's cgroup paths.
*process-group       | Process group of its own | Signalling the application's or another cell's processes by group.
*parent-death-signal | Parent-death signal      | Outliving the fork server.
*environment         | Environment from nothing | Reading the application's environment variables.
*descriptors         | Closed descriptors       | Using files and sockets that the application or other cells hold.
*resource-limits     | Resource limits          | Taking too much memory, CPU, processes, files; core dumps.
*memory-group        | Memory control group     | Taking too much memory with many processes or in tmpfs.
*capabilities        | No capabilities          | Every privileged system call.
*no-new-privileges   | No new privileges        | Gaining power through set-uid programs.
*not-dumpable        | Not dumpable             | Reading the memory of the cell from beside it.
*no-executable-memory| No new executable memory | Running machine code that the cell made up.
*landlock            | Landlock                 | Files, network, signals, abstract sockets beyond the cell, once more.
*seccomp             | Seccomp filter           | Every system call that no honest program in a cell needs.
*reseed              | Fresh random state       | Predicting another cell's random numbers.
"""
_REMEDIES = {
    "separate-uid": (
        "Run the application as root with a Python that other users can read, or accept that cells share its user id "
        "(the namespaces still part them)."
    ),
    "memory-group": (
        "Run as root with cgroup v1, or delegate a cgroup v2 subtree with the memory controller (systemd: "
        "Delegate=memory). Without it a watchdog samples the cell's processes 50 times a second."
    ),
    "no-executable-memory": "Linux 6.3 or later.",
    "landlock": "Linux 5.13 or later with landlock in the kernel's lsm= list.",
    "seccomp": "A kernel with CONFIG_SECCOMP_FILTER, on x86-64 or aarch64.",
}


def _layer(line: str) -> Layer:
    name, title, stops = (part.strip() for part in line.split("|"))
    needs_namespaces = not name.startswith("*")
    name = name.removeprefix("*")
    remedy = _REMEDIES.get(name, _USERNS if needs_namespaces else "")
    return Layer(name, title, stops, remedy, needs_namespaces)


LAYERS = tuple(_layer(line) for line in _TABLE.strip().splitlines())
IDS = frozenset(layer.id for layer in LAYERS)


def active(
    level: IsolationLevel,
    *,
    groups: bool,
    separate_ids: bool,
    has_landlock: bool,
    has_mdwe: bool,
    without: frozenset[str],
) -> tuple[str, ...]:
    """The ids of the layers that stand around a cell, outermost first."""
    missing = set(without)
    if level is not IsolationLevel.NAMESPACE:
        missing |= {layer.id for layer in LAYERS if layer.needs_namespaces} - {"private-files"}
    missing |= {
        name
        for name, there in (
            ("memory-group", groups),
            ("separate-uid", separate_ids),
            ("landlock", has_landlock),
            ("no-executable-memory", has_mdwe),
        )
        if not there
    }
    return tuple(layer.id for layer in LAYERS if layer.id not in missing)

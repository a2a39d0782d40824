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
    needs_namespaces: bool = True


LAYERS = (
    Layer("user-namespace", "User namespace", "Using any privilege over the host, or over the cell's own mounts.", _USERNS),
    Layer("separate-uid", "An id of its own", "Reaching another cell or the application as the same user.",
          "Run the application as root, or accept that cells share its user id (the namespaces still part them).", False),
    Layer("pid-namespace", "PID namespace", "Seeing, signalling or outliving anything: daemons die with the cell.", _USERNS),
    Layer("mount-namespace", "Mount namespace", "Changing what anybody else has mounted.", _USERNS),
    Layer("root-filesystem", "A root of its own", "Reading the host's files: there is only Python, read-only.", _USERNS),
    Layer("private-files", "Private work directory", "Leaving files for the next cell; filling the disk.", _USERNS),
    Layer("private-proc", "Private /proc", "Reading other processes' memory, environment and command lines.", _USERNS),
    Layer("network-namespace", "Network namespace", "Any network, the host's loopback included.", _USERNS),
    Layer("ipc-namespace", "IPC namespace", "Shared memory and message queues between cells.", _USERNS),
    Layer("uts-namespace", "UTS namespace", "Learning the host's name.", _USERNS),
    Layer("cgroup-namespace", "Cgroup namespace", "Learning the host's cgroup paths.", _USERNS),
    Layer("session", "Session of its own", "Reaching the application's terminal and process group.", "", False),
    Layer("parent-death-signal", "Parent-death signal", "Outliving the fork server.", "", False),
    Layer("environment", "Environment from nothing", "Reading the application's environment variables.", "", False),
    Layer("descriptors", "Closed descriptors", "Using files and sockets that the application or other cells hold.", "", False),
    Layer("resource-limits", "Resource limits", "Taking too much memory, CPU, processes, files; core dumps.", "", False),
    Layer("memory-group", "Memory control group", "Taking too much memory with many processes or in tmpfs.",
          "Run as root with cgroup v1, or delegate a cgroup v2 subtree with the memory controller (systemd: "
          "Delegate=memory). Without it a watchdog samples the cell's processes 50 times a second.", False),
    Layer("capabilities", "No capabilities", "Every privileged system call.", "", False),
    Layer("no-new-privileges", "No new privileges", "Gaining power through set-uid programs.", "", False),
    Layer("not-dumpable", "Not dumpable", "Reading the memory of the cell from beside it.", "", False),
    Layer("no-executable-memory", "No new executable memory", "Running machine code that the cell made up.",
          "Linux 6.3 or later.", False),
    Layer("landlock", "Landlock", "Files, network, signals and abstract sockets beyond the cell, a second time.",
          "Linux 5.13 or later with landlock in the kernel's lsm= list.", False),
    Layer("seccomp", "Seccomp filter", "Every system call that no honest program in a cell needs.",
          "A kernel with CONFIG_SECCOMP_FILTER, on x86-64 or aarch64.", False),
    Layer("reseed", "Fresh random state", "Predicting another cell's random numbers.", "", False),
)  # fmt: skip

IDS = frozenset(layer.id for layer in LAYERS)


def active(
    level: IsolationLevel, *, groups: bool, separate_ids: bool, has_landlock: bool, has_mdwe: bool, without: frozenset[str]
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

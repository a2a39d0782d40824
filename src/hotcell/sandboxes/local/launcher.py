"""The first process of a fork server: started clean, it makes the namespaces, and cleans up when all is over.

It stays outside the jail as the fork server's parent and janitor: whatever ends the application or the fork server,
this process removes the cell directories and cgroups that are left. It knows no secret: its environment is built from
nothing and its configuration comes over the control socket.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import socket
import time
import traceback
from typing import Any, NoReturn

from hotcell.sandboxes.local import mounts, namespaces
from hotcell.sandboxes.local.zygote import Zygote
from hotcell.worker import serve

_REMOVAL_SECONDS = 5.0


def main(control_handle: int, supervisor: int) -> NoReturn:
    """Serve the application at the other end of ``control_handle``; ``supervisor`` is a pidfd of it.

    The configuration, one JSON message: ``preload`` (module names), ``level`` (``namespace`` or ``process``),
    ``directory`` (where cells without a file system of their own keep files), ``cgroups`` (directories to remove at the
    end), ``without`` (layers that a test leaves out), ``environment`` (the virtual environment this runs in, if it is
    one that was built for cells), and for another language than Python ``program`` (see ``toolbox``), ``programs`` and
    ``paths`` (see ``mounts.build_root``). The answer is one JSON message: ``{"ready": true, "separate_ids": ...}`` or
    ``{"error": text, "kind": ...}``.
    """
    while (reserved := os.open("/dev/null", os.O_RDONLY)) <= serve.CHANNEL:
        pass  # what a library opens must not take a number that a cell's streams have
    os.close(reserved)
    control = socket.socket(fileno=control_handle)
    config = json.loads(control.recv(1 << 16))
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")  # when the whole host is short of memory, the cells go first and the application last
    # Cells need descriptors for only themselves; we hold some for each cell.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    namespaced = config["level"] == "namespace"
    config["links"] = []
    # In a root of its own everything Python needs is in reach; elsewhere a foreign id must be able to read it.
    config["separate_ids"] = os.geteuid() == 0 and (namespaced or mounts.others_can_read())
    held = _hold(control, config["environment"]) if config["environment"] else -1
    try:
        child = _fork_inside(config) if namespaced else os.fork()
    except OSError as error:
        _refuse(control, "namespace", str(error))
    if child:
        control.close()
        _clean_up_after(child, config)
    if held >= 0:
        os.close(held)  # it leads out of the jail
    _run_zygote(control, supervisor, config)


def _hold(control: socket.socket, environment: str) -> int:
    """A lock that keeps the environment from being removed while this process lives."""
    held = -1
    try:
        # Above what cells are shown, so that none of them can hold this lock.
        held = os.open(os.path.dirname(environment), os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, BlockingIOError):
        _refuse(control, "environment", "it was removed")
    except OSError:
        pass  # this file system has no locks
    return held


def _fork_inside(config: dict[str, Any]) -> int:
    def build() -> None:
        config["links"] = mounts.build_root(
            devices=(*mounts.DEVICES, mounts.ZERO) if config["cgroups"] else mounts.DEVICES,
            programs=config["programs"],
            paths=config["paths"],
            show_host="root-filesystem" in config["without"],
            environment=config["environment"],
        )

    return namespaces.fork_inside(build, frozenset(config["without"]))


def _run_zygote(control: socket.socket, supervisor: int, config: dict[str, Any]) -> NoReturn:
    namespaces.die_with_parent()
    zygote = Zygote(control, supervisor, config)
    try:
        zygote.prepare(config["preload"])
    except ImportError as error:
        _refuse(control, "preload", str(error))
    except Exception:  # noqa: BLE001  # whatever a preloaded module raises; the application is told
        _refuse(control, "start", traceback.format_exc(limit=-4))
    control.send(json.dumps({"ready": True, "separate_ids": config["separate_ids"]}).encode())
    zygote.serve()


def _refuse(control: socket.socket, kind: str, message: str) -> NoReturn:
    control.send(json.dumps({"error": message[-4000:], "kind": kind}).encode())
    os._exit(1)


def _clean_up_after(child: int, config: dict[str, Any]) -> NoReturn:
    """Wait for the fork server; by then every cell is dead. Nothing of them stays."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.waitpid(child, 0)
    if config["directory"]:
        # rm copes with four thousand directories inside one another; and importing less keeps the fork server small.
        os.waitpid(os.posix_spawnp("rm", ["rm", "-rf", "--", config["directory"]], os.environ), 0)
    for path in config["cgroups"]:
        _remove_groups(path)
    os._exit(0)


def _remove_groups(path: str) -> None:
    """The cells' groups and the one around them; a dying process may hold one for a moment longer."""
    deadline = time.monotonic() + _REMOVAL_SECONDS
    while os.path.isdir(path) and time.monotonic() < deadline:
        groups = [entry.path for entry in os.scandir(path) if entry.is_dir()]
        for group in (*groups, path):
            try:
                os.rmdir(group)
            except FileNotFoundError:
                continue  # the application has done it
            except OSError:
                time.sleep(0.01)

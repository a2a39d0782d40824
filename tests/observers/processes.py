"""Processes as the kernel lists them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from hotcell.sandboxes.local.sandbox import LocalSandbox


def parents() -> dict[int, int]:
    """Every process of this machine and its parent; zombies are left out."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # The name in parentheses may hold anything; after it come the state and the parent.
                state, parent, *_ = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if state != "Z":
                found[int(entry.name)] = int(parent)
    return found


def descendants(pid: int) -> list[int]:
    """Every process below ``pid``, nearer ones first."""
    tree = parents()
    found = [pid]
    for parent in found:
        found += sorted(child for child, of in tree.items() if of == parent)
    return found[1:]


def named(name: str, pid: int) -> list[int]:
    """The processes below ``pid`` that call themselves ``name``."""
    found = []
    for child in descendants(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if Path(f"/proc/{child}/comm").read_text() == f"{name}\n":
                found.append(child)
    return found


def fork_server_of(sandbox: LocalSandbox) -> int:
    """The process whose children are the cells: the launcher's only line of descent down to them."""
    before = set(descendants(os.getpid()))
    sandbox.wait_until_warm()
    launcher = sandbox._pool.server._process.pid
    assert launcher in before | set(descendants(os.getpid()))
    server = launcher
    while len(below := [pid for pid in descendants(server) if _parent(pid) == server]) == 1:
        server = below[0]
    return server


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

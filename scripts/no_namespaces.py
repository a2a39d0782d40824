#!/usr/bin/env python3
"""Runs a command on a host that refuses namespaces and mounts: ``scripts/no_namespaces.py COMMAND...``

A seccomp filter answers as Docker's default profile does. It cannot be taken off again, and every process that the
command starts has it too.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from hotcell.sandboxes.local import kernel, seccomp
from hotcell.sandboxes.local.seccomp import ALLOW, AUDIT_ARCH, NAMESPACE_FLAGS, Filter

REFUSED = """
    unshare setns mount umount2 pivot_root chroot move_mount open_tree fsopen fsmount fsconfig fspick mount_setattr
"""
LOAD, RETURN, EQUAL, HAS_BITS = 0x20, 0x06, 0x15, 0x45
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data
EPERM, ENOSYS = 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS


def program() -> bytes:
    """The filter: everything is allowed but what makes or enters a namespace."""
    code = [(LOAD, 0, 0, ARCHITECTURE), (EQUAL, 1, 0, AUDIT_ARCH[kernel.MACHINE]), (RETURN, 0, 0, ALLOW)]
    code.append((LOAD, 0, 0, NUMBER))
    for name in REFUSED.split():
        if name in kernel.NR:
            code += [(EQUAL, 0, 1, kernel.NR[name]), (RETURN, 0, 0, EPERM)]
    # clone3 hides its flags in memory; the C library falls back to clone, whose flags can be seen.
    code += [(EQUAL, 0, 1, kernel.NR["clone3"]), (RETURN, 0, 0, ENOSYS), (EQUAL, 1, 0, kernel.NR["clone"])]
    code += [(RETURN, 0, 0, ALLOW), (LOAD, 0, 0, FIRST_ARGUMENT), (HAS_BITS, 0, 1, NAMESPACE_FLAGS)]
    code += [(RETURN, 0, 0, EPERM), (RETURN, 0, 0, ALLOW)]
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in code)


def main(command: list[str]) -> NoReturn:
    if not command:
        sys.exit("usage: scripts/no_namespaces.py COMMAND...")
    kernel.call("prctl", kernel.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    seccomp.install(Filter(program()))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])

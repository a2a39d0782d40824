"""Landlock: rules about files, network, signals and abstract sockets that a process puts on itself for good.

See landlock(7) and the kernel's userspace-api/landlock. What each version added is used as far as the kernel has it;
what is handled but not allowed by a rule is refused.
"""

from __future__ import annotations

import errno
import os
import struct

from hotcell.sandboxes.local.kernel import call

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
READ = EXECUTE | READ_FILE | READ_DIR
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_MAKE_CHAR, _MAKE_BLOCK, _IOCTL_DEV = 1 << 6, 1 << 11, 1 << 15
_NETWORK = 0b11  # TCP bind and connect
_SCOPE = 0b11  # abstract Unix sockets, signals
_ONLY_FOR_FILES = EXECUTE | WRITE_FILE | READ_FILE | 1 << 14 | _IOCTL_DEV

CREATE_VERSION = 1
RULE_PATH_BENEATH = 1


def version() -> int:
    """The kernel's Landlock ABI version; 0 where it has none or it is switched off."""
    try:
        return call("landlock_create_ruleset", None, 0, CREATE_VERSION)
    except (OSError, KeyError):
        return 0


def file_rights(abi: int) -> int:
    """Every file right that this ABI version knows."""
    return max(rights for since, rights in _FILE_RIGHTS.items() if since <= abi)


def ruleset(readable: list[str], writable: list[str], abi: int) -> int:
    """A ruleset's descriptor: read and run below ``readable``, everything but devices below ``writable``.

    Paths that do not exist are passed over. The kernel looks for rules from a file upwards through mount points, but
    passes over the directory a mount covers: name the one that holds the mount point.
    """
    rights = file_rights(abi)
    attributes = struct.pack("<Q", rights)
    if abi >= 4:
        attributes += struct.pack("<Q", _NETWORK)
    if abi >= 6:
        attributes += struct.pack("<Q", _SCOPE)
    handle = call("landlock_create_ruleset", attributes, len(attributes), 0)
    for path in readable:
        _allow(handle, path, READ)
    for path in writable:
        _allow(handle, path, rights & ~(_MAKE_CHAR | _MAKE_BLOCK | _IOCTL_DEV | EXECUTE))
    return handle


def _allow(handle: int, path: str, rights: int) -> None:
    try:
        target = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EACCES, errno.ENOTDIR):
            return
        raise
    try:
        if not os.path.isdir(path):
            rights &= _ONLY_FOR_FILES
        call("landlock_add_rule", handle, RULE_PATH_BENEATH, struct.pack("<Qi", rights, target), 0)
    finally:
        os.close(target)

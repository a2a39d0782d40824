"""What this process shares with its forks: memory and files that are mapped for more than one process.

A process with pandas has six hundred mappings, one of them shared, and printing them all takes the kernel 2 ms. Since
Linux 6.11 it can be asked for those that are shared alone.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import struct
from collections.abc import Iterator
from typing import NamedTuple

QUERY = 0xC0686611
"""``PROCMAP_QUERY`` of ``<linux/fs.h>``."""
_ARGUMENT = struct.Struct("<9Q4I2Q")
"""``struct procmap_query``: size, flags, address; start, end, permissions, page size, offset, inode; device (two), room
for the name and for the build id; where those two go."""
_SHARED, _COVERING_OR_NEXT = 0x08, 0x10
_ROOM = 1024
"""For a path; where one is longer, the list is read."""
_MAPS = "/proc/self/maps"


class Mapping(NamedTuple):
    """A line of ``/proc/PID/maps``; see proc_pid_maps(5)."""

    start: int
    end: int
    permissions: str
    """Such as ``rw-s``."""
    offset: int
    path: str


def shared() -> list[Mapping]:
    """All that a fork would share, files that are only read among them. Raises OSError."""
    with open(_MAPS, "rb", buffering=0) as file:
        try:
            return list(_query(file.fileno()))
        except OSError as error:
            if error.errno not in (errno.ENOTTY, errno.EINVAL, errno.ENAMETOOLONG):
                raise
        lines = file.readall().decode(errors="surrogateescape").splitlines()
    return [mapping for mapping in map(_parse, lines) if mapping.permissions.endswith("s")]


def _query(handle: int) -> Iterator[Mapping]:
    name = ctypes.create_string_buffer(_ROOM)
    argument = bytearray(_ARGUMENT.size)
    place = 0
    while True:
        asked = (_ARGUMENT.size, _SHARED | _COVERING_OR_NEXT, place, *[0] * 8, _ROOM, 0, ctypes.addressof(name), 0)
        _ARGUMENT.pack_into(argument, 0, *asked)
        try:
            fcntl.ioctl(handle, QUERY, argument)
        except FileNotFoundError:
            return  # nothing shared is left above
        _, _, _, start, end, bits, _, offset, _, _, _, length, *_ = _ARGUMENT.unpack(argument)
        permissions = "".join(letter if bits & 1 << index else "-" for index, letter in enumerate("rwx")) + "s"
        yield Mapping(start, end, permissions, offset, name.value.decode(errors="surrogateescape") if length else "")
        place = end


def _parse(line: str) -> Mapping:
    span, permissions, offset, _, _, *path = line.split(maxsplit=5)
    start, end = (int(part, 16) for part in span.split("-"))
    return Mapping(start, end, permissions, int(offset, 16), path[0].strip() if path else "")

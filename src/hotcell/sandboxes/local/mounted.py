"""Files of the host that appear in a cell without being copied: mounts made here, put into place by the cell itself.

The application takes a detached mount of the one file (``open_tree``), read-only from the start, and hands it to the
fork server with the question for a cell. The cell attaches it in its own mount namespace while it still has the power
to, before it has seen anybody's code.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
from collections.abc import Mapping

from hotcell.config import SandboxConfig
from hotcell.errors import ConfigurationError
from hotcell.readonly import ReadOnly
from hotcell.sandboxes.local import kernel, mounts

LEAST_BYTES = 1 << 20
MOST_FILES = 8
_AT_EMPTY_PATH, _AT_FDCWD = 0x1000, -100
_OPEN_TREE_CLONE, _OPEN_TREE_CLOEXEC = 1, 0x80000
_MOVE_MOUNT_F_EMPTY_PATH = 4
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV, _ATTR_NOEXEC = 1, 2, 4, 8

Files = Mapping[str, bytes | os.PathLike[str]]


def open_mounts(files: Files) -> dict[str, int]:
    """Descriptors of detached mounts, for those of the files that can be had so; they are the caller's to close.

    None where this process may not, as for anybody but root.
    """
    found: dict[str, int] = {}
    if os.geteuid() != 0:
        return found
    for name, content in files.items():
        if isinstance(content, ReadOnly) and len(found) < MOST_FILES:
            with contextlib.suppress(OSError):
                handle = _open_mount(os.fspath(content))
                if handle is not None:
                    found[name] = handle
    return found


def _open_mount(path: str) -> int | None:
    handle = kernel.call("open_tree", _AT_FDCWD, path.encode(), _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_size < LEAST_BYTES or not status.st_mode & stat.S_IROTH:
            os.close(handle)
            return None
        attributes = struct.pack("<4Q", _ATTR_RDONLY | _ATTR_NOSUID | _ATTR_NODEV | _ATTR_NOEXEC, 0, 0, 0)
        kernel.call("mount_setattr", handle, b"", _AT_EMPTY_PATH, attributes, len(attributes))
    except OSError:
        os.close(handle)
        raise
    return handle


def require_room(files: Files, config: SandboxConfig) -> None:
    """Raises ConfigurationError for a read-only file that has to be copied after all and does not fit."""
    for name, content in files.items():
        if isinstance(content, ReadOnly):
            size = os.stat(content).st_size
            most = min(config.file_bytes, config.disk_bytes)
            if size > most:
                raise ConfigurationError(
                    f"files[{name!r}] holds {size} bytes and has to be copied here, as only root can mount a file, and "
                    f"only one that everybody may read. More than {most} do not fit: raise file_bytes and disk_bytes."
                )


def attach(names: list[str], handles: list[int]) -> None:
    """In a fresh cell, in its work directory: put the mounts into place. Raises OSError."""
    for name, handle in zip(names, handles, strict=True):
        path = f"{mounts.WORK}/{name}"
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400))
        kernel.call("move_mount", handle, b"", _AT_FDCWD, path.encode(), _MOVE_MOUNT_F_EMPTY_PATH)
        os.close(handle)

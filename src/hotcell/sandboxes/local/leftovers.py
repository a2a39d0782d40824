"""What supervisors leave behind when they are killed together with their launchers, and its removal at the next start.

Directories and groups carry the PID of the application that made them, and its PID namespace's number, since containers
may share a directory. Where that process is gone, so is everything that could use them; a PID that has been given to
another process only delays the removal.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import tempfile
import uuid
from pathlib import Path

from hotcell.sandboxes.local import cgroups

_NAME = re.compile(r"hotcell-(\d+)-([0-9a-f]{8})[0-9a-f]{8}(-\w+)?")


def new_name() -> str:
    """A name for this application's next directory and group."""
    return f"hotcell-{os.getpid()}-{_namespace()}{uuid.uuid4().hex[:8]}"


def _namespace() -> str:
    return f"{os.stat('/proc/self/ns/pid').st_ino & 0xFFFFFFFF:08x}"


def sweep() -> None:
    """Remove what applications that are no more have left. Never raises."""
    for path in _of_the_dead(Path(tempfile.gettempdir())):
        with contextlib.suppress(OSError):
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid():
                shutil.rmtree(path, ignore_errors=True)
    for parent in filter(None, (cgroups.V1, cgroups.own_v2())):
        for path in _of_the_dead(parent):
            for group in (*path.glob("cell*"), path):
                with contextlib.suppress(OSError):
                    group.rmdir()


def _of_the_dead(parent: Path) -> list[Path]:
    found = []
    with contextlib.suppress(OSError):
        for entry in os.scandir(parent):
            match = _NAME.fullmatch(entry.name)
            if match and match[2] == _namespace() and not _is_alive(int(match[1])):
                found.append(Path(entry.path))
    return found


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True

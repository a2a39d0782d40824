"""Results kept in a directory, a file each: for the command line, and for programs that start anew each time."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from hotcell.errors import ConfigurationError

_MOST_BYTES = 1 << 28


class DirectoryCache:
    """Keeps text under a key in files that only their owner can read. Nothing is ever forgotten: delete the files.

    Whoever can write to the directory can forge results, so it must be ours alone. Safe for many processes at once.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """The directory is made if it is missing. Raises ConfigurationError for one that others can write to."""
        self._path = Path(path)
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = self._path.stat()
        except OSError as error:
            raise ConfigurationError(f"The cache {str(path)!r} cannot be used: {error.strerror}.") from error
        if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ConfigurationError(
                f"The cache {str(path)!r} belongs to somebody else, or others can write to it, who could put results "
                "there: name a directory of your own, or take that right away (chmod go-w)."
            )

    def get(self, key: str) -> str | None:
        """The text under the key; None when it is not here, or is no text."""
        try:
            with open(self._path / key, "rb") as file:
                return file.read(_MOST_BYTES).decode()
        except (OSError, UnicodeDecodeError):
            return None

    def set(self, key: str, value: str) -> None:
        """Keep the text: whole, or not at all. Raises OSError."""
        handle, name = tempfile.mkstemp(dir=self._path, prefix=".new-")  # 0600
        try:
            with open(handle, "wb") as file:
                file.write(value.encode())
            os.replace(name, self._path / key)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise

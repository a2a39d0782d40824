"""``ReadOnly``: a file that code may read and not change."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class ReadOnly(os.PathLike[str]):
    """A place on the host, for ``files={"data.csv": ReadOnly(path)}``.

    Where the host allows, a file of a mebibyte or more is not copied but mounted, so that its size costs neither time
    nor memory: as root, at level ``namespace``, for a file that everybody may read. Elsewhere it is copied like others.
    """

    path: str | os.PathLike[str]

    def __fspath__(self) -> str:
        return os.fspath(self.path)

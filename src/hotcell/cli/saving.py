"""What a run leaves in the output directory: the files that it made, and what it showed."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hotcell.cli.exits import UsageError
from hotcell.cli.files import reason
from hotcell.results import Artifact, Display, ExecutionResult

_ENDINGS = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/gif": ".gif",
    "image/webp": ".webp",
    "image/svg+xml": ".svg",
    "text/html": ".html",
}
_HTML_HEAD = '<!doctype html>\n<meta charset="utf-8">\n'
"""A browser that opens the file itself would have to guess."""


@dataclass(frozen=True, kw_only=True)
class Saved:
    """Where it was written."""

    artifacts: Sequence[Path] = ()
    """One for each of the result's."""
    displays: Sequence[Sequence[Path]] = ()
    """For each of the result's displays, the files that were made of it."""


def save(result: ExecutionResult, directory: str) -> Saved:
    """Write it all below ``directory``, never through a link. Raises UsageError."""
    taken = {str(path) for item in result.artifacts for path in _ways(item.name)}
    try:
        return Saved(
            artifacts=[item.save(directory) for item in result.artifacts],
            displays=[
                [drawing.save(directory) for drawing in _drawings(shown, number, taken)]
                for number, shown in enumerate(result.displays, start=1)
            ],
        )
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot write to the output directory {directory!r}: {reason(error)}") from None


def save_as(content: bytes, path: str, name: str) -> Path:
    """One file, at ``path``, or in that folder under the last part of its ``name``. Raises UsageError."""
    target = Path(path, PurePosixPath(name).name) if path.endswith("/") or os.path.isdir(path) else Path(path)
    try:
        return Artifact(name=target.name, size=len(content), sha256="", content=content).save(target.parent)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot write {str(target)!r}: {reason(error)}") from None


def _drawings(shown: Display, number: int, taken: set[str]) -> Iterator[Artifact]:
    for mime, ending in _ENDINGS.items():
        form = shown.data.get(mime)
        if isinstance(form, str):
            content = _content(mime, form)
            yield Artifact(
                name=_free_name(f"display-{number}", ending, taken), size=len(content), sha256="", content=content
            )


def _content(mime: str, form: str) -> bytes:
    if mime == "text/html":
        return (_HTML_HEAD + form).encode(errors="replace")
    return form.encode(errors="replace") if mime == "image/svg+xml" else base64.b64decode(form)


def _free_name(stem: str, ending: str, taken: set[str]) -> str:
    """One that no file of the code's, and no folder of it, has."""
    name, count = stem + ending, 1
    while name in taken:
        count += 1
        name = f"{stem}-{count}{ending}"
    taken.add(name)
    return name


def _ways(name: str) -> Iterator[PurePosixPath]:
    path = PurePosixPath(name)
    yield path
    yield from path.parents

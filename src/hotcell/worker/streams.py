"""The cell's standard streams: text over descriptors 0, 1 and 2, made once before the fork."""

from __future__ import annotations

import sys
from typing import TextIO

_prepared: list[TextIO] = []


def prepare_streams() -> None:
    """Put fresh text streams over descriptors 0-2 into ``sys``.

    Line-buffered, so that what was printed before a kill is not lost; any text at all can be written.
    """
    stdin = open(0, encoding="utf-8", errors="replace", closefd=False)
    stdout, stderr = _writer(1), _writer(2)
    sys.stdin = sys.__stdin__ = stdin  # type: ignore[misc]  # typeshed has the dunder names final; site sets them too
    sys.stdout = sys.__stdout__ = stdout  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = stderr  # type: ignore[misc]
    _prepared[:] = [stdout, stderr]


def _writer(descriptor: int) -> TextIO:
    return open(descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def flush_streams() -> None:
    """Write out what is still buffered, in the cell's own streams too if it replaced ours."""
    for stream in (getattr(sys, "stdout", None), getattr(sys, "stderr", None), *_prepared):
        try:
            stream.flush()  # type: ignore[union-attr]  # None is one of the things caught below
        except BaseException:  # closed, broken pipe, full disk, or the cell's own object: the report matters more
            continue


def write_error(text: str) -> None:
    """One line to the cell's stderr, if it still has one."""
    try:
        sys.stderr.write(text + "\n")
    except BaseException:  # as above
        return

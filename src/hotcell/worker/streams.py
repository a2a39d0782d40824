"""The cell's standard streams: text over descriptors 0, 1 and 2, made once before the fork."""

from __future__ import annotations

import sys
from typing import Any, TextIO

_prepared: list[TextIO] = []


def prepare_streams() -> None:
    """Put fresh text streams over descriptors 0-2 into ``sys``.

    Line-buffered, so that what was printed before a kill is not lost; any text at all can be written.
    """
    stdin = open(0, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115  # it lives as long as the process
    stdout, stderr = _writer(1), _writer(2)
    for name, stream in (("stdin", stdin), ("stdout", stdout), ("stderr", stderr)):
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    _prepared[:] = [stdout, stderr]


def _writer(descriptor: int) -> TextIO:
    return open(descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def flush_streams() -> None:
    """Write out what is still buffered, in the cell's own streams too if it replaced ours."""
    current: list[Any] = [getattr(sys, "stdout", None), getattr(sys, "stderr", None)]
    for stream in (*current, *_prepared):
        try:
            stream.flush()
        # Closed, a broken pipe, a full disk, None, or an object of the cell's: the report matters more.
        except BaseException:  # noqa: BLE001, S112
            continue


def write_error(text: str) -> None:
    """One line to the cell's stderr, if it still has one."""
    try:
        sys.stderr.write(text + "\n")
    except BaseException:  # noqa: BLE001  # as above
        return

"""The caller's files: code and data that are read, a directory that is written to."""

from __future__ import annotations

import json
import os
import sys
from typing import Any, NoReturn

from hotcell.cli.exits import UsageError

MOST_SOURCE_BYTES = 64 << 20


def read_source(name: str) -> bytes:
    """The code in a file, or on standard input for ``-``. Raises UsageError."""
    source = sys.stdin.buffer.read(MOST_SOURCE_BYTES + 1) if name == "-" else read(name)
    if len(source) > MOST_SOURCE_BYTES:
        raise UsageError(f"{name!r} is larger than 64 MiB: that is data rather than code, give it with --file")
    return source


def read(path: str) -> bytes:
    """A file's content, or a byte more than code may have of it. Raises UsageError."""
    try:
        with open(path, "rb") as stream:
            return stream.read(MOST_SOURCE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise UsageError(f"cannot read {path!r}: {reason(error)}") from None


def shown_name(source: str) -> str:
    """What findings call it."""
    return "<stdin>" if source == "-" else source


def reason(error: Exception) -> str:
    """Why, without the path, which the message names already."""
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def need_writable_directory(directory: str) -> None:
    """Find out before the code runs, not after. Raises UsageError."""
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the output directory {directory!r}: {reason(error)}") from None
    if not os.access(directory, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write to the output directory {directory!r}")


def json_object(text: str | bytes, what: str) -> dict[str, Any]:
    """The object that the text is. Raises UsageError."""
    try:
        data = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:  # RecursionError: nested too deeply
        raise UsageError(f"{what} is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise UsageError(f"{what} is not a JSON object: give something like " + '{"name": 1}')
    return data


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def print_json(data: object, *, indent: int | None = 2) -> None:
    """As a page of JSON, or as one line without ``indent``."""
    # ASCII alone: whatever the code printed, JSON on a terminal stays JSON.
    print(json.dumps(data, indent=indent, allow_nan=False), flush=True)

"""What a caller hands in with the code, checked before anything runs. Each error names the item and the remedy."""

from __future__ import annotations

import keyword
import math
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hotcell.config import SandboxConfig
from hotcell.errors import ConfigurationError
from hotcell.readonly import ReadOnly

CONTEXT_BYTES = 64 << 20
"""The most that all context variables may hold, in bytes, about."""

_DEPTH = 50
_LONGEST_NAME = 200
_INT_BITS = 14_280  # 4,300 digits, beyond which Python does not convert to text
_NAME_BYTES = 255
_OWN_FOLDERS = 8
"""What a cell has before anything is put into it."""
_PATH_BYTES = 1024


def check_context(context: Mapping[Any, Any] | None, config: SandboxConfig) -> dict[str, Any]:
    """The variables as a dict of JSON data. Raises ConfigurationError with the path of the first bad item."""
    if not context:
        return {}
    if not isinstance(context, Mapping):
        raise ConfigurationError(f"context must be a dict of variables, not {type(context).__name__}.")
    # As text, as objects and in between, the cell holds it several times.
    most = left = min(CONTEXT_BYTES, config.memory_bytes // 16)
    for name, value in context.items():
        if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
            raise ConfigurationError(f"context: {name!r} is not a variable name.")
        if name.startswith("__") and name.endswith("__"):
            raise ConfigurationError(f"context: {name!r} is a name of Python's own; choose another.")
        left = _check_item(value, f"context[{name!r}]", left, 0)
        if left < 0:
            raise ConfigurationError(
                f"context is larger than {most >> 10} KiB (64 MiB, or a sixteenth of memory_bytes): pass large data as "
                "files, or raise memory_bytes."
            )
    return dict(context)


def _check_item(value: Any, path: str, left: int, depth: int) -> int:
    """What is left of the size after this item."""
    if isinstance(value, dict | list | tuple):
        left = _check_parts(value, path, left - 64, depth)
    else:
        _check_scalar(value, path)
        left -= len(value) if isinstance(value, str) else 8
    return left


def _check_parts(value: dict[Any, Any] | list[Any] | tuple[Any, ...], path: str, left: int, depth: int) -> int:
    if depth >= _DEPTH:
        raise ConfigurationError(f"{path[:200]} is nested more than {_DEPTH} deep.")
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        if left < 0:
            break
        if isinstance(value, dict):
            if not isinstance(key, str):
                raise ConfigurationError(f"{path} has the key {key!r}: keys must be str.")
            left -= len(key)
        left = _check_item(item, f"{path}[{key!r}]", left, depth + 1)
    return left


def _check_scalar(value: Any, path: str) -> None:
    if isinstance(value, int) and value.bit_length() > _INT_BITS:
        raise ConfigurationError(f"{path} has more than 4300 digits: pass it as text.")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigurationError(f"{path} is {value}, which JSON does not have: pass None or text.")
    if value is not None and not isinstance(value, bool | int | float | str):
        raise ConfigurationError(
            f"{path} is a {type(value).__name__}, which is not JSON data: pass None, bool, int, float, str, list or "
            "dict, or pass a file."
        )


def check_files(
    files: Mapping[str, bytes | os.PathLike[str]] | None, config: SandboxConfig
) -> dict[str, bytes | os.PathLike[str]]:
    """The files with safe relative names. Raises ConfigurationError for a bad name, kind or size."""
    if not files:
        return {}
    if not isinstance(files, Mapping):
        raise ConfigurationError(f"files must be a dict of names to bytes or paths, not {type(files).__name__}.")
    checked: dict[str, bytes | os.PathLike[str]] = {}
    size = 0
    for name, content in files.items():
        check_name(name)
        checked[name], length = _check_content(name, content)
        if isinstance(content, ReadOnly):
            continue  # whether it takes room is for the sandbox to say
        if length > config.file_bytes:
            raise ConfigurationError(
                f"files[{name!r}] holds {length} bytes, more than file_bytes={config.file_bytes}: raise that limit."
            )
        size += length
    if size > config.disk_bytes:
        raise ConfigurationError(
            f"files hold {size} bytes, more than disk_bytes={config.disk_bytes}: raise that limit."
        )
    folders = {str(parent) for name in checked for parent in Path(name).parents}
    if len(checked) + len(folders) + _OWN_FOLDERS > config.disk_files:
        raise ConfigurationError(
            f"files: {len(checked)} files in {len(folders)} folders are more than disk_files={config.disk_files}."
        )
    for name in checked:
        for parent in Path(name).parents:
            if str(parent) in checked:
                raise ConfigurationError(f"files: {str(parent)!r} cannot be a file and the folder of {name!r}.")
    return checked


def _check_content(name: str, content: object) -> tuple[bytes | os.PathLike[str], int]:
    if isinstance(content, bytes | bytearray | memoryview):
        data = bytes(content)
        return data, len(data)
    if not isinstance(content, os.PathLike):
        raise ConfigurationError(
            f"files[{name!r}] is a {type(content).__name__}: pass the content as bytes, or its place as a pathlib.Path."
        )
    try:
        status = os.stat(content)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"files[{name!r}]: cannot read {os.fspath(content)!r}: {error}") from error
    if not stat.S_ISREG(status.st_mode):
        raise ConfigurationError(f"files[{name!r}]: {os.fspath(content)!r} is not a regular file.")
    return content, status.st_size


def check_name(name: object) -> None:
    """Raises ConfigurationError unless ``name`` is a relative path that stays below the work directory."""
    problem = _problem(name)
    if problem:
        raise ConfigurationError(f"files: {str(name)[:200]!r} is not allowed as a name: {problem}.")


def _problem(name: object) -> str:
    if not isinstance(name, str) or not name:
        return "give a non-empty str"
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    parts = name.split("/")
    if name.startswith("/"):
        return "it must be relative"
    if "\\" in name:
        return "write / between folders"
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        return "it has control characters"
    if any(part in ("", ".", "..") for part in parts):
        return "it has an empty part, '.' or '..'"
    if length > _PATH_BYTES or any(len(part.encode()) > _NAME_BYTES for part in parts):
        return f"it is longer than {_PATH_BYTES} bytes, or a part of it than {_NAME_BYTES}"
    return ""


def check_artifacts(patterns: Iterable[str]) -> tuple[str, ...]:
    """The globs as a tuple. Raises ConfigurationError for one that leaves the work directory."""
    if isinstance(patterns, str):
        raise ConfigurationError(f"artifacts must be a list of globs: write artifacts=[{patterns!r}].")
    globs: tuple[Any, ...] = tuple(patterns)
    for glob in globs:
        if not isinstance(glob, str) or not glob or glob.startswith("/") or "\0" in glob or ".." in glob.split("/"):
            raise ConfigurationError(f"artifacts: {glob!r} is not a glob below the work directory, such as '*.png'.")
    return globs


def check_execution_id(execution_id: object) -> None:
    """Raises ConfigurationError unless it is fit for a log line."""
    if not isinstance(execution_id, str) or len(execution_id) > _LONGEST_NAME or not execution_id.isprintable():
        raise ConfigurationError(
            f"execution_id={execution_id!r:.60} is not allowed: give at most {_LONGEST_NAME} printable characters."
        )

"""The values of options, from text: argparse turns an ArgumentTypeError into a usage error."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hotcell.cli.exits import UsageError
from hotcell.cli.files import json_object, read, reason

if TYPE_CHECKING:
    from pathlib import Path


def _type(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    def converted(text: str) -> Any:
        try:
            return convert(text)
        except UsageError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return converted


@_type
def seconds(text: str) -> float:
    """``2.5``."""
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a number of seconds") from None


@_type
def size(text: str) -> int:
    """``256M``, in bytes."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?)([KMGT]?)(?:i?B)?", text.strip(), re.ASCII | re.IGNORECASE)
    if not match:
        raise UsageError(f"{text!r} is not a size: give bytes, or a number with K, M or G, such as 256M")
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " "))


@_type
def context(text: str) -> dict[str, Any]:
    """A JSON object, or ``@FILE`` with one in it."""
    if text.startswith("@"):
        return json_object(read(text[1:]), repr(text[1:]))
    return json_object(text, "the context")


@_type
def file(text: str) -> tuple[str, Path]:
    """``NAME=PATH``, where the path can be read."""
    from pathlib import Path

    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise UsageError(f"{text!r} is not NAME=PATH, such as data.csv=/tmp/sales.csv")
    try:
        with open(path, "rb") as stream:
            stream.read(0)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path!r}: {reason(error)}") from None
    return name, Path(path)


@_type
def modules(text: str) -> list[str]:
    """``numpy,pandas``."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if not is_dotted(name):
            raise UsageError(f"{name!r} is not the name of a module: give something like numpy,pandas")
    return names


@_type
def tool(text: str) -> tuple[str, str, str]:
    """``NAME=MODULE:FUNCTION``, in three; it is not imported yet."""
    name, _, place = text.partition("=")
    module, _, function = place.partition(":")
    if not (name and is_dotted(module) and function.isidentifier()):
        raise UsageError(f"{text!r} is not NAME=MODULE:FUNCTION, such as search=mytools:search")
    return name, module, function


@_type
def formats(text: str) -> tuple[str, ...]:
    """``png,svg``; SandboxConfig says which there are."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def is_dotted(name: str) -> bool:
    """Whether it could be a module's name."""
    return all(part.isidentifier() for part in name.split("."))

"""The options that commands share, and what they mean."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from hotcell.cli import values
from hotcell.cli.exits import UsageError
from hotcell.cli.files import json_object, read

if TYPE_CHECKING:
    from pathlib import Path

    from hotcell.cli.parser import Parser
    from hotcell.config import SandboxConfig
    from hotcell.policy import Policy
    from hotcell.readonly import ReadOnly

_PRESETS = ("strict", "standard", "permissive")


def add_policy(parser: Parser) -> None:
    """``--policy``."""
    parser.add_argument(
        "--policy",
        default="standard",
        metavar="POLICY",
        help="strict, standard (the default), permissive, or the path of a .json file",
    )


def policy(name: str) -> Policy:
    """Raises UsageError and ConfigurationError."""
    from hotcell.policy import Policy

    if name in _PRESETS:
        return Policy.named(name)
    if not name.endswith(".json"):
        raise UsageError(f"no policy is called {name!r}: give {', '.join(_PRESETS)} or the path of a .json file")
    return Policy.from_dict(json_object(read(name), f"policy {name!r}"))


def add_source(parser: Parser) -> None:
    """The code and its language, for commands that take one program."""
    parser.add_argument("source", metavar="FILE", help="the code; - reads standard input")
    parser.add_argument(
        "--language",
        metavar="NAME",
        help="python, javascript or bash (default: by the file's suffix .py, .js, .mjs or .sh, else python)",
    )
    add_policy(parser)


def language(arguments: argparse.Namespace) -> str:
    """What is asked for, or else what the file's name tells."""
    from hotcell import languages

    return arguments.language or languages.of_file(arguments.source)


def add_cell(parser: Parser) -> None:
    """What a cell may use, and what it is given."""
    parser.add_argument("--timeout", type=values.seconds, metavar="SECONDS", help="wall-clock limit (default 10)")
    parser.add_argument("--memory", type=values.size, metavar="SIZE", help="memory limit, such as 256M (default 512M)")
    parser.add_argument(
        "--context", type=values.context, default={}, metavar="JSON", help="variables: an object, or @FILE"
    )
    parser.add_argument(
        "--file",
        type=values.file,
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="put a copy of PATH into the work directory as NAME; may be repeated",
    )
    parser.add_argument(
        "--read-only",
        type=values.file,
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="the same for reading alone; as root a large file is not copied; may be repeated",
    )
    parser.add_argument(
        "--tool",
        type=values.tool,
        action="append",
        default=[],
        metavar="NAME=MODULE:FUNCTION",
        help="let the code call this function of yours, which runs out here with your rights; may be repeated",
    )
    parser.add_argument(
        "--preload", type=values.modules, default=[], metavar="A,B", help="modules imported before the code arrives"
    )
    parser.add_argument("--env", metavar="NAME", help="run in an environment that `hotcell env create` built")


def files(arguments: argparse.Namespace) -> dict[str, Path | ReadOnly]:
    """What ``--file`` and ``--read-only`` name. Raises UsageError for a name that both have."""
    from hotcell.readonly import ReadOnly

    for name, _ in arguments.read_only:
        if name in dict(arguments.file):
            raise UsageError(f"{name!r} is given by --file and by --read-only")
    return {**dict(arguments.file), **{name: ReadOnly(path) for name, path in arguments.read_only}}


def config(arguments: argparse.Namespace) -> SandboxConfig:
    """The limits that were asked for, and the defaults for the rest. Raises ConfigurationError."""
    from hotcell.config import SandboxConfig

    given = {
        "timeout_seconds": arguments.timeout,
        "memory_bytes": arguments.memory,
        "figure_formats": getattr(arguments, "figure_formats", None),
    }
    return SandboxConfig(**{name: value for name, value in given.items() if value is not None})

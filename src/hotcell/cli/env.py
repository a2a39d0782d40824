"""``hotcell env``: libraries for cells, built ahead of time, shown, removed."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from hotcell.cli.files import print_json
from hotcell.cli.parser import add_command
from hotcell.errors import HotcellError

if TYPE_CHECKING:
    from hotcell.cli.parser import Commands, Parser
    from hotcell.environments import Environment


def add_parser(commands: Commands[Parser]) -> None:
    """Add ``env`` and what can be done with it."""
    summary = "build, list and remove environments: libraries for cells, locked and read-only"
    parser = commands.add_parser("env", help=summary, description=summary.capitalize() + ".", allow_abbrev=False)
    below = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_create(below)
    add_command(below, "list", _list, "show all environments")
    for name, command, summary in (
        ("show", _show, "show what an environment holds and where it lies"),
        ("remove", _remove, "remove a name, and the environment when it has no other"),
    ):
        add_command(below, name, command, summary).add_argument("name", metavar="NAME")


def _add_create(commands: Commands[Parser]) -> None:
    parser = add_command(
        commands, "create", _create, "find versions, lock them, install exactly those, and name the result"
    )
    parser.add_argument("name", metavar="NAME", help="what to call it; a name that is taken moves to the new one")
    parser.add_argument("--packages", nargs="+", default=[], metavar="PACKAGE", help="such as numpy 'pandas>=2'")
    parser.add_argument("--requirements", metavar="FILE", help="a file with one package a line")
    parser.add_argument("--python", default=sys.executable, metavar="PYTHON", help="the interpreter (default: ours)")
    parser.add_argument(
        "--allow-source",
        action="store_true",
        help="also take packages without a wheel: to build one runs its author's code, here, as you",
    )


def _create(arguments: argparse.Namespace) -> int:
    from hotcell.building import create

    environment = create(
        arguments.name,
        packages=arguments.packages,
        requirements=arguments.requirements,
        python=arguments.python,
        allow_source=arguments.allow_source,
        say=lambda text: print(text, file=sys.stderr) if sys.stderr.isatty() else None,
    )
    _print(environment, arguments)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from hotcell.environments import find

    _print(find(arguments.name), arguments)
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    from hotcell.building import remove

    remove(arguments.name)
    if arguments.json:
        print_json({"removed": arguments.name})
    return 0


def _list(arguments: argparse.Namespace) -> int:
    from hotcell.environments import every
    from hotcell.terminal import clean_line, table

    found = list(every())
    whole = [item for item in found if not isinstance(item, HotcellError)]
    if arguments.json:
        print_json({"environments": [item.to_dict() for item in whole]})
    elif whole:
        print(table([_row(item) for item in whole], most_rows=len(whole), most_width=40))
    for problem in found:
        if isinstance(problem, HotcellError):
            print(f"hotcell: {clean_line(str(problem))}", file=sys.stderr)
    return 0


def _row(environment: Environment) -> dict[str, str]:
    from hotcell.terminal import size

    return {
        "name": environment.name,
        "python": environment.python_version,
        "packages": " ".join(environment.requested),
        "size": size(environment.size_bytes),
        "created": environment.created[:10],
        "digest": environment.digest[:12],
    }


def _print(environment: Environment, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print_json(environment.to_dict())
        return
    from hotcell.terminal import clean_line, size

    facts = {
        "name": environment.name,
        "python": f"{environment.python_version} ({environment.interpreter})",
        "packages": ", ".join(f"{name} {version}" for name, version in environment.packages.items()),
        "imported ahead": ", ".join(environment.preload) or "nothing",
        **{f"not {module}": reason for module, reason in environment.left_out.items()},
        "size": size(environment.size_bytes),
        "created": environment.created,
        "place": str(environment.directory),
    }
    width = max(map(len, facts))
    for name, text in facts.items():
        print(f"{clean_line(name):{width}}  {clean_line(text)}")

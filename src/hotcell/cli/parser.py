"""How every command reads its command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from hotcell.cli.exits import EPILOG, Exit


class Parser(argparse.ArgumentParser):
    """Answers a bad command line with one line, in which nothing the user typed controls the terminal."""

    def error(self, message: str) -> NoReturn:
        from hotcell.terminal import clean_line

        print(f"{self.prog}: {clean_line(message)} (see {self.prog} --help)", file=sys.stderr)
        sys.exit(Exit.USAGE)


Commands = argparse._SubParsersAction
"""Where a command adds its parser."""


def add_command(
    commands: Commands[Parser], name: str, command: Callable[[argparse.Namespace], int], summary: str
) -> Parser:
    """A parser for ``hotcell NAME``, which ``command`` carries out and answers with the exit code."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command=command)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a page")
    return parser

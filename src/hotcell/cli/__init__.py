"""The command ``hotcell``: run code in a cell or a session, check it without running it, examine this machine.

Nothing heavy is imported before it is known to be needed, so that ``hotcell --help`` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import hotcell
from hotcell.cli import check, doctor, env, run, session
from hotcell.cli.exits import EPILOG, Exit, UsageError, complain
from hotcell.cli.parser import Parser
from hotcell.errors import ConfigurationError, HotcellError

__all__ = ["Exit", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; a bad command line exits by SystemExit(2), as argparse does."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a C locale has no "│"
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.command(arguments)
        sys.stdout.flush()
    except (UsageError, ConfigurationError) as error:
        return complain(error, Exit.USAGE)
    except HotcellError as error:
        return complain(error, Exit.FAILED)
    except KeyboardInterrupt:
        return complain("interrupted", Exit.CANCELLED)
    except BrokenPipeError:
        # The interpreter would fail once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.NO_READER
    return code


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="hotcell",
        description="Run Python that an LLM wrote, in a fresh, OS-isolated process.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"hotcell {hotcell.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    for command in (run, session, check, doctor, env):
        command.add_parser(commands)
    return parser

"""``hotcell check``: what the validators think of code."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from hotcell.cli import options
from hotcell.cli.exits import Exit
from hotcell.cli.files import print_json, read_source, shown_name
from hotcell.cli.parser import add_command

if TYPE_CHECKING:
    from hotcell.cli.parser import Commands, Parser


def add_parser(commands: Commands[Parser]) -> None:
    """Add ``check``."""
    options.add_source(
        add_command(commands, "check", _check, "say what the validators think of code, without running it")
    )


def _check(arguments: argparse.Namespace) -> int:
    code, policy = read_source(arguments.source), options.policy(arguments.policy)
    from hotcell.executor import check

    report = check(code, policy=policy, language=options.language(arguments))
    if arguments.json:
        print_json(report.to_dict())
    else:
        from hotcell.report import check_page
        from hotcell.terminal import Style

        print(check_page(report, filename=shown_name(arguments.source), style=Style.of(sys.stdout)))
    return Exit.OK if report.accepted else Exit.REJECTED

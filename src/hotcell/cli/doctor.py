"""``hotcell doctor``: every layer of the wall on this machine."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from hotcell.cli.exits import Exit, complain
from hotcell.cli.files import print_json
from hotcell.cli.parser import add_command

if TYPE_CHECKING:
    from hotcell.cli.parser import Commands, Parser


def add_parser(commands: Commands[Parser]) -> None:
    """Add ``doctor``."""
    parser = add_command(
        commands, "doctor", _doctor, "show every layer of the wall: what it stops, whether it is on here"
    )
    parser.add_argument(
        "--level",
        choices=("process", "namespace"),
        default="process",
        help="exit with 70 unless this machine gives at least this (default process)",
    )


def _doctor(arguments: argparse.Namespace) -> int:
    from hotcell.results import IsolationLevel
    from hotcell.sandboxes.local.doctor import examine

    report = examine()
    if arguments.json:
        print_json(report.to_dict())
    else:
        from hotcell.report import doctor_page
        from hotcell.terminal import Style

        print(doctor_page(report, style=Style.of(sys.stdout)))
    if report.level >= IsolationLevel(arguments.level):
        return Exit.OK
    return complain(f"this machine gives level {report.level}, not {arguments.level}", Exit.FAILED)

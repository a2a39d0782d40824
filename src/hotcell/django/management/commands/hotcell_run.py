"""``manage.py hotcell_run``: one program, as ``hotcell run`` shows it, with a row in the history."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser

from hotcell import languages
from hotcell.cli import values
from hotcell.cli.exits import EPILOG, Exit, exit_code
from hotcell.cli.files import read_source, shown_name
from hotcell.django import conf, services
from hotcell.django.management.base import HotcellCommand, user_named
from hotcell.django.models import CodeExecution
from hotcell.django.runs import Options
from hotcell.report import page


class Command(HotcellCommand):
    help = "Run code in a fresh cell, keep it in the history, and show what came of it."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """With what the exit codes tell at the end of ``--help``."""
        return super().create_parser(prog_name, subcommand, epilog=EPILOG, **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.add_argument("source", metavar="FILE", help="the code; - reads standard input")
        parser.add_argument(
            "--using", default=conf.DEFAULT_ALIAS, metavar="ALIAS", help="an alias in HOTCELL_SANDBOXES"
        )
        parser.add_argument("--user", metavar="NAME", help="whose it is, and whose quota it counts against")
        parser.add_argument(
            "--context", type=values.context, default=None, metavar="JSON", help="variables: an object, or @FILE"
        )
        parser.add_argument("--timeout", type=values.seconds, metavar="SECONDS", help="wall-clock limit")
        parser.add_argument("--language", metavar="NAME", help="default: by the file's suffix, else python")
        parser.add_argument("--json", action="store_true", help="print the result as JSON")

    def handle(self, **options: Any) -> None:
        try:
            execution = services.execute(read_source(options["source"]), **_options(options))
        except KeyboardInterrupt:
            raise CommandError("interrupted; the row says cancelled", returncode=Exit.CANCELLED) from None
        try:
            result = execution.to_result()
        except ValueError:  # it was taken for dead while it ran: there is a row and no result
            raise CommandError(f"{_named(execution)}: {execution.reason}", returncode=Exit.FAILED) from None
        if options["json"]:
            self.print_json(result.to_dict())
        else:
            style, name = self.style_of(options), shown_name(options["source"])
            shown = page(result, filename=name, language=execution.language, style=style)
            self.print_page(f"{shown}\n\n{style.faint(_named(execution))}")
        if code := exit_code(result):
            sys.exit(code)


def _options(given: dict[str, Any]) -> Options:
    chosen: Options = {
        "using": given["using"],
        "context": given["context"],
        "language": given["language"] or languages.of_file(given["source"]),
    }
    if given["user"]:
        chosen["user"] = user_named(given["user"])
    if given["timeout"] is not None:
        config = conf.sandbox_settings(given["using"]).config
        chosen["config"] = config.replace(timeout_seconds=given["timeout"])
    return chosen


def _named(execution: CodeExecution) -> str:
    return f"execution  {execution.pk.hex}"

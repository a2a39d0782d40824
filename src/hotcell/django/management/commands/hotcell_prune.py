"""``manage.py hotcell_prune``: forget old executions, with their files."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from hotcell.cli.exits import Exit
from hotcell.django import pruning
from hotcell.django.management.base import HotcellCommand
from hotcell.django.states import FINAL


class Command(HotcellCommand):
    help = "Delete executions that ended long ago, with the files they left. What is queued or running stays."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--older-than",
            type=float,
            metavar="DAYS",
            help="that ended before so many days (default HOTCELL_KEEP_DAYS)",
        )
        parser.add_argument(
            "--status",
            action="append",
            choices=[str(state) for state in FINAL],
            help="only those that ended so; may be repeated (default: all that ended)",
        )
        parser.add_argument(
            "--batch", type=int, default=1000, metavar="ROWS", help="how many in one transaction (default 1000)"
        )
        parser.add_argument("--dry-run", action="store_true", help="count them and delete nothing")

    def handle(self, **options: Any) -> None:
        days = pruning.keep_days() if options["older_than"] is None else options["older_than"]
        if days is None:
            raise CommandError("Give --older-than DAYS, or set HOTCELL_KEEP_DAYS.", returncode=Exit.USAGE)
        before, statuses = pruning.days_ago(days), options["status"] or FINAL
        if options["dry_run"]:
            found = pruning.count(before, statuses)
            self.print_page(f"Would delete {_amount(found)}.")
            return
        total = pruning.Pruned()
        for done in pruning.prune(before, statuses, batch=options["batch"]):
            total += done
            if options["verbosity"] > 1:
                self.print_page(f"{total.executions} so far")
        self.print_page(f"Deleted {_amount(total)}.")
        if total.undeleted:
            raise CommandError(
                f"{total.undeleted} files could not be deleted: the log names them. Their rows are gone."
            )


def _amount(pruned: pruning.Pruned) -> str:
    return f"executions: {pruned.executions}, files: {pruned.files}"

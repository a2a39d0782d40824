"""``manage.py hotcell_stats``: how many ran of late, how they ended, and what they used."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import CommandParser

from hotcell.django.management.base import HotcellCommand, user_named
from hotcell.django.models import CodeExecution
from hotcell.terminal import duration, size, table


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = 0.0
    if not 0 < hours <= 876_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of hours: give more than 0, at most 876000")
    return hours


class Command(HotcellCommand):
    help = "Show how many executions there were of late, how they ended, and what they used."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--hours", type=_hours, default=24.0, help="how far back (default 24)")
        parser.add_argument("--user", metavar="NAME", help="theirs alone")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, **options: Any) -> None:
        found = CodeExecution.objects.recent(hours=options["hours"])
        if options["user"]:
            found = found.for_user(user_named(options["user"]))
        stats = found.stats()
        if options["json"]:
            self.print_json(stats)
        else:
            self.print_page(table(_rows(stats)))


def _rows(stats: dict[str, Any]) -> list[dict[str, str]]:
    by_status = sorted(stats["by_status"].items(), key=lambda item: (-item[1], item[0]))
    figures = {
        "executions": str(stats["executions"]),
        **{f"  {status}": str(number) for status, number in by_status},
        "wall time": duration(stats["total_wall_seconds"]),
        "  mean": duration(stats["mean_wall_seconds"]),
        "  longest": duration(stats["most_wall_seconds"]),
        "CPU time": duration(stats["total_cpu_seconds"]),
        "peak memory": size(stats["most_memory_bytes"]),
        "output": size(stats["total_output_bytes"]),
    }
    return [{"what": what, "amount": amount} for what, amount in figures.items()]

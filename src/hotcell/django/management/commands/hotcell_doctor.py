"""``manage.py hotcell_doctor``: what each alias is on this host, and how to get what is missing."""

from __future__ import annotations

import textwrap
from typing import Any

from django.core.management.base import CommandError, CommandParser

from hotcell.django import conf
from hotcell.django.management.base import HotcellCommand
from hotcell.django.management.examination import AliasReport, examine_alias, is_local, is_met
from hotcell.report import doctor_page
from hotcell.sandboxes.local.doctor import examine
from hotcell.terminal import Style, clean_line


class Command(HotcellCommand):
    help = (
        "Start the sandbox of each alias in HOTCELL_SANDBOXES and show its level and layers; for the local sandbox "
        "also what each layer stops and how to get those that are off. Exits with 1 when an alias cannot be given."
    )
    requires_system_checks = ()  # it is asked when something is wrong

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--using", metavar="ALIAS", help="only this alias")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, **options: Any) -> None:
        names = (options["using"],) if options["using"] else conf.aliases()
        if unknown := set(names) - set(conf.aliases()):
            conf.sandbox_settings(unknown.pop())  # raises, and says which there are
        reports = [examine_alias(name) for name in names]
        host = examine() if any(map(is_local, names)) else None
        if options["json"]:
            aliases = [report.to_dict() for report in reports]
            self.print_json({"aliases": aliases, "host": host.to_dict() if host else None})
        else:
            style = self.style_of(options)
            pages = [_page(report, style) for report in reports]
            self.print_page("\n\n".join([*pages, doctor_page(host, style=style)] if host else pages))
        if bad := [report.alias for report in reports if not report.is_given]:
            raise CommandError(f"No code can be run under {', '.join(map(repr, bad))}: see above.")


def _page(report: AliasReport, style: Style) -> str:
    head = style.good(" on") if report.is_given else style.bad("off")
    lines = [f"{head}  {style.strong(clean_line(report.alias))}  ({clean_line(report.backend) or 'unknown'})"]
    if report.isolation:
        met = "met" if is_met(report) else "not met"
        lines.append(f"  isolation  {report.isolation} (MIN_ISOLATION {report.min_isolation}: {met})")
        lines += _wrapped(f"  layers     {len(report.layers)} on: ", ", ".join(report.layers))
    if report.problem:
        lines += _wrapped("  why        ", report.problem)
    return "\n".join(lines)


def _wrapped(label: str, text: str) -> list[str]:
    return textwrap.wrap(clean_line(text), 78, initial_indent=label, subsequent_indent=" " * 13, break_on_hyphens=False)

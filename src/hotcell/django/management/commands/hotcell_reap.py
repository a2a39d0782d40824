"""``manage.py hotcell_reap``: mark what dead processes left, once or for ever."""

from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import CommandParser
from django.db import InterfaceError, OperationalError, close_old_connections

from hotcell.cli import values
from hotcell.django import services
from hotcell.django.management.base import HotcellCommand


def _period(text: str) -> float:
    seconds: float = values.seconds(text)
    if not 0.1 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError("give from 0.1 to 86400 seconds")
    return seconds


class Command(HotcellCommand):
    help = "Mark executions whose process died as lost, and give back what they had reserved of their users' quotas."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--every", type=_period, metavar="SECONDS", help="do it again and again, until SIGTERM or Ctrl-C"
        )

    def handle(self, **options: Any) -> None:
        if options["every"] is None:
            self._tell(services.reap())
            return
        with _stopped_by_signals() as stop:
            self.print_page(f"Looking every {options['every']:g} s.")
            while not stop.is_set():
                self._round()
                stop.wait(options["every"])

    def _round(self) -> None:
        """A database that is away for a while ends nothing."""
        close_old_connections()
        try:
            if found := services.reap():
                self._tell(found)
        except (OperationalError, InterfaceError) as error:
            self.stderr.write(f"The database could not be asked; the next round will: {error}")
        finally:
            close_old_connections()

    def _tell(self, found: int) -> None:
        self.print_page(f"Marked as lost: {found}.")


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set: the round that is going on is finished first."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

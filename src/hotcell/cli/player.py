"""Plays cells and commands, one after the other, and shows what comes of each."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hotcell.cli.branches import FIRST, Branch, Branches
from hotcell.cli.cells import Cell, Command
from hotcell.cli.commands import LineCommands, Quit
from hotcell.cli.exits import Exit, UsageError, complain, exit_code
from hotcell.cli.files import print_json, reason
from hotcell.cli.live import Live
from hotcell.errors import ConfigurationError, HotcellError, SessionLost
from hotcell.report import answer
from hotcell.results import ExecutionResult, Status
from hotcell.sandboxes.base import Cancellation
from hotcell.terminal import Style, clean_line, table

if TYPE_CHECKING:
    from hotcell.tools import Toolbox

_WIDTH = 78


class Player:
    """Ctrl-C interrupts a cell, and the session lives on."""

    def __init__(
        self, branches: Branches, *, context: Mapping[str, Any], tools: Toolbox | None, keep_going: bool, as_json: bool
    ) -> None:
        self._branches = branches
        self._context = context
        self._tools = tools
        self._keep_going = keep_going
        self._as_json = as_json
        self._style = Style.of(sys.stdout)
        self.code = Exit.OK
        """What the first that was not OK came to; what is typed does not count."""

    def play(self, parts: Iterable[Cell | Command], commands: LineCommands, *, name: str = "") -> bool:
        """All of them, or up to the first that is not OK; ``name`` is their file's, and empty when they are typed.

        Returns whether there may be more.
        """
        for part in parts:
            try:
                code = self._one(part, commands, name)
            except Quit:
                return False
            if not name:
                continue
            self.code = self.code or code
            if code is Exit.CANCELLED or (code and not self._keep_going):
                return False
        return True

    def _one(self, part: Cell | Command, commands: LineCommands, name: str) -> Exit:
        try:
            return self._cell(part, name) if isinstance(part, Cell) else self._command(part, commands)
        except (UsageError, ConfigurationError) as error:
            return self._refused(part, str(error), Exit.USAGE)
        except SessionLost as error:
            return self._refused(part, f"{error} Here: %reset, or %rollback to a checkpoint.", Exit.FAILED)
        except HotcellError as error:
            return self._refused(part, str(error), Exit.FAILED)
        except KeyboardInterrupt:
            return self._refused(part, "interrupted", Exit.CANCELLED)

    def _refused(self, part: Cell | Command, why: str, code: Exit) -> Exit:
        if self._as_json:
            print_json({**_asked(part), "error": why}, indent=None)
        return complain(why, code)

    def _cell(self, cell: Cell, name: str) -> Exit:
        branch = self._branches.current
        number = branch.cells + 1
        if name and not self._as_json:
            self._print_heading(branch, f"{name}:{cell.line}")
        result = self._run(branch, cell.code)
        if result.sandbox:  # it has run, and not just been refused
            branch.cells, branch.is_fresh = number, False
        if self._as_json:
            print_json(result.to_dict(), indent=None)
        elif text := answer(result, number=number, style=self._style):
            print(text, flush=True)
        return exit_code(result)

    def _run(self, branch: Branch, code: bytes) -> ExecutionResult:
        cancellation = Cancellation()
        context = self._context if branch.is_fresh else None
        live = None if self._as_json else Live()
        with (
            _on_interrupt(cancellation),
            branch.session.stream(code, context=context, tools=self._tools, cancellation=cancellation) as stream,
        ):
            try:
                for event in stream:
                    if live:
                        live.show(event)
            finally:
                if live:
                    live.end()
        assert stream.result is not None  # or else it has raised
        if live and stream.result.status is Status.CANCELLED and sys.stdout.isatty():
            print()  # the terminal has written ^C
        return stream.result

    def _print_heading(self, branch: Branch, place: str) -> None:
        where = "" if branch.name == FIRST else f" in {branch.name}"
        text = f"── Cell {branch.cells + 1}{where} ── {clean_line(place)} "
        print(self._style.faint(text + "─" * (_WIDTH - len(text))), flush=True)

    def _command(self, command: Command, commands: LineCommands) -> Exit:
        try:
            told = commands.do(command)
        except OSError as error:
            raise UsageError(f"{command.text}: {reason(error)}") from None
        if self._as_json:
            print_json({**_asked(command), "answer": told}, indent=None)
        else:
            for line in _lines(told):
                print(line, flush=True)
        return Exit.OK


def _asked(part: Cell | Command) -> dict[str, Any]:
    return {"command": part.text} if isinstance(part, Command) else {}


def _lines(told: Any) -> list[str]:
    """A command's answer for people: a sentence, names, or a table."""
    if isinstance(told, str):
        return [clean_line(told)]
    if told and isinstance(told[0], dict):
        return [table(told, most_rows=200, most_width=60)]
    return [clean_line(item) for item in told]


@contextlib.contextmanager
def _on_interrupt(cancellation: Cancellation) -> Iterator[None]:
    """Ctrl-C cancels, instead of raising KeyboardInterrupt somewhere in the middle."""
    before = signal.signal(signal.SIGINT, lambda *_: cancellation.cancel())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)

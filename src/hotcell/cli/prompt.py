"""Cells that a person types: a prompt, more lines until the code is whole, and a history to go back in."""

from __future__ import annotations

import ast
import codeop
import sys
import warnings
from collections.abc import Iterator

from hotcell.cli.branches import FIRST, Branches
from hotcell.cli.cells import Cell, Command, as_command, has_code


def typed(branches: Branches) -> Iterator[Cell | Command]:
    """What is typed, until Ctrl-D; Ctrl-C forgets what was typed so far."""
    _prepare()
    while True:
        try:
            text = _read(_prompt(branches))
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            print()
            continue
        code = text.encode(errors="surrogateescape")
        command = as_command(code, at_start=True)
        if command:
            yield Command(text=command)
        elif has_code(code.splitlines()):
            yield Cell(code=code)


def _prompt(branches: Branches) -> str:
    branch = branches.current
    return f"{'' if branch.name == FIRST else branch.name + ' '}In [{branch.cells + 1}]: "


def _read(prompt: str) -> str:
    lines = [input(prompt)]
    more = "...: ".rjust(len(prompt))
    while not _is_whole(lines):
        lines.append(input(more))
    return "\n".join(lines)


def _is_whole(lines: list[str]) -> bool:
    """Whether this can be run; what is wrong is whole as well, and the session says what is wrong with it."""
    if as_command(lines[0].encode(errors="replace"), at_start=True):
        return True
    compiler = codeop.CommandCompiler()
    compiler.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return compiler("\n".join(lines)) is not None
        except Exception:  # noqa: BLE001  # a syntax error, a null byte, too deep a nesting
            return True


def _prepare() -> None:
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="surrogateescape")  # the session says what is wrong with them
    try:
        import readline
    except ImportError:
        return
    readline.parse_and_bind("tab: tab-insert")

"""A file or a pipe as cells and commands, in order: ``# %%`` begins a cell, a line ``%name`` is a command."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hotcell.cli.exits import UsageError
from hotcell.cli.files import MOST_SOURCE_BYTES

COMMANDS = {
    "checkpoint": ("", "remember this moment's memory and files"),
    "rollback": ("", "go back to the last checkpoint"),
    "fork": ("[N]", "make N copies of it (one by default) and say their names"),
    "use": ("[NAME]", "go on in another one; without a name, list them"),
    "close": ("NAME", "end one that is not in use"),
    "files": ("", "list the files in the work directory"),
    "save": ("NAME PATH", "copy a file of the work directory to PATH out here"),
    "load": ("NAME PATH", "put a copy of PATH into the work directory as NAME"),
    "reset": ("", "begin again: a new session in the place of this one"),
    "help": ("", "show this list"),
    "quit": ("", "end"),
}
"""What each takes, and what it does."""

_SEPARATOR = re.compile(rb"#[ \t]?%%(?P<title>.*)", re.DOTALL)
_PROSE = re.compile(rb"\[(markdown|md|raw)\]")
_COMMAND = re.compile(rb"%([A-Za-z]+)(?=\s|$)")
_NO_CODE = re.compile(rb"\s*(#.*)?", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Some code."""

    code: bytes
    line: int = 0
    """Where it begins in its file, 1-based; 0 when it was typed."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """A line for the session rather than for the code in it."""

    text: str
    """As it was written, such as ``%fork 2``."""
    line: int = 0
    """As in ``Cell``."""

    @property
    def words(self) -> list[str]:
        """``fork`` and ``2``; quotes hold a word with spaces together. Raises UsageError."""
        import shlex

        try:
            return shlex.split(self.text.removeprefix("%"))
        except ValueError as error:
            raise UsageError(f"{self.text}: {str(error).lower()}") from None


def split(lines: Iterable[bytes], name: str) -> Iterator[Cell | Command]:
    """The cells and commands of a file, each as soon as its end has been read; those without code are passed over.

    Raises UsageError for a cell that is too large to be code.
    """
    gathered: list[bytes] = []
    size, first, is_prose = 0, 1, False
    for number, line in enumerate(lines, start=1):
        separator = _SEPARATOR.match(line)
        command = None if is_prose else as_command(line, at_start=not has_code(gathered))
        if not (separator or command):
            gathered.append(line)
            size += len(line)
            if size > MOST_SOURCE_BYTES:
                raise UsageError(f"{name!r} has a cell larger than 64 MiB: that is data rather than code")
            continue
        if has_code(gathered) and not is_prose:
            yield Cell(code=b"".join(gathered), line=first)
        if command:
            yield Command(text=command, line=number)
        gathered, size, first = [], 0, number + 1
        is_prose = bool(separator and _PROSE.search(separator["title"]))
    if has_code(gathered) and not is_prose:
        yield Cell(code=b"".join(gathered), line=first)


def as_command(line: bytes, *, at_start: bool) -> str | None:
    """The command that the line is. Within a cell only a known one is: there, a line may well begin with ``%``."""
    match = _COMMAND.match(line)
    if not match or not (at_start or match[1].decode() in COMMANDS):
        return None
    return line.decode(errors="replace").strip()


def has_code(lines: Iterable[bytes]) -> bool:
    """False for blank lines and comments alone."""
    return any(not _NO_CODE.fullmatch(line) for line in lines)

"""What the lines that begin with ``%`` do: each returns what there is to say, as JSON data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hotcell.cli.branches import Branches
from hotcell.cli.cells import COMMANDS, Command
from hotcell.cli.exits import UsageError
from hotcell.cli.saving import save_as


class Quit(Exception):
    """There shall be no more cells."""


class LineCommands:
    """Carries them out on the session that is in use."""

    def __init__(self, branches: Branches, *, no_copies: str = "", host_files: bool = False) -> None:
        """``no_copies``: why a session cannot be copied here; empty if it can. ``host_files``: let them touch ours."""
        self._branches = branches
        self._no_copies = no_copies
        self._host_files = host_files

    def do(self, command: Command) -> Any:
        """Raises Quit, UsageError, OSError and HotcellError."""
        name, *given = command.words
        if name not in COMMANDS:
            raise UsageError(f"there is no command %{name}: see %help")
        parameters = COMMANDS[name][0].split()
        least = sum(not parameter.startswith("[") for parameter in parameters)
        if not least <= len(given) <= len(parameters):
            raise UsageError(f"%{name} takes {' '.join(parameters) or 'nothing'}, not {' '.join(given) or 'nothing'}")
        return getattr(self, f"_{name}")(*given)

    def _checkpoint(self) -> str:
        self._need_copies()
        self._branches.checkpoint()
        return "remembered: %rollback comes back here"

    def _rollback(self) -> str:
        self._branches.rollback()
        return "back at the checkpoint"

    def _fork(self, count: str = "1") -> list[str]:
        self._need_copies()
        if not (count.isascii() and count.isdecimal() and len(count) < 10):
            raise UsageError(f"%fork {count}: give a whole number")
        return self._branches.fork(int(count))

    def _use(self, name: str = "") -> Any:
        if name:
            self._branches.use(name)
            return f"in {name}"
        current = self._branches.current
        return [
            {"session": item.name, "cells": item.cells, "in use": "*" if item is current else ""}
            for item in self._branches
        ]

    def _close(self, name: str) -> str:
        self._branches.close(name)
        return f"{name} is closed"

    def _files(self) -> list[dict[str, Any]]:
        return [{"name": entry.name, "size": entry.size} for entry in self._branches.current.session.files.list()]

    def _save(self, name: str, path: str) -> str:
        self._need_host_files("save")
        content = self._branches.current.session.files.read(name)
        return f"{name} -> {save_as(content, os.path.expanduser(path), name)}"

    def _load(self, name: str, path: str) -> str:
        self._need_host_files("load")
        self._branches.current.session.files.write(name, Path(path).expanduser())
        return f"{path} -> {name}"

    def _reset(self) -> str:
        self._branches.reset()
        return "a new session"

    def _help(self) -> list[dict[str, str]]:
        return [{"command": f"%{name} {takes}", "does": does} for name, (takes, does) in COMMANDS.items()]

    def _quit(self) -> None:
        raise Quit

    def _need_copies(self) -> None:
        if self._no_copies:
            raise UsageError(self._no_copies)

    def _need_host_files(self, name: str) -> None:
        if not self._host_files:
            raise UsageError(
                f"%{name} reaches your files, and cells may be somebody else's words: type it at the prompt, or allow "
                "it with --host-files"
            )

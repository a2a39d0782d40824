"""What a language needs of this host: its programs, found on the PATH, and all that its cells' root must show."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import Any

from hotcell.errors import SandboxUnavailable
from hotcell.languages import Language


@dataclass(frozen=True, kw_only=True)
class Toolbox:
    """A language as this host has it."""

    program: str
    """Where its interpreter is."""
    programs: dict[str, str]
    """Every program its cells see: the place where it is looked for, and the file that is there."""
    paths: tuple[str, ...]
    own_memory_bytes: int
    """What its interpreter holds by itself."""
    spec: dict[str, Any]
    """What ``worker.programs.Program`` needs to know, as JSON data."""


def find(language: Language) -> Toolbox:
    """Raises SandboxUnavailable when the host lacks the interpreter."""
    own = {word[0] for word in (language.command, language.check) if word}
    places = {name: _place(name) for name in sorted(own | set(language.tools))}
    for name in own:
        if not places[name]:
            raise SandboxUnavailable(
                f"This host has no program {name!r}, which {language.title} needs: install it, so that it is on the "
                "PATH of the application."
            )
    found = {name: place for name, place in places.items() if place}
    return Toolbox(
        program=found[language.command[0]],
        programs={place: os.path.realpath(place) for place in found.values()},
        paths=tuple(path for path in language.paths if os.path.exists(path)),
        own_memory_bytes=language.own_memory_bytes,
        spec={
            "command": _with_place(language.command, found),
            "check": _with_place(language.check, found),
            "suffix": language.suffixes[0],
            "prelude": language.prelude,
            "environment": {"PATH": _search_path(found)} | dict(language.environment),
            "starts_ahead": language.starts_ahead,
            "shell_variables": language.shell_variables,
        },
    )


def _place(name: str) -> str:
    """Where the program is, by a path without links but perhaps its last part; empty when it is nowhere."""
    found = shutil.which(name)
    return os.path.join(os.path.realpath(os.path.dirname(found)), os.path.basename(found)) if found else ""


def _with_place(command: tuple[str, ...], found: dict[str, str]) -> list[str]:
    return [found[command[0]], *command[1:]] if command else []


def _search_path(found: dict[str, str]) -> str:
    return ":".join(dict.fromkeys([*map(os.path.dirname, found.values()), "/usr/bin", "/bin"]))

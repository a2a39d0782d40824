"""What this host can give: found by starting a fork server and closing a real cell, not by reading settings."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict, dataclass
from typing import Any

from hotcell import languages
from hotcell.config import SandboxConfig
from hotcell.errors import HotcellError, SandboxUnavailable
from hotcell.languages import Language
from hotcell.results import IsolationLevel, Status
from hotcell.sandboxes.base import RunRequest
from hotcell.sandboxes.local import landlock, toolbox
from hotcell.sandboxes.local.layers import LAYERS
from hotcell.sandboxes.local.sandbox import LocalSandbox


@dataclass(frozen=True, kw_only=True)
class LayerReport:
    """One layer on this host."""

    id: str
    title: str
    stops: str
    on: bool
    detail: str
    """What kind of it this host has; empty when there is one kind."""
    remedy: str
    """How to get it; empty when it is on."""


@dataclass(frozen=True, kw_only=True)
class LanguageReport:
    """One language on this host."""

    name: str
    title: str
    on: bool
    """True when a program of it ran in a cell."""
    version: str
    """As that program said; empty when it is off."""
    path: str
    """Where the interpreter is; empty when there is none."""
    problem: str
    """Why it is off; empty when it is on."""
    missing: tuple[str, ...]
    """The layers that Python's cells have here and this language's have not."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """All layers on this host, and the level they make."""

    level: IsolationLevel
    """The best that a cell really got; ``none`` when none could be closed."""
    problem: str
    """Why no higher level came about; empty at level namespace."""
    layers: tuple[LayerReport, ...]
    languages: tuple[LanguageReport, ...]
    kernel: str
    python: str
    user: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        lists = {name: [asdict(item) for item in getattr(self, name)] for name in ("layers", "languages")}
        return {**asdict(self), "level": self.level.value, **lists}


def examine() -> Report:
    """Close and run one cell at the best level there is. Never raises for what the host lacks."""
    level, active, problems = IsolationLevel.NONE, frozenset[str](), []
    for wanted in (IsolationLevel.NAMESPACE, IsolationLevel.PROCESS):
        try:
            active = _prove(wanted)
        except HotcellError as error:
            problems.append(str(error))
        else:
            level = wanted
            break
    return Report(
        level=level,
        problem=" ".join(problems),
        layers=tuple(
            LayerReport(
                id=layer.id,
                title=layer.title,
                stops=layer.stops,
                on=layer.id in active,
                detail=_detail(layer.id, layer.id in active),
                remedy="" if layer.id in active else layer.remedy,
            )
            for layer in LAYERS
        ),
        languages=(_python(level, problems), *(_examine_language(item, level, active) for item in languages.known())),
        kernel=platform.release(),
        python=sys.version.split()[0],
        user=os.geteuid(),
    )


def _detail(layer: str, on: bool) -> str:
    if layer == "landlock" and on:
        return f"ABI version {landlock.version()}"
    if layer == "memory-group" and not on:
        return "A watchdog samples the cell's processes instead."
    return ""


def _python(level: IsolationLevel, problems: list[str]) -> LanguageReport:
    on = level is not IsolationLevel.NONE
    return LanguageReport(
        name=languages.PYTHON,
        title="Python",
        on=on,
        version=sys.version.split()[0] if on else "",
        path=sys.executable,
        problem="" if on else " ".join(problems),
        missing=(),
    )


def _examine_language(language: Language, level: IsolationLevel, active: frozenset[str]) -> LanguageReport:
    """Run the program that prints the version, in a cell."""
    version = path = problem = ""
    missing: frozenset[str] = frozenset()
    try:
        path = toolbox.find(language).program
        if level is not IsolationLevel.NAMESPACE:
            raise SandboxUnavailable("It needs level namespace: at level process a cell may start no other program.")
        version, layers = _ask_version(language)
        missing = active - layers
    except HotcellError as error:
        problem = str(error)
    return LanguageReport(
        name=language.name,
        title=language.title,
        on=not problem,
        version=version,
        path=path,
        problem=problem,
        missing=tuple(layer.id for layer in LAYERS if layer.id in missing),
    )


def _ask_version(language: Language) -> tuple[str, frozenset[str]]:
    """What it says of its version, cleaned, and the layers around it. Raises HotcellError."""
    with LocalSandbox(isolation=IsolationLevel.NAMESPACE, pool_size=0) as sandbox:
        own = sandbox.for_language(language.name)
        outcome = own.run(RunRequest(code=language.version_code, config=SandboxConfig()))
        if outcome.status is not Status.OK:
            raise HotcellError(f"It ended in {outcome.status}: {outcome.reason} {outcome.stderr[:200]}".strip())
        words = "".join(character for character in outcome.stdout if character.isprintable())
        return words[:80], frozenset(own.info.layers)


def _prove(level: IsolationLevel) -> frozenset[str]:
    """The layers of a cell that was closed and ran. Raises HotcellError with what is missing."""
    rules: dict[str, Any] = {
        "policy": "permissive",
        "imports_allowed": None,
        "imports_denied": [],
        "builtins_denied": [],
    }
    with LocalSandbox(isolation=level, pool_size=0) as sandbox:
        outcome = sandbox.run(RunRequest(code="1 + 1", config=SandboxConfig(), namespace=rules))
        if outcome.status is not Status.OK:
            raise HotcellError(f"A cell was closed, but 1 + 1 ended in {outcome.status}: {outcome.reason}")
        return frozenset(sandbox.info.layers)

"""What this host can give: found by starting a fork server and closing a real cell, not by reading settings."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict, dataclass
from typing import Any

from hotcell.config import SandboxConfig
from hotcell.errors import HotcellError
from hotcell.results import IsolationLevel, Status
from hotcell.sandboxes.base import RunRequest
from hotcell.sandboxes.local import landlock
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
class Report:
    """All layers on this host, and the level they make."""

    level: IsolationLevel
    """The best that a cell really got; ``none`` when none could be closed."""
    problem: str
    """Why no higher level came about; empty at level namespace."""
    layers: tuple[LayerReport, ...]
    kernel: str
    python: str
    user: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {**asdict(self), "level": self.level.value, "layers": [asdict(layer) for layer in self.layers]}


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

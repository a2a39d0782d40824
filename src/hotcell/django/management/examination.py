"""What each alias of HOTCELL_SANDBOXES is on this host, found by starting it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from hotcell.django import conf
from hotcell.django.executors import executors
from hotcell.errors import HotcellError
from hotcell.results import IsolationLevel


@dataclass(frozen=True, kw_only=True)
class AliasReport:
    """One alias on this host."""

    alias: str
    backend: str
    """Dotted path of its class; empty when the settings cannot be read."""
    min_isolation: str
    """What the settings ask for; empty when they cannot be read."""
    isolation: str
    """What this host gives; empty when it gives none of it."""
    layers: tuple[str, ...]
    problem: str
    """Why no code can be run under it; empty when it can."""

    @property
    def is_given(self) -> bool:
        """Whether code can be run under it."""
        return not self.problem

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {**asdict(self), "layers": list(self.layers), "is_given": self.is_given}


def examine_alias(alias: str) -> AliasReport:
    """Start its sandbox and look. Never raises for what the settings or the host lack."""
    backend = least = isolation = problem = ""
    layers: tuple[str, ...] = ()
    try:
        entry = conf.sandbox_settings(alias)
        backend, least = str(entry.backend), entry.min_isolation.value
        info = executors[alias].sandbox.info
        isolation, layers = info.isolation.value, info.layers
        if info.isolation < entry.min_isolation:
            problem = f"Its level here is {isolation}, and MIN_ISOLATION asks for {least}."
    except HotcellError as error:
        problem = str(error)
    except Exception as error:  # noqa: BLE001 - a project's own backend, or a wrong OPTIONS, may raise anything
        problem = f"{type(error).__name__}: {error}"
    return AliasReport(
        alias=alias, backend=backend, min_isolation=least, isolation=isolation, layers=layers, problem=problem
    )


def is_local(alias: str) -> bool:
    """Whether its sandbox is the one that has layers to report on. False where the settings cannot be read."""
    from hotcell.sandboxes.local.sandbox import LocalSandbox

    try:
        kind: object = conf.sandbox_settings(alias).sandbox_class
    except Exception:  # noqa: BLE001 - as above; examine_alias says which
        return False
    return isinstance(kind, type) and issubclass(kind, LocalSandbox)


def is_met(report: AliasReport) -> bool:
    """Whether the level that is asked for is there."""
    return bool(report.isolation) and IsolationLevel(report.isolation) >= IsolationLevel(report.min_isolation)

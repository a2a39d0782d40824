"""What a stream tells while code runs: frozen data, each with ``to_dict`` for a queue or a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from hotcell.results import ExecutionResult


@dataclass(frozen=True, kw_only=True)
class Event:
    """What all events have in common."""

    kind: ClassVar[str]
    """The word for it in JSON."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data: ``{"type": ..., ...}``."""
        return {"type": self.kind, **{field.name: getattr(self, field.name) for field in fields(self)}}


@dataclass(frozen=True, kw_only=True)
class Started(Event):
    """The first event of every stream."""

    kind: ClassVar[str] = "started"
    execution_id: str
    """Unique; the result has it too."""
    code_sha256: str
    """SHA-256 of the code's UTF-8 bytes, in hex."""


@dataclass(frozen=True, kw_only=True)
class Stdout(Event):
    """A piece of what it printed."""

    kind: ClassVar[str] = "stdout"
    text: str
    """Cleaned and redacted; cut anywhere, but never within a secret."""


@dataclass(frozen=True, kw_only=True)
class Stderr(Event):
    """A piece of what it printed to stderr."""

    kind: ClassVar[str] = "stderr"
    text: str
    """As in ``Stdout``."""


@dataclass(frozen=True, kw_only=True)
class Display(Event):
    """A plot, a table or anything else that it showed."""

    kind: ClassVar[str] = "display"
    data: Mapping[str, Any]
    """MIME type -> text, Base64 text for images, or JSON data."""
    active: tuple[str, ...]
    """The MIME types in ``data`` that may do more than show something: show those in a sandboxed frame only."""

    def to_dict(self) -> dict[str, Any]:
        return {"type": self.kind, "data": dict(self.data), "active": list(self.active)}


@dataclass(frozen=True, kw_only=True)
class ToolCall(Event):
    """It calls a function of the host."""

    kind: ClassVar[str] = "tool_call"
    number: int
    """From 1, in the order of the calls."""
    name: str
    arguments: Mapping[str, Any]
    """By name, as JSON data."""


@dataclass(frozen=True, kw_only=True)
class ToolReturn(Event):
    """That call has come back."""

    kind: ClassVar[str] = "tool_return"
    number: int
    name: str
    outcome: str
    """``ok``, ``error``, ``timeout`` or ``refused``."""
    error: str
    """What went wrong; empty when nothing did."""
    seconds: float
    """How long it took on the host."""


@dataclass(frozen=True, kw_only=True)
class Finished(Event):
    """The last event of every stream."""

    kind: ClassVar[str] = "finished"
    result: ExecutionResult
    """All of it, as ``execute`` would have returned it."""

    def to_dict(self) -> dict[str, Any]:
        return {"type": self.kind, "result": self.result.to_dict()}

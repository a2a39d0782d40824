"""What an execution came to: one frozen object, the same in Python, JSON, a database row and a queue."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from hotcell.decode import decode

SCHEMA_VERSION = 1


class Status(enum.StrEnum):
    """How an execution ended. Closed: every path ends in one of these."""

    OK = "ok"
    """The code ran to its end."""
    ERROR = "error"
    """The code raised an exception, or exited with a code other than zero."""
    REJECTED = "rejected"
    """A validator refused the code; nothing ran."""
    TIMEOUT = "timeout"
    """The wall clock or the CPU time ran out."""
    MEMORY_LIMIT = "memory_limit"
    """It wanted more memory than it may have."""
    OUTPUT_LIMIT = "output_limit"
    """It wrote more output than it may."""
    KILLED = "killed"
    """A signal ended it: a crash, its own doing, or a forbidden system call."""
    CANCELLED = "cancelled"
    """The caller gave up on it."""
    FAILED = "failed"
    """Our own failure; recorded here and raised as an exception."""


class IsolationLevel(enum.StrEnum):
    """How thick the wall is; ordered from none upwards."""

    NONE = "none"
    PROCESS = "process"
    NAMESPACE = "namespace"
    CONTAINER = "container"
    GVISOR = "gvisor"
    MICROVM = "microvm"
    REMOTE = "remote"

    @property
    def rank(self) -> int:
        return list(type(self)).index(self)

    # StrEnum would compare alphabetically. A word stands for its level; one that is no level raises ValueError.
    def __lt__(self, other: str) -> bool:
        return self.rank < IsolationLevel(other).rank

    def __gt__(self, other: str) -> bool:
        return self.rank > IsolationLevel(other).rank

    def __le__(self, other: str) -> bool:
        return self.rank <= IsolationLevel(other).rank

    def __ge__(self, other: str) -> bool:
        return self.rank >= IsolationLevel(other).rank


class Severity(enum.StrEnum):
    """What a rule does when it matches."""

    ERROR = "error"
    """The code is refused."""
    WARNING = "warning"
    """The code runs; the finding is reported."""


@dataclass(frozen=True, kw_only=True)
class Violation:
    """One finding of a validator, written so that the author of the code (often an LLM) can act on it."""

    rule: str
    """The rule's id, such as ``import.denied``."""
    severity: Severity
    line: int
    """1-based; 0 when the finding is about the whole source."""
    column: int
    """1-based, in characters; 0 when unknown."""
    message: str
    """What is wrong, in one sentence."""
    fix: str = ""
    """What to write instead."""
    source_line: str = ""
    """The offending line, shortened."""


@dataclass(frozen=True, kw_only=True)
class ErrorInfo:
    """The exception the code ended with, as told from inside the cell."""

    type: str
    message: str
    traceback: str = ""
    """As Python prints it, with the user's own line numbers and without our frames."""
    line: int = 0
    """The innermost line of the user's code, 1-based; 0 when unknown."""
    cell: int = 0
    """The cell of the session that this line is in, 1-based; 0 outside of sessions and when unknown."""
    source_line: str = ""


@dataclass(frozen=True, kw_only=True)
class Redaction:
    """A secret that was taken out of the output."""

    kind: str
    """The rule that found it, such as ``aws-access-key``."""
    where: str
    """``stdout``, ``stderr``, ``value``, ``error`` or ``artifact:NAME``."""
    count: int = 1


@dataclass(frozen=True, kw_only=True)
class Display:
    """One thing that the code showed, in one or more forms to choose from."""

    data: Mapping[str, Any]
    """By MIME type: text, JSON data, or an image as Base64 text."""
    active: tuple[str, ...] = ()
    """The MIME types in ``data`` that may do more than show something: show those in a sandboxed frame only."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {"data": dict(self.data), "active": list(self.active)}


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """A call of a host tool, and what came of it."""

    number: int
    """From 1, in the order of the calls."""
    name: str
    """The tool's, as the code asked for it."""
    arguments: Mapping[str, Any]
    """By name, as JSON data; a large one is the beginning of its JSON text."""
    outcome: str
    """``ok``, ``error`` (it raised), ``timeout``, ``refused`` (it was never called) or ``abandoned`` (the cell ended
    before the answer came)."""
    value: Any = None
    """What it returned, as JSON data, shortened like the arguments."""
    error: str = ""
    """Type and message of what went wrong, as the code got to see it; empty when nothing did."""
    seconds: float = 0.0
    """How long it took on the host."""


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A file the code left in its work directory."""

    name: str
    """Relative, with ``/`` between parts, safe to join to a directory."""
    size: int
    sha256: str
    media_type: str = "application/octet-stream"
    """Its MIME type by what is in it, not by its name."""
    content: bytes = field(repr=False, default=b"")

    def save(self, directory: str | Path) -> Path:
        """Write it below ``directory`` (made if missing) and return where. An existing file is replaced.

        Never writes through a link: neither one that stands in the file's place nor one that leads out of
        ``directory``. Raises ValueError for a name that leads out, OSError when the file cannot be written.
        """
        target = Path(directory) / self.name
        root = Path(directory).resolve()
        if target.name in ("", "..") or not target.parent.resolve().is_relative_to(root):
            raise ValueError(f"The artifact's name {self.name!r} leads out of {str(directory)!r}.")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        with target.open("xb") as stream:  # x: what appears there in the meantime is not followed
            stream.write(self.content)
        return target


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What it used, measured from outside the cell."""

    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0
    """The most it held at once on top of the preloaded heap."""
    processes: int = 0
    """The most processes seen at once, itself included."""
    output_bytes: int = 0
    """stdout and stderr together, before redaction and truncation."""


@dataclass(frozen=True, kw_only=True)
class Timings:
    """How long each step of the pipeline took, in seconds."""

    admit_seconds: float = 0.0
    syntax_seconds: float = 0.0
    policy_seconds: float = 0.0
    cache_seconds: float = 0.0
    """Making the key and looking it up."""
    acquire_seconds: float = 0.0
    run_seconds: float = 0.0
    output_seconds: float = 0.0
    total_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class SandboxInfo:
    """Where it ran and what stood around it."""

    name: str
    isolation: IsolationLevel
    layers: tuple[str, ...] = ()
    """The ids of the layers that were on, outermost first."""


@dataclass(frozen=True, kw_only=True)
class ExecutionResult:
    """Everything there is to say about one execution."""

    status: Status
    reason: str
    """One sentence: why this status, and which layer decided."""
    decided_by: str
    """Who decided: ``admit``, ``syntax``, ``policy``, ``code``, ``limits``, ``kernel``, ``caller`` or ``sandbox``."""
    stdout: str = ""
    stderr: str = ""
    value: Any = None
    """The last expression, or the variable ``result``, as JSON data; None when there is none."""
    value_repr: str | None = None
    """``repr`` of that value, shortened; None when there is none."""
    displays: tuple[Display, ...] = ()
    """Plots, tables and whatever else it showed, in order."""
    error: ErrorInfo | None = None
    violations: tuple[Violation, ...] = ()
    redactions: tuple[Redaction, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    """The host tools that it called, in order."""
    artifacts: tuple[Artifact, ...] = ()
    notes: tuple[str, ...] = ()
    """Remarks from our side: output cut, a file not collected and why, processes that were ended."""
    usage: Usage = field(default_factory=Usage)
    timings: Timings = field(default_factory=Timings)
    sandbox: SandboxInfo | None = None
    """None when nothing ran."""
    language: str = "python"
    """The language that the code is in."""
    execution_id: str = ""
    code_sha256: str = ""
    """SHA-256 of the code's UTF-8 bytes, in hex."""
    cached: bool = False
    """True when it was read from the cache: ``usage`` is then that of the run that was stored."""

    @property
    def success(self) -> bool:
        """True only for ``Status.OK``."""
        return self.status is Status.OK

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; an artifact's bytes are left out. Its shape is documented in docs/reference/result.md."""
        data: dict[str, Any] = {"schema": SCHEMA_VERSION, "success": self.success}
        for name in self.__dataclass_fields__:
            data[name] = getattr(self, name)
        data["status"] = self.status.value
        data["displays"] = [item.to_dict() for item in self.displays]
        data["error"] = asdict(self.error) if self.error else None
        data["violations"] = [{**asdict(item), "severity": item.severity.value} for item in self.violations]
        data["redactions"] = [asdict(item) for item in self.redactions]
        data["artifacts"] = [
            {"name": item.name, "size": item.size, "sha256": item.sha256, "media_type": item.media_type}
            for item in self.artifacts
        ]
        data["tool_calls"] = [asdict(item) for item in self.tool_calls]
        data["notes"] = list(self.notes)
        data["usage"] = asdict(self.usage)
        data["timings"] = asdict(self.timings)
        if self.sandbox:
            data["sandbox"] = {
                "name": self.sandbox.name,
                "isolation": self.sandbox.isolation.value,
                "layers": list(self.sandbox.layers),
            }
        return data

    def to_json(self, *, indent: int | None = None) -> str:
        """``to_dict`` as JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, indent=indent)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The result that ``to_dict`` described, its artifacts without their bytes. Raises ValueError for any other."""
        schema = data.get("schema") if isinstance(data, Mapping) else None
        if schema != SCHEMA_VERSION:
            raise ValueError(f"This is not a result of schema {SCHEMA_VERSION}, but {schema!r}.")
        return decode(cls, dict(data))


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """What the validators say of a piece of code; nothing was run."""

    violations: tuple[Violation, ...]
    code_sha256: str
    policy: str
    syntax_seconds: float = 0.0
    policy_seconds: float = 0.0

    @property
    def accepted(self) -> bool:
        """True when no violation is an error."""
        return all(item.severity is not Severity.ERROR for item in self.violations)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "schema": SCHEMA_VERSION,
            "accepted": self.accepted,
            "policy": self.policy,
            "code_sha256": self.code_sha256,
            "violations": [{**asdict(item), "severity": item.severity.value} for item in self.violations],
            "timings": {"syntax_seconds": self.syntax_seconds, "policy_seconds": self.policy_seconds},
        }

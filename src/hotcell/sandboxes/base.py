"""What every sandbox is: a place where one prepared piece of code runs once, and what came of it."""

from __future__ import annotations

import contextlib
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from hotcell.config import SandboxConfig
from hotcell.determinism import Deterministic
from hotcell.results import Artifact, ErrorInfo, IsolationLevel, SandboxInfo, Status, Usage


class Cancellation:
    """Lets another thread give up on one execution. Safe to call from anywhere, any number of times."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._actions: list[Callable[[], None]] = []
        self.cancelled = False

    def cancel(self) -> None:
        """End the execution as soon as possible; its status becomes CANCELLED."""
        with self._lock:
            self.cancelled = True
            actions, self._actions = self._actions, []
        with contextlib.ExitStack() as stack:  # all of them, also when one raises
            for action in reversed(actions):
                stack.callback(action)

    def on_cancel(self, action: Callable[[], None]) -> None:
        """Call ``action`` when cancelled; at once if that has already happened."""
        with self._lock:
            if not self.cancelled:
                self._actions.append(action)
                return
        action()


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """One piece of code that the validators have passed, and what it is to be given."""

    code: str
    config: SandboxConfig
    namespace: Mapping[str, Any] = field(default_factory=dict)
    """What the worker's restricted namespace and import hook need: ``Policy.namespace_rules()``."""
    context: Mapping[str, Any] = field(default_factory=dict)
    """Variables the code finds defined: JSON data."""
    files: Mapping[str, bytes | os.PathLike[str]] = field(default_factory=dict)
    """Files put into its work directory: content, or a path on the host that is copied."""
    artifacts: tuple[str, ...] = ()
    """Globs of the files to bring back from the work directory; empty brings back none."""
    deterministic: Deterministic | None = None
    """Make a second run come to the same; only for a sandbox that ``supports_determinism``."""
    filename: str = "<cell>"
    """The name that tracebacks show."""
    cancellation: Cancellation = field(default_factory=Cancellation)


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """What came of it, before the output check. ``status`` and ``usage`` are ours, the rest is hostile data."""

    status: Status
    reason: str
    decided_by: str
    stdout: str = ""
    stderr: str = ""
    value: Any = None
    value_repr: str | None = None
    error: ErrorInfo | None = None
    artifacts: tuple[Artifact, ...] = ()
    notes: tuple[str, ...] = ()
    reproducible: bool = False
    """The cell's own word that it was deterministic and did nothing that a second run may do otherwise."""
    usage: Usage = field(default_factory=Usage)
    acquire_seconds: float = 0.0
    run_seconds: float = 0.0


class Sandbox(ABC):
    """One wall. Thread-safe: many threads may call ``run`` at once. A context manager; ``close`` ends everything."""

    name: ClassVar[str]
    """The word that ``--sandbox`` and settings use."""

    required_policy: ClassVar[str | None] = None
    """The name of the only policy it accepts; None means any."""

    @property
    @abstractmethod
    def info(self) -> SandboxInfo:
        """Where code runs and which layers are on. Raises SandboxUnavailable when the host cannot give them."""

    @property
    def supports_determinism(self) -> bool:
        """True when code can be run so that a second run comes to the same result."""
        return False

    @property
    def identity(self) -> Mapping[str, Any]:
        """What its results depend on besides the request and ``info``, as JSON data; asked where it
        ``supports_determinism``. Raises as ``info`` does."""
        return {}

    @property
    def isolation(self) -> IsolationLevel:
        """How thick the wall is."""
        return self.info.isolation

    @abstractmethod
    def run(self, request: RunRequest) -> RunOutcome:
        """Run the code once. Raises SandboxError for our own failures, never for what the code does."""

    @abstractmethod
    def close(self) -> None:
        """End every process and remove every trace. May be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

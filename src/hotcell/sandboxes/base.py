"""What every sandbox is: a place where one prepared piece of code runs once, and what came of it."""

from __future__ import annotations

import contextlib
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from hotcell import languages
from hotcell.config import SandboxConfig
from hotcell.determinism import Deterministic
from hotcell.errors import ConfigurationError
from hotcell.languages import PYTHON
from hotcell.results import Artifact, ErrorInfo, IsolationLevel, SandboxInfo, Status, Usage

if TYPE_CHECKING:
    from hotcell.sandboxes.files import WorkFiles


class Cancellation:
    """Lets another thread give up on one execution. Safe to call from anywhere, any number of times."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a stream that is let go of, anywhere, cancels
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


class Observer(Protocol):
    """Hears what a cell does while it does it. Called by the thread that runs the execution; must not wait."""

    def output(self, stream: str, data: bytes) -> None:
        """A piece of ``stdout`` or ``stderr``, as it came."""

    def display(self, bundle: Mapping[str, Any]) -> None:
        """A MIME bundle that the code shows."""

    def tool_called(self, call: Mapping[str, Any]) -> None:
        """A tool is being called: ``number``, ``name``, ``arguments``."""

    def tool_returned(self, record: Mapping[str, Any]) -> None:
        """That call has its answer: ``number``, ``name``, ``outcome``, ``error``, ``seconds``."""

    def tick(self) -> None:
        """Called 50 times a second, whether the cell is silent or not."""

    def is_behind(self) -> bool:
        """True while its reader is too slow: the cell is not read from, and its clock stands still for a while."""


class ToolHost(Protocol):
    """The host functions that one execution may call."""

    def announce(self) -> list[dict[str, Any]]:
        """What the worker needs to make functions of them: JSON data."""

    def start(
        self, call: Mapping[str, Any], done: Callable[[Mapping[str, Any] | None, bytes], None]
    ) -> Mapping[str, Any] | None:
        """Begin a call that a worker asks for, which is hostile data; returns at once what is known of the call.

        ``done`` gets what came of it and the answer, JSON, from any thread, exactly once. What is known, and what came
        of it, are None for a call too many to be told of.
        """

    @property
    def is_working(self) -> bool:
        """True while at least one call is under way."""


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
    mounted: frozenset[str] = frozenset()
    """Names of files that are there already and cannot be changed."""
    artifacts: tuple[str, ...] = ()
    """Globs of the files to bring back from the work directory; empty brings back none."""
    deterministic: Deterministic | None = None
    """Make a second run come to the same; only for a sandbox that ``supports_determinism``."""
    filename: str = "<cell>"
    """The name that tracebacks show; a session's cells are named by their number instead."""
    number: int = 0
    """The cell's number in its session, from 1."""
    tools: ToolHost | None = None
    """Functions of the host that the code finds defined."""
    observer: Observer | None = None
    """Who hears what happens before it is over."""
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
    displays: tuple[Mapping[str, Any], ...] = ()
    """MIME bundles as the worker sent them."""
    artifacts: tuple[Artifact, ...] = ()
    notes: tuple[str, ...] = ()
    reproducible: bool = False
    """The cell's own word that it was deterministic and did nothing that a second run may do otherwise."""
    usage: Usage = field(default_factory=Usage)
    acquire_seconds: float = 0.0
    run_seconds: float = 0.0


class SandboxSession(ABC):
    """A cell that lives through many runs of one caller. One run at a time; ``close`` may come from anywhere."""

    lacks: frozenset[str] = frozenset()
    """Layers of the sandbox that it does without, by id."""

    @property
    @abstractmethod
    def lost(self) -> str:
        """Why its state is gone, in one sentence; empty while it is there."""

    @abstractmethod
    def require(self) -> None:
        """Raises SessionLost, with the reason, when its state is gone."""

    @abstractmethod
    def run(self, request: RunRequest) -> RunOutcome:
        """Run the code where the earlier runs left off. Raises SessionLost, or SandboxError for our own failures."""

    @property
    @abstractmethod
    def files(self) -> WorkFiles:
        """Its work directory. Raises SessionLost."""

    def fork(self, *, keep_random: bool = False) -> SandboxSession:
        """An independent copy of it: memory, files, limits. Asked only of what was opened as branchable.

        ``keep_random`` lets the copy draw the same random numbers; else it has random state of its own.
        """
        raise NotImplementedError

    @abstractmethod
    def close(self) -> None:
        """End it, and every trace of it. May be called twice."""


class Sandbox(ABC):
    """One wall. Thread-safe: many threads may call ``run`` at once. A context manager; ``close`` ends everything."""

    name: ClassVar[str]
    """The word that ``--sandbox`` and settings use."""

    required_policy: ClassVar[str | None] = None
    """The name of the only policy it accepts; None means any."""

    # What it can do beyond running code. Asking for what it lacks is a ConfigurationError before anything runs.

    @property
    def supports_streaming(self) -> bool:
        """Output, displays and tool calls are told while the code runs."""
        return False

    @property
    def supports_files(self) -> bool:
        """It has a work directory: ``files`` go in, ``artifacts`` come out."""
        return False

    @property
    def supports_displays(self) -> bool:
        """Plots and tables come out as MIME bundles."""
        return False

    @property
    def supports_tools(self) -> bool:
        """The code may call functions of the host."""
        return False

    @property
    def supports_sessions(self) -> bool:
        """``open_session`` gives a cell that keeps its state between runs."""
        return False

    @property
    def supports_fork(self) -> bool:
        """A session can be split into independent copies. It may depend on the host: this may start the sandbox."""
        return False

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

    def open_session(self, first: RunRequest, *, branchable: bool = False) -> SandboxSession:
        """A cell for many runs under the limits and names of ``first``, which has no code.

        ``branchable`` if it is to be forked. Asked only where ``supports_sessions``. Raises SandboxError, and
        ConfigurationError for what it does not support.
        """
        raise NotImplementedError

    def for_language(self, language: str) -> Sandbox:
        """The same wall for programs of that language; it belongs to this one and is closed with it.

        Raises ConfigurationError for a language that is not known or that this sandbox does not run.
        """
        if language != PYTHON:
            raise ConfigurationError(
                f"The {self.name} sandbox runs Python only, not language={languages.get(language).name!r}: use "
                "LocalSandbox."
            )
        return self

    @abstractmethod
    def close(self) -> None:
        """End every process and remove every trace. May be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

"""Sessions: state that lives between calls, and copies of it.

with executor.session() as session:
    session.execute("x = 41")
    session.execute("x + 1").value   # 42
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

from hotcell.config import SandboxConfig
from hotcell.errors import ConfigurationError, SessionLost
from hotcell.lifetimes import REAPER, Lifetime
from hotcell.pipeline import Call, Pipeline
from hotcell.results import ExecutionResult
from hotcell.sandboxes.base import Cancellation, RunOutcome, RunRequest, SandboxSession
from hotcell.session_files import SessionFiles
from hotcell.streaming import AsyncStream, Stream, open_stream
from hotcell.threads import Threads, running_loop
from hotcell.tools import Tools

if TYPE_CHECKING:
    import asyncio

_KERNEL_LIMITS = ("memory_bytes", "processes", "open_files", "file_bytes", "disk_bytes", "disk_files")


class Session:
    """State that lives between calls. Thread-safe: calls take turns. Made by ``Executor.session``."""

    def __init__(
        self,
        pipeline: Pipeline,
        cell: SandboxSession,
        config: SandboxConfig,
        lifetime: Lifetime,
        threads: Threads,
        *,
        branchable: bool,
        number: int = 0,
    ) -> None:
        self._pipeline = pipeline
        self._cell = cell
        self.config = config
        self.lifetime = lifetime
        self._threads = threads
        self._branchable = branchable
        self._owner = os.getpid()
        self._turn = threading.RLock()
        self._number = number
        self._calls = 0
        self._opened = self._last_used = time.monotonic()
        self._busy = 0
        self._ended: SessionLost | None = None
        self._checkpoint: SandboxSession | None = None
        self._is_clean = False
        """True while the state is the checkpoint's."""
        self._rolled_back = False
        REAPER.watch(self)

    @classmethod
    def open(
        cls, pipeline: Pipeline, config: SandboxConfig, lifetime: Lifetime, threads: Threads, *, branchable: bool
    ) -> Self:
        """A new session in a cell of its own. Raises ConfigurationError and SandboxError."""
        sandbox = pipeline.sandbox
        if not sandbox.supports_sessions:
            raise ConfigurationError(f"The {sandbox.name} sandbox has no sessions: use LocalSandbox.")
        pipeline.require_isolation(sandbox)
        first = pipeline.request("", Call.checked(config))
        cell = sandbox.open_session(first, branchable=branchable)
        return cls(pipeline, cell, config, lifetime, threads, branchable=branchable)

    # --- calls

    def execute(
        self,
        code: str | bytes,
        *,
        context: Mapping[str, Any] | None = None,
        files: Mapping[str, bytes | PathLike[str]] | None = None,
        artifacts: Iterable[str] = (),
        config: SandboxConfig | None = None,
        tools: Tools | None = None,
        cancellation: Cancellation | None = None,
    ) -> ExecutionResult:
        """Run the code where the last call left off; like ``Executor.execute``.

        Code that reaches a limit is interrupted, as by Ctrl-C, and the state stays; only code that does not obey within
        a second is killed, and a note says that the state is lost. Raises SessionLost when there is no state any more.
        """
        return self._run(code, self._call(context, files, artifacts, config, tools, cancellation))

    async def aexecute(
        self,
        code: str | bytes,
        *,
        context: Mapping[str, Any] | None = None,
        files: Mapping[str, bytes | PathLike[str]] | None = None,
        artifacts: Iterable[str] = (),
        config: SandboxConfig | None = None,
        tools: Tools | None = None,
        cancellation: Cancellation | None = None,
    ) -> ExecutionResult:
        """The async twin. Cancelling the task interrupts the code, and the state stays if it obeys."""
        call = self._call(context, files, artifacts, config, tools, cancellation, running_loop())
        return await self._threads.run(self._run, code, call, cancellation=call.cancellation)

    def stream(
        self,
        code: str | bytes,
        *,
        context: Mapping[str, Any] | None = None,
        files: Mapping[str, bytes | PathLike[str]] | None = None,
        artifacts: Iterable[str] = (),
        config: SandboxConfig | None = None,
        tools: Tools | None = None,
        cancellation: Cancellation | None = None,
    ) -> Stream:
        """The same as ``execute``, as events while they happen; see ``Executor.stream``."""
        call = self._call(context, files, artifacts, config, tools, cancellation)
        return open_stream(Stream, self._pipeline.output_check, call, partial(self._run, code))

    def astream(
        self,
        code: str | bytes,
        *,
        context: Mapping[str, Any] | None = None,
        files: Mapping[str, bytes | PathLike[str]] | None = None,
        artifacts: Iterable[str] = (),
        config: SandboxConfig | None = None,
        tools: Tools | None = None,
        cancellation: Cancellation | None = None,
    ) -> AsyncStream:
        """The async twin of ``stream``."""
        call = self._call(context, files, artifacts, config, tools, cancellation, running_loop())
        return open_stream(AsyncStream, self._pipeline.output_check, call, partial(self._run, code))

    def _call(
        self,
        context: Mapping[str, Any] | None,
        files: Mapping[str, bytes | PathLike[str]] | None,
        artifacts: Iterable[str],
        config: SandboxConfig | None,
        tools: Tools | None,
        cancellation: Cancellation | None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> Call:
        config = config or self.config
        for name in _KERNEL_LIMITS:
            if getattr(config, name) != getattr(self.config, name):
                raise ConfigurationError(
                    f"{name}={getattr(config, name)} is not allowed here: the session was opened with "
                    f"{getattr(self.config, name)}, and the kernel keeps that limit for its whole life."
                )
        return Call.checked(
            config,
            context=context,
            files=files,
            artifacts=artifacts,
            tools=tools,
            loop=loop,
            cancellation=cancellation,
        )

    def _run(self, code: str | bytes, call: Call) -> ExecutionResult:
        with self._holding():
            self._cell.require()  # before anybody is asked to admit what cannot run
            self._busy += 1
            try:
                return self._pipeline.run(code, call, self._run_in_cell, self._cell.lacks)
            finally:
                self._busy -= 1
                self._last_used = time.monotonic()

    def _run_in_cell(self, request: RunRequest) -> RunOutcome:
        self._calls += 1
        self._number += 1
        self._is_clean = False
        return self._cell.run(replace(request, number=self._number))

    # --- files

    @property
    def files(self) -> SessionFiles:
        """The session's work directory: ``list``, ``read``, ``write``, ``delete``."""
        return SessionFiles(self)

    @contextlib.contextmanager
    def turn(self) -> Iterator[SandboxSession]:
        """The sandbox's part of it, while nobody else has it. Raises SessionLost."""
        with self._holding():
            try:
                yield self._cell
            finally:
                self._is_clean = False
                self._last_used = time.monotonic()

    def bare_request(self, call: Call) -> RunRequest:
        """A request without code, for what comes with it. It is no cell, so it has no number."""
        return self._pipeline.request("", call)

    # --- its end

    @property
    def lost(self) -> str:
        """Why its state is gone, in one sentence; empty while it is there."""
        return str(self._ended) if self._ended else self._cell.lost

    def seconds_left(self, now: float) -> float:
        """Until its lifetime is over."""
        age = self._opened + self.lifetime.age_seconds - now
        return age if self._busy else min(age, self._last_used + self.lifetime.idle_seconds - now)

    def expire(self) -> None:
        """End it because its lifetime is over, unless a call is under way: that one may end first."""
        if not self._turn.acquire(blocking=False):
            return
        try:
            if self._busy:
                return
            now = time.monotonic()
            if now - self._opened >= self.lifetime.age_seconds:
                self._end("age", f"it was opened more than age_seconds={self.lifetime.age_seconds:g} ago")
            elif now - self._last_used >= self.lifetime.idle_seconds:
                self._end("idle", f"it was idle for idle_seconds={self.lifetime.idle_seconds:g}")
        finally:
            self._turn.release()

    def close(self) -> None:
        """End it, and every trace of it; a call under way ends first. May be called twice."""
        if os.getpid() != self._owner:
            self._cell.close()  # which only lets go: it is the parent's to end, and a thread of its may have the turn
            return
        with self._turn:
            self._end("closed", "it was closed")

    async def aclose(self) -> None:
        """The async twin of ``close``."""
        await self._threads.run(self.close)

    def _end(self, reason: str, sentence: str) -> None:
        self._ended = self._ended or SessionLost(f"The session is gone: {sentence}. Open a new one.", reason=reason)
        REAPER.forget(self)
        self._cell.close()
        if self._checkpoint:
            self._checkpoint.close()
            self._checkpoint = None

    @contextlib.contextmanager
    def _holding(self) -> Iterator[None]:
        """Have the turn. Raises SessionLost when there is nothing to have it for."""
        if os.getpid() != self._owner:  # before the lock, which a thread of the parent may have held when it forked
            message = "The session is gone: it belongs to the parent process. Open a new one."
            raise SessionLost(message, reason="host")
        with self._turn:
            self._require()
            yield

    def _require(self) -> None:
        if self._calls >= self.lifetime.calls:
            self._end("calls", f"it has served calls={self.lifetime.calls}")
        if self._ended:
            raise SessionLost(str(self._ended), reason=self._ended.reason)

    def __del__(self) -> None:
        if getattr(self, "_ended", self) is None:
            if not self._cell.lost:
                warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)
            with contextlib.suppress(Exception):  # at the interpreter's end its parts may be gone
                self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    # --- copies

    def fork(self, n: int = 1) -> Branches:
        """``n`` independent copies, each with the memory and the files of this moment: ``a, b = session.fork(2)``.

        Random numbers differ from copy to copy, as after any fork. Raises ConfigurationError where it cannot be had.
        """
        if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= 1000:
            raise ConfigurationError(f"n={n!r} is not allowed: give a whole number from 1 to 1000.")
        made: list[Session] = []
        with self._holding():
            self._require_branchable()
            try:
                while len(made) < n:
                    made.append(self._copy())
            except BaseException:
                for session in made:
                    session.close()
                raise
            finally:
                self._last_used = time.monotonic()
        return Branches(made)

    def _copy(self) -> Session:
        return Session(
            self._pipeline,
            self._cell.fork(),
            self.config,
            self.lifetime,
            self._threads,
            branchable=True,
            number=self._number,
        )

    def _require_branchable(self) -> None:
        if not self._branchable:
            raise ConfigurationError("This session cannot fork: open it with executor.session(branchable=True).")

    async def afork(self, n: int = 1) -> Branches:
        """The async twin of ``fork``."""
        return await self._threads.run(self.fork, n, undo=Branches.close)

    def checkpoint(self) -> None:
        """Remember this moment's memory and files, in the place of what was remembered before."""
        with self._holding():
            self._require_branchable()
            if self._is_clean and not self._cell.lost:
                return
            copy = self._cell.fork(keep_random=True)
            old, self._checkpoint = self._checkpoint, copy
            # Either of the two may live on. A copy stands a level deeper than its original, and levels are few: where
            # the last checkpoint was gone back to, the next one is likely to be as well, so the copy is what lives on.
            if self._rolled_back:
                self._cell, self._checkpoint = self._checkpoint, self._cell
            self._is_clean, self._rolled_back = True, False
            if old:
                old.close()

    async def acheckpoint(self) -> None:
        """The async twin of ``checkpoint``."""
        await self._threads.run(self.checkpoint)

    def rollback(self) -> None:
        """Go back to the last checkpoint, also when the state has been lost since; it can be gone back to again.

        Raises ConfigurationError when there is none.
        """
        with self._holding():
            if self._checkpoint is None:
                raise ConfigurationError("There is no checkpoint to go back to: call checkpoint() first.")
            if self._is_clean and not self._cell.lost:
                return
            copy = self._checkpoint.fork(keep_random=True)
            self._cell.close()
            self._cell, self._is_clean, self._rolled_back = copy, True, True

    async def arollback(self) -> None:
        """The async twin of ``rollback``."""
        await self._threads.run(self.rollback)


class Branches(tuple[Session, ...]):
    """Copies of a session; as a context manager it closes them all."""

    __slots__ = ()

    def close(self) -> None:
        """Close each of them."""
        with contextlib.ExitStack() as stack:  # all of them, also when one raises
            for session in self:
                stack.callback(session.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

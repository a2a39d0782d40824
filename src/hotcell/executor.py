"""What an application calls: run code once, as a stream, in a session; each with its async twin.

with Executor(LocalSandbox(preload=["numpy"]), policy=Policy.standard()) as executor:
    result = executor.execute("import numpy; numpy.arange(3).sum()")
"""

from __future__ import annotations

import atexit
import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from time import perf_counter
from typing import Any, Self

from hotcell import languages
from hotcell.cache import Cache
from hotcell.config import SandboxConfig
from hotcell.determinism import Deterministic
from hotcell.errors import ConfigurationError
from hotcell.languages import PYTHON
from hotcell.lifetimes import Lifetime
from hotcell.output_check import OutputCheck
from hotcell.pipeline import Call, Pipeline, judge, read
from hotcell.policy import Policy
from hotcell.result_cache import ResultCache
from hotcell.results import CheckReport, ExecutionResult, IsolationLevel
from hotcell.sandboxes.base import Cancellation, Sandbox
from hotcell.sessions import Session
from hotcell.steps import Admission, as_bytes
from hotcell.streaming import AsyncStream, Stream, open_stream
from hotcell.threads import Threads, running_loop
from hotcell.tools import Tools
from hotcell.validators.output import Redactor

_DEFAULT_REDACTOR = Redactor()


class Executor:
    """Runs code through the whole pipeline. Thread-safe; closes only a sandbox that it made itself."""

    def __init__(
        self,
        sandbox: Sandbox | None = None,
        config: SandboxConfig | None = None,
        policy: Policy | None = None,
        *,
        min_isolation: IsolationLevel = IsolationLevel.PROCESS,
        redactor: Redactor | None = _DEFAULT_REDACTOR,
        admit: Callable[[Admission], None] | None = None,
        record: Callable[[ExecutionResult], None] | None = None,
        cache: Cache | None = None,
        deterministic: Deterministic | None = None,
    ) -> None:
        """By default a LocalSandbox, SandboxConfig() and Policy.standard().

        ``min_isolation``: a sandbox below it is refused with SandboxUnavailable. ``redactor``: None leaves secrets in.
        ``admit`` may raise QuotaExceeded. ``record`` gets every result, also those that are then raised as exceptions;
        what it raises itself is logged, as the result is worth more than its copy. ``deterministic`` makes Python come
        to the same result each time, but in sessions; with a ``cache``, which can keep no others, it is
        ``Deterministic()`` unless given. Raises ConfigurationError when the sandbox does not accept the policy, or
        cannot be deterministic.
        """
        _are_what_they_must_be(sandbox=(sandbox, Sandbox), config=(config, SandboxConfig), policy=(policy, Policy))
        self.config = config or SandboxConfig()
        self.policy = policy or Policy.standard()
        self.min_isolation = IsolationLevel(min_isolation)
        self.redactor = redactor
        self._owns_sandbox = sandbox is None
        self._deterministic = Deterministic() if cache is not None and deterministic is None else deterministic
        self.sandbox = _local_sandbox(deterministic=self._deterministic is not None) if sandbox is None else sandbox
        self._pipeline = Pipeline(
            self.sandbox,
            self.policy,
            self.min_isolation,
            OutputCheck(redactor),
            admit=admit,
            record=record,
            cache=None if cache is None else ResultCache(cache, self.policy, redactor),
        )
        self._threads = Threads()
        required = self.sandbox.required_policy
        if required is not None and self.policy.name != required:
            raise ConfigurationError(
                f"The {self.sandbox.name} sandbox runs code under the {required} policy only, not {self.policy.name}: "
                f"pass policy=Policy.{required}() or another sandbox."
            )
        self._settings(self._deterministic, PYTHON)

    def execute(
        self,
        code: str | bytes,
        *,
        context: Mapping[str, Any] | None = None,
        files: Mapping[str, bytes | os.PathLike[str]] | None = None,
        artifacts: Iterable[str] = (),
        config: SandboxConfig | None = None,
        tools: Tools | None = None,
        cancellation: Cancellation | None = None,
        language: str = PYTHON,
        deterministic: Deterministic | None = None,
        execution_id: str = "",
    ) -> ExecutionResult:
        """Run the code once. ``context`` is JSON data that the code finds as variables; ``files`` go into its work
        directory; ``artifacts`` are globs of the files to bring back; ``tools`` are functions of the host that it may
        call. ``language``: ``python``, ``javascript``, ``bash``, or one that was registered. ``deterministic`` stands
        in for the executor's. ``execution_id`` is a name of the caller's own for it, such as the key of a row.

        What the code does is a result. Raises ConfigurationError for a bad argument, QuotaExceeded from the admit hook
        and SandboxError or ProtocolError for our own failures.
        """
        call = Call.checked(
            config or self.config,
            context=context,
            files=files,
            artifacts=artifacts,
            tools=tools,
            cancellation=cancellation,
            language=language,
            deterministic=self._settings(deterministic, language),
            execution_id=execution_id,
        )
        return self._pipeline.run(code, call)

    async def aexecute(
        self,
        code: str | bytes,
        *,
        context: Mapping[str, Any] | None = None,
        files: Mapping[str, bytes | os.PathLike[str]] | None = None,
        artifacts: Iterable[str] = (),
        config: SandboxConfig | None = None,
        tools: Tools | None = None,
        cancellation: Cancellation | None = None,
        language: str = PYTHON,
        deterministic: Deterministic | None = None,
        execution_id: str = "",
    ) -> ExecutionResult:
        """The same as ``execute``. Cancelling the task cancels the execution and waits until it is gone."""
        call = Call.checked(
            config or self.config,
            context=context,
            files=files,
            artifacts=artifacts,
            tools=tools,
            loop=running_loop(),
            cancellation=cancellation,
            language=language,
            deterministic=self._settings(deterministic, language),
            execution_id=execution_id,
        )
        return await self._threads.run(self._pipeline.run, code, call, cancellation=call.cancellation)

    def stream(
        self,
        code: str | bytes,
        *,
        context: Mapping[str, Any] | None = None,
        files: Mapping[str, bytes | os.PathLike[str]] | None = None,
        artifacts: Iterable[str] = (),
        config: SandboxConfig | None = None,
        tools: Tools | None = None,
        cancellation: Cancellation | None = None,
        language: str = PYTHON,
        deterministic: Deterministic | None = None,
        execution_id: str = "",
    ) -> Stream:
        """The same as ``execute``, as events while they happen: ``for event in executor.stream(code)``.

        The last event is ``Finished`` with the whole result. Closing the stream ends the execution.
        """
        call = Call.checked(
            config or self.config,
            context=context,
            files=files,
            artifacts=artifacts,
            tools=tools,
            cancellation=cancellation,
            language=language,
            deterministic=self._settings(deterministic, language),
            execution_id=execution_id,
        )
        return open_stream(Stream, self._pipeline.output_check, call, partial(self._pipeline.run, code))

    def astream(
        self,
        code: str | bytes,
        *,
        context: Mapping[str, Any] | None = None,
        files: Mapping[str, bytes | os.PathLike[str]] | None = None,
        artifacts: Iterable[str] = (),
        config: SandboxConfig | None = None,
        tools: Tools | None = None,
        cancellation: Cancellation | None = None,
        language: str = PYTHON,
        deterministic: Deterministic | None = None,
        execution_id: str = "",
    ) -> AsyncStream:
        """The same as ``stream``, for ``async for``. Cancelling the task ends the execution."""
        call = Call.checked(
            config or self.config,
            context=context,
            files=files,
            artifacts=artifacts,
            tools=tools,
            loop=running_loop(),
            cancellation=cancellation,
            language=language,
            deterministic=self._settings(deterministic, language),
            execution_id=execution_id,
        )
        return open_stream(AsyncStream, self._pipeline.output_check, call, partial(self._pipeline.run, code))

    def session(
        self,
        *,
        config: SandboxConfig | None = None,
        lifetime: Lifetime | None = None,
        branchable: bool = False,
    ) -> Session:
        """A cell that keeps its variables, imports and files between calls; close it, or use it as a context manager.

        ``config`` limits each call; what the kernel limits (memory, processes, disk) cannot change from call to call.
        ``branchable`` lets it be forked. Raises ConfigurationError and SandboxError.
        """
        return Session.open(
            self._pipeline, config or self.config, lifetime or Lifetime(), self._threads, branchable=branchable
        )

    async def asession(
        self,
        *,
        config: SandboxConfig | None = None,
        lifetime: Lifetime | None = None,
        branchable: bool = False,
    ) -> Session:
        """The async twin of ``session``."""
        return await self._threads.run(
            self.session, config=config, lifetime=lifetime, branchable=branchable, undo=Session.close
        )

    def _settings(self, deterministic: Deterministic | None, language: str) -> Deterministic | None:
        """What is in force for a call that asks for this. Raises ConfigurationError where it cannot be had."""
        if language != PYTHON:
            if deterministic is not None:
                raise ConfigurationError(f"deterministic= is for Python, and this is {language}: leave it out.")
            return None
        deterministic = deterministic or self._deterministic
        if deterministic is not None and not self.sandbox.supports_determinism:
            raise ConfigurationError(
                f"The {self.sandbox.name} sandbox cannot run code deterministically, which deterministic= and cache= "
                "ask for, as it was not given a hash seed: use LocalSandbox(hash_seed=0)."
            )
        return deterministic

    def check(self, code: str | bytes, *, language: str = PYTHON) -> CheckReport:
        """What the validators say of the code; nothing is run."""
        return check(code, policy=self.policy, language=language)

    def close(self) -> None:
        """Close the sandbox if this executor made it. May be called twice."""
        self._threads.close()
        if self._owns_sandbox:
            self.sandbox.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        import asyncio

        await asyncio.to_thread(self.close)


def _are_what_they_must_be(**given: tuple[object, type]) -> None:
    """A word, or a class in place of its instance, is refused here and not by an AttributeError during a request."""
    for name, (value, kind) in given.items():
        if value is not None and not isinstance(value, kind):
            raise ConfigurationError(f"{name} is {value!r:.60}: pass a {kind.__name__} (or nothing, for the default).")


def _local_sandbox(*, deterministic: bool) -> Sandbox:
    from hotcell.sandboxes.local.sandbox import LocalSandbox

    return LocalSandbox(hash_seed=0 if deterministic else None)


# --- the default executor of this process


class _Default:
    """Made when first asked for; thread-safe and fork-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._executor: Executor | None = None

    def get(self) -> Executor:
        with self._lock:
            if self._executor is None:
                self._executor = Executor()
            return self._executor

    def close(self) -> None:
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.close()

    def forget(self) -> None:
        """In a forked child: the parent's processes are not the child's to use or to end, and its lock may be held."""
        self._lock = threading.Lock()
        self._executor = None


_default = _Default()
atexit.register(_default.close)
os.register_at_fork(after_in_child=_default.forget)


def run(
    code: str | bytes,
    *,
    context: Mapping[str, Any] | None = None,
    files: Mapping[str, bytes | os.PathLike[str]] | None = None,
    artifacts: Iterable[str] = (),
    config: SandboxConfig | None = None,
    tools: Tools | None = None,
    cancellation: Cancellation | None = None,
    language: str = PYTHON,
) -> ExecutionResult:
    """``Executor.execute`` on an executor that this process makes when first asked and closes at its end."""
    return _default.get().execute(
        code,
        context=context,
        files=files,
        artifacts=artifacts,
        config=config,
        tools=tools,
        cancellation=cancellation,
        language=language,
    )


async def arun(
    code: str | bytes,
    *,
    context: Mapping[str, Any] | None = None,
    files: Mapping[str, bytes | os.PathLike[str]] | None = None,
    artifacts: Iterable[str] = (),
    config: SandboxConfig | None = None,
    tools: Tools | None = None,
    cancellation: Cancellation | None = None,
    language: str = PYTHON,
) -> ExecutionResult:
    """The async twin of ``run``."""
    import asyncio

    executor = await asyncio.to_thread(_default.get)
    return await executor.aexecute(
        code,
        context=context,
        files=files,
        artifacts=artifacts,
        config=config,
        tools=tools,
        cancellation=cancellation,
        language=language,
    )


def check(code: str | bytes, *, policy: Policy | None = None, language: str = PYTHON) -> CheckReport:
    """What the validators say of the code under ``policy``, ``Policy.standard()`` by default; nothing is run."""
    policy = policy or Policy.standard()
    other = languages.other(language)
    began = perf_counter()
    parsed = read(code, policy, other)
    middle = perf_counter()
    found = parsed.violations + judge(parsed, policy, other)
    return CheckReport(
        violations=found,
        code_sha256=hashlib.sha256(as_bytes(code)).hexdigest(),
        policy=policy.name,
        syntax_seconds=middle - began,
        policy_seconds=perf_counter() - middle,
    )

"""The engine: admit, syntax, policy, run, output check, record. Every path ends in a result that says who decided.

with Executor(LocalSandbox(preload=["numpy"]), policy=Policy.standard()) as executor:
    result = executor.execute("import numpy; numpy.arange(3).sum()")
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self

from hotcell import inputs
from hotcell.cache import Cache
from hotcell.config import SandboxConfig
from hotcell.determinism import Deterministic
from hotcell.errors import ConfigurationError, SandboxUnavailable
from hotcell.output_check import OutputCheck
from hotcell.policy import Policy
from hotcell.result_cache import ResultCache
from hotcell.results import CheckReport, ExecutionResult, IsolationLevel, SandboxInfo, Status
from hotcell.sandboxes.base import Cancellation, RunRequest, Sandbox
from hotcell.steps import Admission, Steps, as_bytes
from hotcell.validators import syntax, tree
from hotcell.validators.output import Redactor

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

_log = logging.getLogger("hotcell")
_DEFAULT_REDACTOR = Redactor()
_ASYNC_THREADS = 64


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
        what it raises itself is logged, as the result is worth more than its copy. ``deterministic`` makes code come to
        the same result each time; with a ``cache``, which can keep no others, it is ``Deterministic()`` unless given.
        Raises ConfigurationError when the sandbox does not accept the policy, or cannot be deterministic.
        """
        self.config = config or SandboxConfig()
        self.policy = policy or Policy.standard()
        self._namespace = self.policy.namespace_rules()
        self.min_isolation = IsolationLevel(min_isolation)
        self._output_check = OutputCheck(redactor)
        self._admit = admit
        self._record = record
        self._owns_sandbox = sandbox is None
        self._deterministic = Deterministic() if cache is not None and deterministic is None else deterministic
        self._results = None if cache is None else ResultCache(cache, self.policy, redactor)
        self.sandbox = _local_sandbox(deterministic=self._deterministic is not None) if sandbox is None else sandbox
        self._threads = _Threads()
        required = self.sandbox.required_policy
        if required is not None and self.policy.name != required:
            raise ConfigurationError(
                f"The {self.sandbox.name} sandbox runs code under the {required} policy only, not {self.policy.name}: "
                f"pass policy=Policy.{required}() or another sandbox."
            )
        self._require_determinism(self._deterministic)

    def execute(
        self,
        code: str | bytes,
        *,
        context: Mapping[str, Any] | None = None,
        files: Mapping[str, bytes | os.PathLike[str]] | None = None,
        artifacts: Iterable[str] = (),
        config: SandboxConfig | None = None,
        cancellation: Cancellation | None = None,
        deterministic: Deterministic | None = None,
    ) -> ExecutionResult:
        """Run the code once. ``context`` is JSON data that the code finds as variables; ``files`` go into its work
        directory; ``artifacts`` are globs of the files to bring back. ``deterministic`` stands in for the executor's.

        What the code does is a result. Raises ConfigurationError for a bad argument, QuotaExceeded from the admit hook
        and SandboxError or ProtocolError for our own failures.
        """
        config = config or self.config
        variables = inputs.check_context(context, config)
        given = inputs.check_files(files, config)
        globs = inputs.check_artifacts(artifacts)
        cancellation = cancellation or Cancellation()
        deterministic = deterministic or self._deterministic
        self._require_determinism(deterministic)
        steps = Steps(code, self.sandbox.name)
        try:
            if self._admit is not None:
                self._admit(steps.admission(self.policy, config))
            steps.finished("admit")
            parsed = syntax.parse(code, self.policy)
            steps.finished("syntax", parsed.violations)
            if parsed.tree is not None and not steps.refused:
                steps.finished("policy", tree.inspect(parsed.tree, parsed.text, self.policy))
            if steps.refused:
                result = steps.rejected()
            elif cancellation.cancelled:
                result = steps.result(Status.CANCELLED, "The caller cancelled it before it started.", "caller")
            else:
                request = RunRequest(
                    code=parsed.text,
                    config=config,
                    namespace=self._namespace,
                    context=variables,
                    files=given,
                    artifacts=globs,
                    deterministic=deterministic,
                    cancellation=cancellation,
                )
                result = self._answer(request, steps)
        except Exception as error:  # whatever failed on our side is recorded, then raised
            self._keep(steps.failed(error))
            raise
        self._keep(result)
        return result

    def _answer(self, request: RunRequest, steps: Steps) -> ExecutionResult:
        """From the cache when it has it; else by running the code."""
        info = self._require_isolation()
        steps.entered(info)
        if self._results is None:
            return self._run(request, steps)[0]
        key = self._results.key(request, info, self.sandbox.identity)
        stored = self._results.find(key)
        steps.finished("cache")
        if stored is not None:
            return steps.hit(stored)
        result, reproducible = self._run(request, steps)
        # A file may have changed after it was hashed and before it was read.
        if reproducible and (_all_bytes(request) or key == self._results.key(request, info, self.sandbox.identity)):
            self._results.keep(key, result)
        return result

    def _run(self, request: RunRequest, steps: Steps) -> tuple[ExecutionResult, bool]:
        """The result, and the cell's word on whether a second run would come to the same."""
        outcome = self.sandbox.run(request)
        steps.ran(outcome.acquire_seconds, outcome.run_seconds)
        checked = self._output_check(outcome)
        steps.finished("output")
        result = steps.result(outcome.status, outcome.reason, outcome.decided_by, **checked)
        return result, outcome.reproducible

    async def aexecute(
        self,
        code: str | bytes,
        *,
        context: Mapping[str, Any] | None = None,
        files: Mapping[str, bytes | os.PathLike[str]] | None = None,
        artifacts: Iterable[str] = (),
        config: SandboxConfig | None = None,
        cancellation: Cancellation | None = None,
        deterministic: Deterministic | None = None,
    ) -> ExecutionResult:
        """The same as ``execute``. Cancelling the task cancels the execution and waits until it is gone."""
        import asyncio  # here, as it takes longer to import than all the rest, and the command line does without

        cancellation = cancellation or Cancellation()
        job = self._threads.submit(
            self.execute,
            code,
            context=context,
            files=files,
            artifacts=artifacts,
            config=config,
            cancellation=cancellation,
            deterministic=deterministic,
        )
        future = asyncio.wrap_future(job)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            cancellation.cancel()
            job.cancel()  # it may still be waiting for a thread
            while not future.done():
                with contextlib.suppress(asyncio.CancelledError):  # a second cancellation does not end the first sooner
                    await asyncio.wait([future])
            if not future.cancelled():
                future.exception()  # it has been recorded; this tells asyncio that it was seen
            raise

    def check(self, code: str | bytes) -> CheckReport:
        """What the validators say of the code; nothing is run."""
        return check(code, policy=self.policy)

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

    def _require_isolation(self) -> SandboxInfo:
        info = self.sandbox.info
        if info.isolation < self.min_isolation:
            raise SandboxUnavailable(
                f"The {info.name} sandbox isolates at the level {info.isolation.value!r} here; at least "
                f"{self.min_isolation.value!r} is asked for. Use a stronger sandbox (`hotcell doctor` says what this "
                f"host can give), or accept less with min_isolation=IsolationLevel.{info.isolation.name}."
            )
        return info

    def _require_determinism(self, deterministic: Deterministic | None) -> None:
        if deterministic is not None and not self.sandbox.supports_determinism:
            raise ConfigurationError(
                f"The {self.sandbox.name} sandbox cannot run code deterministically, which deterministic= and cache= "
                "ask for, as it was not given a hash seed: use LocalSandbox(hash_seed=0)."
            )

    def _keep(self, result: ExecutionResult) -> None:
        if self._record is None:
            return
        try:
            self._record(result)
        except Exception:  # noqa: BLE001  # a hook of the application's; logged with its traceback
            _log.exception("The record hook failed for execution %s (%s)", result.execution_id, result.status.value)


class _Threads:
    """The threads behind the async methods: made when first needed, and anew in a forked child."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._owner = 0

    def submit(self, function: Callable[..., ExecutionResult], *args: Any, **kwargs: Any) -> Future[ExecutionResult]:
        if self._owner != os.getpid():  # a fork may have copied the lock while it was held
            self._lock, self._pool, self._owner = threading.Lock(), None, os.getpid()
        with self._lock:
            if self._pool is None:
                from concurrent.futures import ThreadPoolExecutor

                self._pool = ThreadPoolExecutor(_ASYNC_THREADS, thread_name_prefix="hotcell")
            return self._pool.submit(function, *args, **kwargs)

    def close(self) -> None:
        if self._pool is not None and self._owner == os.getpid():
            self._pool.shutdown()
        self._pool = None


def _local_sandbox(*, deterministic: bool) -> Sandbox:
    from hotcell.sandboxes.local.sandbox import LocalSandbox

    return LocalSandbox(hash_seed=0 if deterministic else None)


def _all_bytes(request: RunRequest) -> bool:
    return all(isinstance(content, bytes) for content in request.files.values())


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
    cancellation: Cancellation | None = None,
) -> ExecutionResult:
    """``Executor.execute`` on an executor that this process makes when first asked and closes at its end."""
    return _default.get().execute(
        code, context=context, files=files, artifacts=artifacts, config=config, cancellation=cancellation
    )


async def arun(
    code: str | bytes,
    *,
    context: Mapping[str, Any] | None = None,
    files: Mapping[str, bytes | os.PathLike[str]] | None = None,
    artifacts: Iterable[str] = (),
    config: SandboxConfig | None = None,
    cancellation: Cancellation | None = None,
) -> ExecutionResult:
    """The async twin of ``run``."""
    import asyncio

    executor = await asyncio.to_thread(_default.get)
    return await executor.aexecute(
        code, context=context, files=files, artifacts=artifacts, config=config, cancellation=cancellation
    )


def check(code: str | bytes, *, policy: Policy | None = None) -> CheckReport:
    """What the validators say of the code under ``policy``, ``Policy.standard()`` by default; nothing is run."""
    policy = policy or Policy.standard()
    began = perf_counter()
    parsed = syntax.parse(code, policy)
    middle = perf_counter()
    found = parsed.violations
    if parsed.tree is not None:
        found += tree.inspect(parsed.tree, parsed.text, policy)
    return CheckReport(
        violations=found,
        code_sha256=hashlib.sha256(as_bytes(code)).hexdigest(),
        policy=policy.name,
        syntax_seconds=middle - began,
        policy_seconds=perf_counter() - middle,
    )

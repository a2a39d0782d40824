"""The steps of one execution: admit, syntax, policy, cache, run, output check, record. Written once, for every way.

Every path ends in a result that says which step decided.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, Protocol

from hotcell import inputs
from hotcell.config import SandboxConfig
from hotcell.determinism import Deterministic
from hotcell.errors import SandboxUnavailable
from hotcell.output_check import OutputCheck
from hotcell.policy import Policy
from hotcell.result_cache import ResultCache
from hotcell.results import ExecutionResult, IsolationLevel, SandboxInfo, Status
from hotcell.sandboxes.base import Cancellation, Observer, RunOutcome, RunRequest, Sandbox
from hotcell.steps import Admission, Steps
from hotcell.validators import syntax, tree

_log = logging.getLogger("hotcell")


class Listener(Observer, Protocol):
    """Who is told of one execution while it goes on."""

    def started(self, execution_id: str, code_sha256: str) -> None:
        """The execution has an id; nothing has been looked at yet."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """What one execution is given besides its code; checked."""

    config: SandboxConfig
    context: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes | PathLike[str]] = field(default_factory=dict)
    artifacts: tuple[str, ...] = ()
    cancellation: Cancellation = field(default_factory=Cancellation)
    deterministic: Deterministic | None = None
    listener: Listener | None = None
    number: int = 0
    """The cell's number in its session; 0 outside of one."""

    @classmethod
    def checked(
        cls,
        config: SandboxConfig,
        *,
        context: Mapping[str, Any] | None = None,
        files: Mapping[str, bytes | PathLike[str]] | None = None,
        artifacts: Iterable[str] = (),
        cancellation: Cancellation | None = None,
        deterministic: Deterministic | None = None,
    ) -> Call:
        """Raises ConfigurationError, which names the item."""
        return cls(
            config=config,
            context=inputs.check_context(context, config),
            files=inputs.check_files(files, config),
            artifacts=inputs.check_artifacts(artifacts),
            cancellation=cancellation or Cancellation(),
            deterministic=deterministic,
        )


class Pipeline:
    """The steps with everything that is injected into them. Thread-safe."""

    def __init__(
        self,
        sandbox: Sandbox,
        policy: Policy,
        min_isolation: IsolationLevel,
        output_check: OutputCheck,
        admit: Callable[[Admission], None] | None,
        record: Callable[[ExecutionResult], None] | None,
        cache: ResultCache | None = None,
    ) -> None:
        self.sandbox = sandbox
        self.policy = policy
        self.output_check = output_check
        self._namespace = policy.namespace_rules()
        self._min_isolation = min_isolation
        self._admit = admit
        self._record = record
        self._cache = cache

    def run(
        self, code: str | bytes, call: Call, place: Callable[[RunRequest], RunOutcome] | None = None
    ) -> ExecutionResult:
        """Take the code through all steps; it runs in ``place``, by default a cell of its own.

        What the code does is a result. Raises QuotaExceeded from the admit hook, and SandboxError or ProtocolError for
        our own failures.
        """
        steps = Steps(code, self.sandbox.name)
        try:
            if call.listener:
                call.listener.started(steps.execution_id, steps.code_sha256)
            if self._admit is not None:
                self._admit(steps.admission(self.policy, call.config))
            steps.finished("admit")
            parsed = syntax.parse(code, self.policy)
            steps.finished("syntax", parsed.violations)
            if parsed.tree is not None and not steps.refused:
                steps.finished("policy", tree.inspect(parsed.tree, parsed.text, self.policy))
            if steps.refused:
                result = steps.rejected()
            elif call.cancellation.cancelled:
                result = steps.result(Status.CANCELLED, "The caller cancelled it before it started.", "caller")
            else:
                info = self.require_isolation()
                steps.entered(info)
                request = self.request(parsed.text, call)
                if self._cache is None or place is not None or request.tools is not None:
                    result, _ = self._answer(request, steps, place or self.sandbox.run)
                else:
                    result = self._answer_from(self._cache, request, steps, info)
        except Exception as error:  # whatever failed on our side is recorded, then raised
            self._keep(steps.failed(error))
            raise
        self._keep(result)
        return result

    def _answer(
        self, request: RunRequest, steps: Steps, place: Callable[[RunRequest], RunOutcome]
    ) -> tuple[ExecutionResult, bool]:
        """By running the code. Also says whether a second run would come to the same, by the cell's own word."""
        outcome = place(request)
        steps.ran(outcome.acquire_seconds, outcome.run_seconds)
        checked = self.output_check(outcome)
        steps.finished("output")
        result = steps.result(outcome.status, outcome.reason, outcome.decided_by, **checked)
        return result, outcome.reproducible

    def _answer_from(self, cache: ResultCache, request: RunRequest, steps: Steps, info: SandboxInfo) -> ExecutionResult:
        """From the cache when it has it; else by running the code, and the cache may have it then."""
        key = cache.key(request, info, self.sandbox.identity)
        stored = cache.find(key)
        steps.finished("cache")
        if stored is not None:
            if request.observer is not None:
                _tell_again(request.observer, stored)
            return steps.hit(stored)
        result, reproducible = self._answer(request, steps, self.sandbox.run)
        if reproducible and not cache.has_changed(key, request, info, self.sandbox.identity):
            cache.keep(key, result)
        return result

    def request(self, text: str, call: Call) -> RunRequest:
        """What the sandbox is asked for."""
        return RunRequest(
            code=text,
            config=call.config,
            namespace=self._namespace,
            context=call.context,
            files=call.files,
            artifacts=call.artifacts,
            number=call.number,
            deterministic=call.deterministic,
            observer=call.listener,
            cancellation=call.cancellation,
        )

    def require_isolation(self) -> SandboxInfo:
        """Where code will run. Raises SandboxUnavailable when that is less than is asked for."""
        info = self.sandbox.info
        if info.isolation < self._min_isolation:
            raise SandboxUnavailable(
                f"The {info.name} sandbox isolates at the level {info.isolation.value!r} here; at least "
                f"{self._min_isolation.value!r} is asked for. Use a stronger sandbox (`hotcell doctor` says what this "
                f"host can give), or accept less with min_isolation=IsolationLevel.{info.isolation.name}."
            )
        return info

    def _keep(self, result: ExecutionResult) -> None:
        if self._record is None:
            return
        try:
            self._record(result)
        except Exception:  # noqa: BLE001  # a hook of the application's; logged with its traceback
            _log.exception("The record hook failed for execution %s (%s)", result.execution_id, result.status.value)


def _tell_again(observer: Observer, stored: ExecutionResult) -> None:
    """What a run would have told: for whoever follows the events, all of one stream after all of the other."""
    for stream, text in (("stdout", stored.stdout), ("stderr", stored.stderr)):
        if text:
            observer.output(stream, text.encode())
    for shown in stored.displays:
        observer.display(shown.data)

"""The steps of one execution: admit, syntax, policy, cache, run, output check, record. Written once, for every way.

Every path ends in a result that says which step decided.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from contextvars import Context, copy_context
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import TYPE_CHECKING, Any, Protocol

from hotcell import inputs, languages
from hotcell.config import SandboxConfig
from hotcell.determinism import Deterministic
from hotcell.errors import ConfigurationError, SandboxUnavailable
from hotcell.languages import PYTHON, Language
from hotcell.output_check import OutputCheck
from hotcell.policy import Policy
from hotcell.result_cache import ResultCache
from hotcell.results import ExecutionResult, IsolationLevel, SandboxInfo, Status, Violation
from hotcell.sandboxes.base import Cancellation, Observer, RunOutcome, RunRequest, Sandbox
from hotcell.steps import Admission, Steps
from hotcell.tools import Toolbox, Tools
from hotcell.tools.calls import ToolRun
from hotcell.validators import syntax, tree, unread

if TYPE_CHECKING:
    import asyncio

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
    listener: Listener | None = None
    language: str = PYTHON
    tools: Toolbox | None = None
    loop: asyncio.AbstractEventLoop | None = None
    """Where async tools run: the caller's, when it has one."""
    caller: Context = field(default_factory=copy_context)
    """The context variables of whoever asked, which tools see whatever thread they run in."""
    deterministic: Deterministic | None = None
    number: int = 0
    """The cell's number in its session; 0 outside of one."""
    execution_id: str = ""
    """The caller's name for it; empty for one of ours."""

    @classmethod
    def checked(
        cls,
        config: SandboxConfig,
        *,
        context: Mapping[str, Any] | None = None,
        files: Mapping[str, bytes | PathLike[str]] | None = None,
        artifacts: Iterable[str] = (),
        cancellation: Cancellation | None = None,
        language: str = PYTHON,
        tools: Tools | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        deterministic: Deterministic | None = None,
        execution_id: str = "",
    ) -> Call:
        """Raises ConfigurationError, which names the item."""
        languages.other(language)
        inputs.check_execution_id(execution_id)
        variables = inputs.check_context(context, config)
        return cls(
            config=config,
            language=language,
            tools=Toolbox.of(tools, taken=variables) if tools else None,
            loop=loop,
            context=variables,
            files=inputs.check_files(files, config),
            artifacts=inputs.check_artifacts(artifacts),
            cancellation=cancellation or Cancellation(),
            deterministic=deterministic,
            execution_id=execution_id,
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
        self,
        code: str | bytes,
        call: Call,
        place: Callable[[RunRequest], RunOutcome] | None = None,
        lacks: frozenset[str] = frozenset(),
    ) -> ExecutionResult:
        """Take the code through all steps; it runs in ``place``, by default a cell of its own.

        ``lacks`` are layers of the sandbox that the place has not.

        What the code does is a result. Raises QuotaExceeded from the admit hook, and SandboxError or ProtocolError for
        our own failures.
        """
        other = languages.other(call.language)
        sandbox = self.sandbox.for_language(call.language)
        _require_support(sandbox, call)
        steps = Steps(code, self.sandbox.name, call.language, call.execution_id)
        try:
            if call.listener:
                call.listener.started(steps.execution_id, steps.code_sha256)
            if self._admit is not None:
                self._admit(steps.admission(self.policy, call.config))
            steps.finished("admit")
            parsed = read(code, self.policy, other)
            steps.finished("syntax", parsed.violations)
            if not steps.refused:
                steps.finished("policy", judge(parsed, self.policy, other))
            if steps.refused:
                result = steps.rejected()
            elif call.cancellation.cancelled:
                result = steps.result(Status.CANCELLED, "The caller cancelled it before it started.", "caller")
            else:
                info = self.require_isolation(sandbox)
                steps.entered(replace(info, layers=tuple(layer for layer in info.layers if layer not in lacks)))
                if self._cache is None or place is not None or call.deterministic is None or call.tools is not None:
                    result, _ = self._answer(place or sandbox.run, parsed.text, call, steps)
                else:
                    result = self._answer_from(self._cache, info, parsed.text, call, steps)
        except Exception as error:  # whatever failed on our side is recorded, then raised
            self._keep(steps.failed(error))
            raise
        self._keep(result)
        return result

    def _answer(
        self, place: Callable[[RunRequest], RunOutcome], text: str, call: Call, steps: Steps
    ) -> tuple[ExecutionResult, bool]:
        """By running the code. Also says whether a second run would come to the same, by the cell's own word."""
        outcome, tool_run = self._run_in(place, text, call)
        steps.ran(outcome.acquire_seconds, outcome.run_seconds)
        checked = self.output_check(outcome, tool_run)
        steps.finished("output")
        result = steps.result(outcome.status, outcome.reason, outcome.decided_by, **checked)
        return result, outcome.reproducible

    def _answer_from(
        self, cache: ResultCache, info: SandboxInfo, text: str, call: Call, steps: Steps
    ) -> ExecutionResult:
        """From the cache when it has it; else by running the code, and the cache may have it then."""
        request = self.request(text, call)
        key = cache.key(request, info, self.sandbox.identity)
        stored = cache.find(key)
        steps.finished("cache")
        if stored is not None:
            if call.listener is not None:
                _tell_again(call.listener, stored)
            return steps.hit(stored)
        result, reproducible = self._answer(self.sandbox.run, text, call, steps)
        if reproducible and not cache.has_changed(key, request, info, self.sandbox.identity):
            cache.keep(key, result)
        return result

    def _run_in(
        self, place: Callable[[RunRequest], RunOutcome], text: str, call: Call
    ) -> tuple[RunOutcome, ToolRun | None]:
        if call.tools is None:
            return place(self.request(text, call)), None
        tool_run = ToolRun(call.tools, loop=call.loop, context=call.caller)
        try:
            return place(self.request(text, call, tool_run)), tool_run
        finally:
            tool_run.close()

    def request(self, text: str, call: Call, tools: ToolRun | None = None) -> RunRequest:
        """What the sandbox is asked for."""
        return RunRequest(
            code=text,
            config=call.config,
            namespace=self._namespace,
            context=call.context,
            files=call.files,
            artifacts=call.artifacts,
            number=call.number,
            tools=tools,
            deterministic=call.deterministic,
            observer=call.listener,
            cancellation=call.cancellation,
        )

    def require_isolation(self, sandbox: Sandbox) -> SandboxInfo:
        """Where code will run. Raises SandboxUnavailable when that is less than is asked for."""
        info = sandbox.info
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


def _require_support(sandbox: Sandbox, call: Call) -> None:
    wanted = {
        "no stream of events": (call.listener, sandbox.supports_streaming),
        "no host tools": (call.tools, sandbox.supports_tools),
        "no files": (call.files or call.artifacts, sandbox.supports_files),
    }
    for lack, (is_wanted, is_there) in wanted.items():
        if is_wanted and not is_there:
            where = f"The {sandbox.name} sandbox" + ("" if call.language == PYTHON else f" for {call.language}")
            raise ConfigurationError(f"{where} has {lack}: leave that out, or use LocalSandbox with Python.")


def read(code: str | bytes, policy: Policy, other: Language | None) -> syntax.Parsed:
    """The code as text, and as a tree where it is Python; ``other`` is its language where it is not."""
    return syntax.parse(code, policy) if other is None else syntax.read(code, policy)


def judge(parsed: syntax.Parsed, policy: Policy, other: Language | None) -> tuple[Violation, ...]:
    """What the policy says of it."""
    if other is not None:
        return unread.inspect(other, policy)
    return tree.inspect(parsed.tree, parsed.text, policy) if parsed.tree is not None else ()

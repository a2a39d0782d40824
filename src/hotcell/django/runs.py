"""One execution from the birth of its row to its last change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from datetime import timedelta
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypedDict

from django.db import transaction
from django.utils import timezone

from hotcell.config import SandboxConfig
from hotcell.django import quotas, recording, signals, storable
from hotcell.django.conf import DEFAULT_ALIAS
from hotcell.django.executors import executors
from hotcell.django.models import CodeExecution, ExecutionArtifact, sha256_of
from hotcell.django.running import running
from hotcell.django.states import State
from hotcell.errors import QuotaExceeded
from hotcell.results import ExecutionResult
from hotcell.sandboxes.base import Cancellation
from hotcell.tools import Tools
from hotcell.validators.output import Redactor

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

    from hotcell.executor import Executor

_log = logging.getLogger("hotcell.django")
_MARGIN = timedelta(seconds=60)
"""On top of an execution's limits, until whoever ran it is taken for dead."""
_GONE = (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt)
_OVER = {"expires": None, "reserved": None}
_LOST = "Whoever ran it died; what became of the code is not known."
_TO_THE_EXECUTOR = ("context", "files", "artifacts", "config", "tools", "language")


class Options(TypedDict, total=False):
    """What an execution is given besides its code."""

    user: User | AnonymousUser | None
    """Whose it is, and whose quota it counts against; nobody's is not limited."""
    using: str
    """An alias in HOTCELL_SANDBOXES, ``default`` unless given."""
    context: Mapping[str, Any] | None
    """JSON data that the code finds as variables; kept without what looks like a secret."""
    files: Mapping[str, bytes | PathLike[str]] | None
    artifacts: Iterable[str]
    """Globs of the files to keep."""
    config: SandboxConfig | None
    """Stands in for the alias's CONFIG."""
    tools: Tools | None
    language: str
    request_id: str
    """Whatever ties it to the request that it came with, at most 200 characters."""
    metadata: Mapping[str, Any] | None
    """JSON data of the caller's own, kept with the row."""


class Run:
    """Made by ``begin``; ended once, by ``conclude`` or ``fail``, whichever comes first."""

    def __init__(self, executor: Executor, execution: CodeExecution, arguments: dict[str, Any]) -> None:
        self.executor = executor
        self.execution = execution
        self._cancellation = Cancellation()
        self.arguments = {**arguments, "cancellation": self._cancellation, "execution_id": execution.pk.hex}
        """For the executor."""
        running.add(execution, self._cancellation)

    @classmethod
    def begin(cls, code: str | bytes, options: Options) -> Self:
        """Make the row and take from the quota, both or none. Raises QuotaExceeded, having left a row that says so."""
        alias = options.get("using", DEFAULT_ALIAS)
        executor = executors[alias]
        config = options.get("config") or executor.config
        execution = _new_row(code, alias, executor, config, options)
        try:
            _start(execution, config)
        except QuotaExceeded as error:
            _refuse(execution, error)
            raise
        run = cls(executor, execution, {name: options[name] for name in _TO_THE_EXECUTOR if name in options})  # type: ignore[literal-required]
        signals.execution_started.send_robust(CodeExecution, execution=execution)
        return run

    def conclude(self, result: ExecutionResult) -> CodeExecution:
        """Write the result, and settle the quota with what was used."""
        self._finish(recording.fields_of(result), result)
        return self.execution

    def fail(self, error: BaseException) -> None:
        """Write down that we failed, or that the caller has gone away."""
        if isinstance(error, _GONE):
            fields = {"status": State.CANCELLED, "reason": "The caller went away.", "decided_by": "caller"}
        else:
            reason = storable.text(f"{type(error).__name__}: {error}")
            fields = {"status": State.FAILED, "reason": reason, "decided_by": "sandbox"}
        self._finish(fields, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self.fail(error)

    def _finish(self, fields: Mapping[str, Any], result: ExecutionResult | None) -> None:
        execution = self.execution
        if execution.is_final:
            return
        running.discard(execution)
        fields = {**fields, **_OVER, "finished": timezone.now()}
        kept: list[ExecutionArtifact] = []
        try:
            with transaction.atomic():
                is_ours = end_row(execution, fields)
                if is_ours and result is not None:
                    kept = recording.keep_artifacts(execution, result.artifacts)
        except BaseException:
            recording.discard(kept)
            raise
        if not is_ours:  # it was taken for dead meanwhile
            _log.warning("Execution %s had come to its end already; its result is dropped.", execution.pk.hex)
            execution.refresh_from_db()
            return
        for name, value in fields.items():
            setattr(execution, name, value)
        _tell(execution)


def end_row(execution: CodeExecution, fields: Mapping[str, Any]) -> bool:
    """Write the last change and settle the quota, in the caller's transaction; False when somebody else was first."""
    mine = CodeExecution.objects.filter(pk=execution.pk, status=State.RUNNING, attempt=execution.attempt)
    if not mine.update(**fields):
        return False
    if execution.reserved and execution.user_id is not None:
        quotas.settle(execution.user_id, execution.reserved, recording.used_by(fields))
    return True


def end_as_lost(execution: CodeExecution) -> bool:
    """Whoever ran it is dead; nothing is known of what it used. False when it had come to its end after all."""
    lost = {"status": State.LOST, "reason": _LOST, "decided_by": "sandbox", "finished": timezone.now()}
    with transaction.atomic():
        return end_row(execution, {**lost, **_OVER})


def _new_row(code: object, alias: str, executor: Executor, config: SandboxConfig, options: Options) -> CodeExecution:
    user = options.get("user")
    redactor = executor.redactor or Redactor()
    as_given = code if isinstance(code, str | bytes) else repr(code)
    return CodeExecution(
        user=user if user is not None and user.pk is not None else None,
        code=storable.text(as_given),
        code_sha256=sha256_of(as_given),
        language=str(options.get("language", "python"))[:64],
        context=storable.context(options.get("context") or {}, redactor),
        policy=storable.data(executor.policy.to_dict()),
        config=storable.data(config.to_dict()),
        alias=alias,
        request_id=storable.text(options.get("request_id", ""))[:200],
        metadata=storable.data(options.get("metadata") or {}),
    )


def _start(execution: CodeExecution, config: SandboxConfig) -> None:
    now = timezone.now()
    user = execution.user
    # Before the transaction: in SQLite no reader becomes a writer.
    limits = [] if user is None else quotas.limits_of(user)
    execution.status, execution.started, execution.attempt = State.RUNNING, now, 1
    execution.expires = now + timedelta(seconds=config.timeout_seconds + config.pause_seconds) + _MARGIN
    with transaction.atomic():
        if user is not None:
            execution.reserved = quotas.reserve(user, config, now, limits)
        execution.save()


def _refuse(execution: CodeExecution, error: QuotaExceeded) -> None:
    execution.status, execution.finished = State.OVER_QUOTA, timezone.now()
    execution.started, execution.expires, execution.attempt = None, None, 0
    execution.reason, execution.decided_by = str(error), "admit"
    execution.save()
    signals.quota_exceeded.send_robust(CodeExecution, execution=execution, error=error)
    _tell(execution)


def _tell(execution: CodeExecution) -> None:
    """Of the end, whatever it is: to the log, without anything of the code's; then to whoever listens."""
    _log.info(
        "Execution %s: %s",
        execution.pk.hex,
        execution.status,
        extra={
            "execution_id": execution.pk.hex,
            "status": str(execution.status),
            "user_id": execution.user_id,
            "sandbox": execution.sandbox,
            "isolation": execution.isolation,
            "rules": execution.rules.split(),
            "wall_seconds": execution.wall_seconds,
            "request_id": execution.request_id,
        },
    )
    if execution.status == State.REJECTED:
        signals.execution_rejected.send_robust(CodeExecution, execution=execution)
    signals.execution_finished.send_robust(CodeExecution, execution=execution)

"""What is known of one execution while it goes through the pipeline."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

from hotcell.config import SandboxConfig
from hotcell.policy import Policy
from hotcell.results import ExecutionResult, SandboxInfo, Severity, Status, Timings, Violation


@dataclass(frozen=True, kw_only=True)
class Admission:
    """What the admit hook is asked about, before the code is looked at."""

    execution_id: str
    code_sha256: str
    code_bytes: int
    policy: str
    sandbox: str
    config: SandboxConfig


class Steps:
    """What is known of one execution so far: its identity, its findings and how long each step took."""

    def __init__(self, code: object, sandbox_name: str, language: str, execution_id: str = "") -> None:
        self._began = self._last = perf_counter()
        self._seconds: dict[str, float] = {}
        self._step = "admit"
        self._sandbox_name = sandbox_name
        self._language = language
        self._sandbox: SandboxInfo | None = None
        self.execution_id = execution_id or uuid.uuid4().hex
        data = as_bytes(code)
        self._code_bytes = len(data)
        self.code_sha256 = hashlib.sha256(data).hexdigest()
        self.violations: tuple[Violation, ...] = ()
        self.refused = False

    def admission(self, policy: Policy, config: SandboxConfig) -> Admission:
        return Admission(
            execution_id=self.execution_id,
            code_sha256=self.code_sha256,
            code_bytes=self._code_bytes,
            policy=policy.name,
            sandbox=self._sandbox_name,
            config=config,
        )

    def finished(self, step: str, found: tuple[Violation, ...] = ()) -> None:
        now = perf_counter()
        self._seconds[f"{step}_seconds"] = now - self._last
        self._last = now
        self._step = step
        self.violations += found
        self.refused = self.refused or any(item.severity is Severity.ERROR for item in found)

    def entered(self, sandbox: SandboxInfo) -> None:
        """From here on the sandbox has a part in what becomes of it."""
        self._sandbox = sandbox

    def ran(self, acquire_seconds: float, run_seconds: float) -> None:
        self._seconds.update(acquire_seconds=acquire_seconds, run_seconds=run_seconds)
        self._step = "sandbox"
        self._last = perf_counter()

    def result(self, status: Status, reason: str, decided_by: str, **parts: Any) -> ExecutionResult:
        return ExecutionResult(
            status=status,
            reason=reason,
            decided_by=decided_by,
            violations=self.violations,
            timings=Timings(**self._seconds, total_seconds=perf_counter() - self._began),
            sandbox=self._sandbox,
            language=self._language,
            execution_id=self.execution_id,
            code_sha256=self.code_sha256,
            **parts,
        )

    def hit(self, stored: ExecutionResult) -> ExecutionResult:
        """The result that was read from the cache, as that of this call."""
        return replace(
            stored,
            violations=self.violations,
            timings=Timings(**self._seconds, total_seconds=perf_counter() - self._began),
            sandbox=self._sandbox,
            execution_id=self.execution_id,
            code_sha256=self.code_sha256,
            cached=True,
        )

    def rejected(self) -> ExecutionResult:
        """The result for code that the last step refused."""
        worst = next(item for item in self.violations if item.severity is Severity.ERROR)
        where = f" (line {worst.line})" if worst.line else ""
        return self.result(Status.REJECTED, f"{worst.rule}{where}: {worst.message}", self._step)

    def failed(self, error: Exception) -> ExecutionResult:
        """The result that is recorded for an exception of ours."""
        decided_by = "sandbox" if "admit_seconds" in self._seconds else "admit"
        return self.result(Status.FAILED, f"{type(error).__name__}: {error}", decided_by)


def as_bytes(code: object) -> bytes:
    """The bytes that ``code_sha256`` is of: UTF-8 of a str; nothing for what is not code at all."""
    if isinstance(code, str):
        return code.encode("utf-8", "surrogatepass")
    return bytes(code) if isinstance(code, bytes | bytearray) else b""

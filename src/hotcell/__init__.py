"""Hotcell runs code that an LLM wrote, in a fresh, OS-isolated, always-warm process.

    import hotcell

    result = hotcell.run("print(sum(prices))", context={"prices": [3, 4, 5]})
    result.status   # Status.OK
    result.stdout   # "12\\n"

The names below are the whole public interface. They are imported on first use, so that ``import hotcell`` is cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hotcell.cache import Cache, MemoryCache
    from hotcell.config import SandboxConfig
    from hotcell.determinism import Deterministic
    from hotcell.errors import (
        ConfigurationError,
        HotcellError,
        PoolExhausted,
        ProtocolError,
        QuotaExceeded,
        SandboxCrashed,
        SandboxError,
        SandboxUnavailable,
    )
    from hotcell.executor import Executor, arun, check, run
    from hotcell.policy import Policy
    from hotcell.results import (
        Artifact,
        CheckReport,
        ErrorInfo,
        ExecutionResult,
        IsolationLevel,
        Redaction,
        SandboxInfo,
        Severity,
        Status,
        Timings,
        Usage,
        Violation,
    )
    from hotcell.sandboxes.base import Cancellation, Sandbox
    from hotcell.sandboxes.local.sandbox import LocalSandbox
    from hotcell.sandboxes.restricted import RestrictedPythonSandbox

__version__ = "0.1.0"

_HOME = {
    "hotcell.cache": ["Cache", "MemoryCache"],
    "hotcell.config": ["SandboxConfig"],
    "hotcell.determinism": ["Deterministic"],
    "hotcell.errors": [
        "ConfigurationError",
        "HotcellError",
        "PoolExhausted",
        "ProtocolError",
        "QuotaExceeded",
        "SandboxCrashed",
        "SandboxError",
        "SandboxUnavailable",
    ],
    "hotcell.executor": ["Executor", "arun", "check", "run"],
    "hotcell.policy": ["Policy"],
    "hotcell.results": [
        "Artifact",
        "CheckReport",
        "ErrorInfo",
        "ExecutionResult",
        "IsolationLevel",
        "Redaction",
        "SandboxInfo",
        "Severity",
        "Status",
        "Timings",
        "Usage",
        "Violation",
    ],
    "hotcell.sandboxes.base": ["Cancellation", "Sandbox"],
    "hotcell.sandboxes.local.sandbox": ["LocalSandbox"],
    "hotcell.sandboxes.restricted": ["RestrictedPythonSandbox"],
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "Artifact",
    "Cache",
    "Cancellation",
    "CheckReport",
    "ConfigurationError",
    "Deterministic",
    "ErrorInfo",
    "ExecutionResult",
    "Executor",
    "HotcellError",
    "IsolationLevel",
    "LocalSandbox",
    "MemoryCache",
    "Policy",
    "PoolExhausted",
    "ProtocolError",
    "QuotaExceeded",
    "Redaction",
    "RestrictedPythonSandbox",
    "Sandbox",
    "SandboxConfig",
    "SandboxCrashed",
    "SandboxError",
    "SandboxInfo",
    "SandboxUnavailable",
    "Severity",
    "Status",
    "Timings",
    "Usage",
    "Violation",
    "arun",
    "check",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'hotcell' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

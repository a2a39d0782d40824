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
    from hotcell.directory_cache import DirectoryCache
    from hotcell.environments import Environment
    from hotcell.errors import (
        ConfigurationError,
        EnvironmentFailed,
        HotcellError,
        PoolExhausted,
        ProtocolError,
        QuotaExceeded,
        SandboxCrashed,
        SandboxError,
        SandboxUnavailable,
        SessionLost,
    )
    from hotcell.executor import Executor, arun, check, run
    from hotcell.languages import Language
    from hotcell.lifetimes import Lifetime
    from hotcell.policy import Policy
    from hotcell.readonly import ReadOnly
    from hotcell.results import (
        Artifact,
        CheckReport,
        Display,
        ErrorInfo,
        ExecutionResult,
        IsolationLevel,
        Redaction,
        SandboxInfo,
        Severity,
        Status,
        Timings,
        ToolCall,
        Usage,
        Violation,
    )
    from hotcell.sandboxes.base import Cancellation, Sandbox
    from hotcell.sandboxes.local.sandbox import LocalSandbox
    from hotcell.sandboxes.restricted import RestrictedPythonSandbox
    from hotcell.sessions import Branches, Session
    from hotcell.streaming import AsyncStream, Stream
    from hotcell.tools import Tool, Toolbox, ToolError, ToolLimits

__version__ = "0.1.0"

_HOME = {
    "hotcell.cache": ["Cache", "MemoryCache"],
    "hotcell.config": ["SandboxConfig"],
    "hotcell.determinism": ["Deterministic"],
    "hotcell.directory_cache": ["DirectoryCache"],
    "hotcell.environments": ["Environment"],
    "hotcell.errors": [
        "ConfigurationError",
        "EnvironmentFailed",
        "HotcellError",
        "PoolExhausted",
        "ProtocolError",
        "QuotaExceeded",
        "SandboxCrashed",
        "SandboxError",
        "SandboxUnavailable",
        "SessionLost",
    ],
    "hotcell.executor": ["Executor", "arun", "check", "run"],
    "hotcell.languages": ["Language"],
    "hotcell.lifetimes": ["Lifetime"],
    "hotcell.policy": ["Policy"],
    "hotcell.readonly": ["ReadOnly"],
    "hotcell.results": [
        "Artifact",
        "CheckReport",
        "DirectoryCache",
        "Display",
        "ErrorInfo",
        "ExecutionResult",
        "IsolationLevel",
        "Redaction",
        "SandboxInfo",
        "Severity",
        "Status",
        "Timings",
        "ToolCall",
        "Usage",
        "Violation",
    ],
    "hotcell.sandboxes.base": ["Cancellation", "Sandbox"],
    "hotcell.sandboxes.local.sandbox": ["LocalSandbox"],
    "hotcell.sandboxes.restricted": ["RestrictedPythonSandbox"],
    "hotcell.sessions": ["Branches", "Session"],
    "hotcell.streaming": ["AsyncStream", "Stream"],
    "hotcell.tools": ["Tool", "ToolError", "ToolLimits", "Toolbox"],
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "Artifact",
    "AsyncStream",
    "Branches",
    "Cache",
    "Cancellation",
    "CheckReport",
    "ConfigurationError",
    "Deterministic",
    "DirectoryCache",
    "Display",
    "Environment",
    "EnvironmentFailed",
    "ErrorInfo",
    "ExecutionResult",
    "Executor",
    "HotcellError",
    "IsolationLevel",
    "Language",
    "Lifetime",
    "LocalSandbox",
    "MemoryCache",
    "Policy",
    "PoolExhausted",
    "ProtocolError",
    "QuotaExceeded",
    "ReadOnly",
    "Redaction",
    "RestrictedPythonSandbox",
    "Sandbox",
    "SandboxConfig",
    "SandboxCrashed",
    "SandboxError",
    "SandboxInfo",
    "SandboxUnavailable",
    "Session",
    "SessionLost",
    "Severity",
    "Status",
    "Stream",
    "Timings",
    "Tool",
    "ToolCall",
    "ToolError",
    "ToolLimits",
    "Toolbox",
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

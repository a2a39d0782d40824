"""Running code in a sandbox with nothing but the wall around it: what is tested here is the wall, not the policy."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from hotcell.config import SandboxConfig
from hotcell.sandboxes.base import Cancellation, RunOutcome, RunRequest, Sandbox

PERMISSIVE = {"policy": "permissive", "imports_allowed": None, "imports_denied": [], "builtins_denied": []}

RAW = """
import ctypes, os
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

def raw(number, *arguments):
    "A system call past the C library: its result, or minus the error number."
    wide = [ctypes.c_long(item) if isinstance(item, int) else item for item in arguments]
    result = _libc.syscall(ctypes.c_long(number), *wide)
    return result if result >= 0 else -ctypes.get_errno()
"""
"""Put before code that makes system calls by number."""

NAMED = "import ctypes; ctypes.CDLL(None).prctl(15, b{name!r}, 0, 0, 0)\n"
"""Put before code whose processes are to be found from outside."""


def ask(
    sandbox: Sandbox,
    code: str,
    *,
    context: Mapping[str, Any] | None = None,
    files: Mapping[str, bytes | os.PathLike[str]] | None = None,
    artifacts: tuple[str, ...] = (),
    cancellation: Cancellation | None = None,
    **limits: Any,
) -> RunOutcome:
    """Run ``code`` once; ``limits`` are fields of SandboxConfig."""
    return sandbox.run(
        RunRequest(
            code=code,
            config=SandboxConfig(**{"timeout_seconds": 5, **limits}),
            namespace=PERMISSIVE,
            context=context or {},
            files=files or {},
            artifacts=artifacts,
            cancellation=cancellation or Cancellation(),
        )
    )

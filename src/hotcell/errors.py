"""Every exception Hotcell raises. What the user's code does is a result; only our own failures raise.

    HotcellError
    ├── ConfigurationError    an option, policy or request is not valid (also a ValueError)
    ├── SandboxError          the place where code runs
    │   ├── SandboxUnavailable    this host cannot give what was promised
    │   ├── SandboxCrashed        the fork server or the engine died under us
    │   ├── SessionLost           a session's state is gone; says why
    │   └── PoolExhausted         no cell became free in time, or the host ran out of something
    ├── EnvironmentFailed     an environment could not be built, or is damaged or in use
    ├── ProtocolError         the other side of the wire broke its rules
    └── QuotaExceeded         the admit hook refused this execution

Each message says what happened, why, and what to do about it.
"""

from __future__ import annotations


class HotcellError(Exception):
    """The base of everything Hotcell raises."""


class ConfigurationError(HotcellError, ValueError):
    """An option, policy or request is not valid: names the field, the value and the allowed range."""


class SandboxError(HotcellError):
    """The sandbox, not the code in it, failed."""


class SandboxUnavailable(SandboxError):
    """This host cannot give a promised layer: says what is missing and how to get it."""


class SandboxCrashed(SandboxError):
    """The fork server or the engine died; the execution may have begun and has no result."""


class SessionLost(SandboxError):
    """The session's cell is gone and its state with it."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
        """One word: ``closed``, ``idle``, ``age``, ``calls``, ``timeout``, ``memory``, ``killed``,
        ``exit`` or ``host``."""


class PoolExhausted(SandboxError):
    """No cell could be prepared in time, or the host ran out of processes, descriptors or memory."""


class EnvironmentFailed(HotcellError):
    """An environment could not be built, with the last words of uv or pip; or it is damaged, or in use."""


class ProtocolError(HotcellError):
    """The other side of the wire sent what the protocol does not allow."""


class QuotaExceeded(HotcellError):
    """The admit hook refused: the caller has used up what it may use."""

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds

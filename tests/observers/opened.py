"""Sessions for tests: opened on a wall that tests share, with the policy out of the way, and closed at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hotcell.config import SandboxConfig
from hotcell.executor import Executor
from hotcell.policy import Policy
from hotcell.results import ExecutionResult
from hotcell.sandboxes.local.sandbox import LocalSandbox
from hotcell.sessions import Session

Opener = Callable[..., Session]


@pytest.fixture(scope="session")
def executor(sandbox: LocalSandbox) -> Executor:
    """Everything is allowed but what the wall stops."""
    return Executor(sandbox, SandboxConfig(timeout_seconds=20), Policy.permissive())


@pytest.fixture
def opened(executor: Executor) -> Iterator[Opener]:
    """``opened(**limits)`` gives a session."""
    sessions: list[Session] = []

    def open_one(**limits: Any) -> Session:
        lifetime = limits.pop("lifetime", None)
        sessions.append(executor.session(config=executor.config.replace(**limits), lifetime=lifetime))
        return sessions[-1]

    yield open_one
    for session in sessions:
        session.close()


@pytest.fixture
def session(opened: Opener) -> Session:
    """One with the usual limits."""
    return opened()


def value(result: ExecutionResult) -> Any:
    """The value of code that must run to its end."""
    assert result.success, (result.reason, result.error)
    return result.value

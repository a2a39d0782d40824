"""Sessions for tests: opened on a wall that tests share, with the policy out of the way, and closed at the end."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hotcell.config import SandboxConfig
from hotcell.executor import Executor
from hotcell.policy import Policy
from hotcell.results import ExecutionResult
from hotcell.sandboxes.local.sandbox import LocalSandbox
from hotcell.sessions import Branches, Session

Opener = Callable[..., Session]
Forker = Callable[..., Branches]


@pytest.fixture(scope="session")
def executor(sandbox: LocalSandbox) -> Executor:
    """Everything is allowed but what the wall stops."""
    return Executor(sandbox, SandboxConfig(timeout_seconds=20), Policy.permissive())


@pytest.fixture
def opened(executor: Executor) -> Iterator[Opener]:
    """``opened(**limits)`` gives a session."""
    sessions: list[Session] = []

    def open_one(**limits: Any) -> Session:
        lifetime, branchable = limits.pop("lifetime", None), limits.pop("branchable", False)
        config = executor.config.replace(**limits)
        sessions.append(executor.session(config=config, lifetime=lifetime, branchable=branchable))
        return sessions[-1]

    yield open_one
    for session in sessions:
        session.close()


@pytest.fixture
def branchable(sandbox: LocalSandbox, opened: Opener) -> Opener:
    """``branchable(**limits)`` gives one that can be forked."""
    if not sandbox.supports_fork:
        pytest.skip("level process: this host refuses namespaces, and without them nothing forks")
    return functools.partial(opened, branchable=True)


@pytest.fixture
def forked(opened: Opener) -> Iterator[Forker]:
    """``forked(session, n)`` gives copies, which are closed at the end."""
    copies: list[Branches] = []

    def fork(session: Session, n: int = 1) -> Branches:
        copies.append(session.fork(n))
        return copies[-1]

    yield fork
    for made in copies:
        made.close()


@pytest.fixture
def session(opened: Opener) -> Session:
    """One with the usual limits."""
    return opened()


def value(result: ExecutionResult) -> Any:
    """The value of code that must run to its end."""
    assert result.success, (result.reason, result.error)
    return result.value

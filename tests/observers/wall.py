"""Fixtures for tests that look at the wall from outside; the conftest of each suite takes them over."""

from __future__ import annotations

import fcntl
import functools
import os
from collections.abc import Callable, Iterator

import pytest
from observers.cells import ask

from hotcell.results import IsolationLevel
from hotcell.sandboxes.base import RunOutcome
from hotcell.sandboxes.local.sandbox import LocalSandbox

Attack = Callable[..., RunOutcome]
EXPECTED_LEVEL = os.environ.get("HOTCELL_EXPECT_LEVEL")
"""Set by whoever knows what this host gives, so that no test is passed over because the wall came up thinner."""


@pytest.fixture(scope="session")
def sandbox() -> Iterator[LocalSandbox]:
    """The wall that this host gives, with the standard library alone."""
    with LocalSandbox(pool_size=2) as made:
        if EXPECTED_LEVEL:
            assert made.isolation == EXPECTED_LEVEL
        yield made


@pytest.fixture(scope="session")
def data_sandbox() -> Iterator[LocalSandbox]:
    """The same with numpy and pandas in the fork server."""
    with LocalSandbox(preload=["numpy", "pandas"], pool_size=1) as made:
        yield made


@pytest.fixture
def attack(sandbox: LocalSandbox) -> Attack:
    """``attack(code, **limits)`` runs the code and returns its outcome."""
    return functools.partial(ask, sandbox)


@pytest.fixture(scope="session")
def namespaced(sandbox: LocalSandbox) -> bool:
    """True where the wall has namespaces."""
    return sandbox.isolation is IsolationLevel.NAMESPACE


@pytest.fixture
def needs_namespaces(namespaced: bool) -> None:
    """For what only namespaces make possible; the pass that expects them fails elsewhere."""
    if not namespaced:
        pytest.skip("level process: this host refuses namespaces")


@pytest.fixture
def one_bomb_at_a_time() -> Iterator[None]:
    """For what takes every processor as long as it lives: two at once, in two test processes, would starve each other
    until neither ends in time."""
    with open(__file__, "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

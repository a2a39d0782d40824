"""Giving up on an execution: from any thread, at any moment, each action exactly once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from hotcell.config import SandboxConfig
from hotcell.results import Status
from hotcell.sandboxes.base import Cancellation, RunRequest
from hotcell.sandboxes.local.sandbox import LocalSandbox


def test_an_action_waits_for_the_cancellation_and_happens_once() -> None:
    cancellation, done = Cancellation(), []
    cancellation.on_cancel(lambda: done.append(1))
    assert (cancellation.cancelled, done) == (False, [])
    cancellation.cancel()
    cancellation.cancel()
    assert (cancellation.cancelled, done) == (True, [1])


def test_an_action_that_comes_late_happens_at_once() -> None:
    cancellation, done = Cancellation(), []
    cancellation.cancel()
    cancellation.on_cancel(lambda: done.append(1))
    assert done == [1]
    cancellation.cancel()
    assert done == [1]


def test_all_actions_happen_and_see_that_it_is_cancelled() -> None:
    cancellation, seen = Cancellation(), []
    for number in range(10):
        cancellation.on_cancel(lambda number=number: seen.append((number, cancellation.cancelled)))
    cancellation.cancel()
    assert seen == [(number, True) for number in range(10)]


@pytest.mark.timeout(10)
def test_an_action_may_cancel_and_add_actions_itself() -> None:
    cancellation, done = Cancellation(), []
    cancellation.on_cancel(cancellation.cancel)
    cancellation.on_cancel(lambda: cancellation.on_cancel(lambda: done.append(1)))
    cancellation.cancel()
    assert done == [1]


def test_an_action_that_fails_does_not_keep_the_others_from_happening() -> None:
    """One cell that cannot be killed must not keep the next one, under the same cancellation, alive."""
    cancellation, done = Cancellation(), []

    def fail() -> None:
        raise OSError("no")

    cancellation.on_cancel(fail)
    cancellation.on_cancel(lambda: done.append(1))
    with pytest.raises(OSError, match="no"):
        cancellation.cancel()
    assert cancellation.cancelled
    assert done == [1]


def test_two_hundred_threads_at_once_lose_and_repeat_no_action() -> None:
    for _ in range(5):
        cancellation, done = Cancellation(), []
        start = threading.Barrier(200)

        def work(number: int, cancellation=cancellation, done=done, start=start) -> None:
            start.wait()
            if number % 10 == 0:
                cancellation.cancel()
            else:
                cancellation.on_cancel(lambda: done.append(number))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(done) == [number for number in range(200) if number % 10]


class _Quick(Cancellation):
    """Cancelled by another thread just when the cell is there, and the cell is dead before the request goes out."""

    def on_cancel(self, action: Callable[[], None]) -> None:
        self.cancel()
        super().on_cancel(action)
        time.sleep(0.05)


def test_a_cancellation_between_the_cell_and_the_request_is_no_failure_of_ours() -> None:
    asked = RunRequest(code="1", config=SandboxConfig(), cancellation=_Quick())
    with LocalSandbox(pool_size=1) as sandbox:
        assert sandbox.run(asked).status is Status.CANCELLED

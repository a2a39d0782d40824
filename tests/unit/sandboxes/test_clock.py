"""The clock counts the code's own seconds: it stands still while the host works, up to a cap."""

from __future__ import annotations

import itertools
import time

from hypothesis import given
from hypothesis import strategies as st

from hotcell.sandboxes.clock import Clock


def started(limit: float, room: float) -> tuple[Clock, float]:
    """A clock, and the moment at which it reads nothing yet."""
    clock = Clock(limit, room)
    return clock, clock._began


def near(value: float, expected: float) -> bool:
    return abs(value - expected) < 1e-6


def test_it_runs() -> None:
    before = time.monotonic()
    clock, began = started(5, 60)
    assert before <= began <= time.monotonic()
    assert near(clock.elapsed(began + 2), 2) and near(clock.left(began + 2), 3)
    assert clock.left(began + 5) <= 0 < clock.left(began + 4.999)


def test_it_stands_still_and_goes_on() -> None:
    clock, began = started(5, 60)
    clock.pause(began + 1, really=True)
    assert near(clock.elapsed(began + 10), 1)
    clock.pause(began + 10, really=False)
    assert near(clock.elapsed(began + 12), 3)
    clock.pause(began + 12, really=True)
    assert near(clock.elapsed(began + 20), 3)


def test_saying_it_again_changes_nothing() -> None:
    clock, began = started(5, 60)
    for moment in (1, 2, 3):
        clock.pause(began + moment, really=True)
    assert near(clock.elapsed(began + 4), 1)
    for moment in (4, 5, 6):
        clock.pause(began + moment, really=False)
    assert near(clock.elapsed(began + 7), 4)


def test_past_the_cap_it_runs_on_whatever_the_host_does() -> None:
    clock, began = started(5, 3)
    clock.pause(began + 1, really=True)
    assert near(clock.elapsed(began + 4), 1)
    assert near(clock.elapsed(began + 6), 3)
    assert clock.left(began + 8) <= 0


def test_the_cap_is_for_all_pauses_together() -> None:
    clock, began = started(100, 3)
    for moment in range(0, 10, 2):  # five pauses of a second
        clock.pause(began + moment, really=True)
        clock.pause(began + moment + 1, really=False)
    assert near(clock.elapsed(began + 10), 7)


def test_without_room_it_never_stands_still() -> None:
    clock, began = started(5, 0)
    clock.pause(began, really=True)
    assert near(clock.elapsed(began + 4), 4)


@given(
    steps=st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=20),
    room=st.floats(0, 200),
    limit=st.floats(0.01, 1000),
)
def test_whatever_happens_it_never_goes_back_nor_faster_than_time(
    steps: list[tuple[float, bool]], room: float, limit: float
) -> None:
    clock, now = started(limit, room)
    began, seen = now, [0.0]
    for seconds, really in steps:
        clock.pause(now, really=really)
        now += seconds
        seen.append(clock.elapsed(now))
        assert now - began - room - 1e-6 <= seen[-1] <= now - began + 1e-6
        assert near(clock.left(now), limit - seen[-1])
    assert all(later >= earlier - 1e-6 for earlier, later in itertools.pairwise(seen))

"""The reaper ends what has come to its end, soon, once, and without being in anybody's way."""

from __future__ import annotations

import dataclasses
import gc
import math
import os
import threading
import time
import weakref
from typing import Any

import pytest

from hotcell.errors import ConfigurationError
from hotcell.lifetimes import Lifetime, Reaper


class Mayfly:
    """Ends at a moment; counts how often it was told to."""

    def __init__(self, seconds: float, reaper: Reaper) -> None:
        self.ends_at = time.monotonic() + seconds
        self.reaper = reaper
        self.is_busy = False
        self.told = 0
        self.ended = threading.Event()

    def seconds_left(self, now: float) -> float:
        return self.ends_at - now

    def expire(self) -> None:
        self.told += 1
        if not self.is_busy:
            self.reaper.forget(self)
            self.ended.set()


def reapers() -> int:
    return sum(thread.name == "hotcell-reaper" for thread in threading.enumerate())


def is_alone(before: int) -> bool:
    """True as soon as the reaper's thread is gone."""
    deadline = time.monotonic() + 5
    while reapers() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    return reapers() == before


def test_each_ends_in_its_time_and_once() -> None:
    before, reaper = reapers(), Reaper()
    flies = [Mayfly(seconds, reaper) for seconds in (0.3, 0.05, 0.15)]
    for fly in flies:
        reaper.watch(fly)
    assert reapers() == before + 1
    assert flies[1].ended.wait(5)
    assert not flies[0].ended.is_set()
    assert flies[2].ended.wait(5) and flies[0].ended.wait(5)
    assert [fly.told for fly in flies] == [1, 1, 1]
    assert is_alone(before)


def test_one_that_is_busy_is_told_again() -> None:
    reaper = Reaper()
    fly = Mayfly(0, reaper)
    fly.is_busy = True
    reaper.watch(fly)
    while fly.told < 3:
        time.sleep(0.005)
    fly.is_busy = False
    assert fly.ended.wait(5)


def test_a_new_one_that_ends_sooner_does_not_wait_for_the_others() -> None:
    reaper = Reaper()
    slow, quick = Mayfly(3600, reaper), Mayfly(0.05, reaper)
    reaper.watch(slow)
    time.sleep(0.05)
    reaper.watch(quick)
    assert quick.ended.wait(5)
    assert slow.told == 0
    reaper.forget(slow)


def test_what_nobody_holds_is_let_go_of_and_the_thread_ends() -> None:
    before, reaper = reapers(), Reaper()
    fly = Mayfly(3600, reaper)
    gone = weakref.ref(fly)
    reaper.watch(fly)
    time.sleep(0.05)
    del fly
    gc.collect()
    assert gone() is None
    assert is_alone(before)


def test_the_thread_comes_back() -> None:
    before, reaper = reapers(), Reaper()
    for _ in range(20):
        fly = Mayfly(0, reaper)
        reaper.watch(fly)
        assert fly.ended.wait(5)
    assert is_alone(before)


def test_many_threads_at_once() -> None:
    reaper = Reaper()
    flies: list[Mayfly] = []

    def work() -> None:
        for number in range(50):
            fly = Mayfly(number / 1000, reaper)
            flies.append(fly)
            reaper.watch(fly)
            if number % 3 == 0:
                reaper.forget(fly)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    watched = [fly for fly in flies if fly.ends_at]
    assert len(watched) == 400
    deadline = time.monotonic() + 5
    while reaper._watched and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not reaper._watched
    assert max(fly.told for fly in flies) == 1


def test_one_that_is_let_go_of_inside_the_reaper_locks_nothing() -> None:
    """A finalizer may run anywhere, also in the middle of watch()."""
    reaper = Reaper()
    fly = Mayfly(3600, reaper)
    with reaper._lock:
        reaper.forget(fly)
        reaper.watch(fly)
    reaper.forget(fly)


def test_a_forked_copy_knows_of_nothing() -> None:
    reaper = Reaper()
    fly = Mayfly(0.2, reaper)
    with reaper._lock:  # as another thread might have held it
        reaper.watch(fly)
        child = os.fork()
        if child == 0:
            own = Mayfly(0, reaper)
            reaper.watch(own)
            fine = own.ended.wait(5) and not fly.ended.wait(0.5)
            os._exit(0 if fine else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert fly.ended.wait(5)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Lifetime)])
@pytest.mark.parametrize("value", [0, -1, 10**10, math.nan, math.inf, True, None, "5", [5]])
def test_what_is_out_of_range_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"^{field}="):
        Lifetime(**{field: value})


def test_nothing_is_kept_for_ever_by_default() -> None:
    assert Lifetime() == Lifetime(idle_seconds=600, age_seconds=3600, calls=10_000)


def test_a_lifetime_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Lifetime().calls = 5

"""The store: any text under any key, within bounds, whoever comes at the same time."""

from __future__ import annotations

import os
import sys
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hotcell.cache import Cache, MemoryCache
from hotcell.errors import ConfigurationError


def held(key: str, value: str) -> int:
    return sys.getsizeof(key) + sys.getsizeof(value)


def test_it_is_a_cache_and_so_is_anything_with_the_two_methods() -> None:
    class Mine:
        def get(self, key: str) -> str | None: ...

        def set(self, key: str, value: str) -> None: ...

    assert isinstance(MemoryCache(), Cache)
    assert isinstance(Mine(), Cache)
    assert not isinstance({}, Cache)


def test_what_was_set_is_there_until_it_is_cleared() -> None:
    cache = MemoryCache()
    assert cache.get("a") is None
    cache.set("a", "1")
    cache.set("a", "2")
    assert (cache.get("a"), len(cache)) == ("2", 1)
    cache.clear()
    assert (cache.get("a"), len(cache)) == (None, 0)


def test_what_was_used_longest_ago_goes_first() -> None:
    cache = MemoryCache(max_entries=2)
    cache.set("a", "1")
    cache.set("b", "2")
    cache.get("a")
    cache.set("c", "3")
    assert [cache.get(key) for key in "abc"] == ["1", None, "3"]


def test_an_entry_that_is_too_large_is_not_kept_and_displaces_nobody_but_its_own_past() -> None:
    cache = MemoryCache(max_bytes=1000)
    cache.set("a", "1")
    cache.set("b", "2")
    cache.set("b", "x" * 2000)
    assert [cache.get(key) for key in "ab"] == ["1", None]


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "9", None])
@pytest.mark.parametrize("name", ["max_entries", "max_bytes"])
def test_a_bound_that_makes_no_sense_is_refused(name: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=name):
        MemoryCache(**{name: value})


class Bounds(RuleBasedStateMachine):
    """Against a dict that forgets nothing: what the cache has is what was set last, and it has never too much."""

    ENTRIES, BYTES = 4, 600

    def __init__(self) -> None:
        super().__init__()
        self.cache = MemoryCache(max_entries=self.ENTRIES, max_bytes=self.BYTES)
        self.model: dict[str, str] = {}

    @rule(key=st.sampled_from("abcdefgh"), value=st.text(max_size=300))
    def put(self, key: str, value: str) -> None:
        self.cache.set(key, value)
        self.model[key] = value
        assert self.cache.get(key) == (value if held(key, value) <= self.BYTES else None)

    @rule(key=st.sampled_from("abcdefgh"))
    def look(self, key: str) -> None:
        assert self.cache.get(key) in (None, self.model.get(key))

    @invariant()
    def it_is_within_its_bounds(self) -> None:
        assert len(self.cache) <= self.ENTRIES
        assert sum(held(*item) for item in self.cache._entries.items()) == self.cache._bytes <= self.BYTES


Bounds.TestCase.settings = settings(deadline=None, max_examples=50)
TestBounds = Bounds.TestCase


@given(values=st.lists(st.text(), max_size=20))
def test_the_text_comes_back_as_it_was(values: list[str]) -> None:
    cache = MemoryCache()
    for number, value in enumerate(values):
        cache.set(str(number), value)
    assert [cache.get(str(number)) for number in range(len(values))] == values


def test_threads_may_come_all_at_once() -> None:
    cache = MemoryCache(max_entries=8, max_bytes=4000)
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for number in range(2000):
                key = str((number * seed) % 20)
                cache.set(key, key * (number % 90))
                value = cache.get(str(number % 20))
                assert value is None or set(value) <= set(str(number % 20))
        except BaseException as error:  # noqa: BLE001  # told by the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (3, 7, 11, 13)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(cache) <= 8
    assert sum(held(*item) for item in cache._entries.items()) == cache._bytes <= 4000


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("in_the_middle", [False, True])
def test_a_forked_child_can_use_it_whatever_the_parent_was_doing(in_the_middle: bool) -> None:
    cache = MemoryCache()
    cache.set("a", "1")
    if in_the_middle:
        cache._lock.acquire()
    child = os.fork()
    if not child:
        there = cache.get("a")
        cache.set("b", "2")
        os._exit(0 if there == (None if in_the_middle else "1") and cache.get("b") == "2" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

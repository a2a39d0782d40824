"""Where results can be kept: anything that maps text to text, and one such thing in memory.

    executor = Executor(cache=MemoryCache())

Django's cache, Redis and others fit with an adapter of a few lines; docs/how-to/cache.md has them.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections import OrderedDict
from typing import Protocol, runtime_checkable

from hotcell.errors import ConfigurationError

_alive: weakref.WeakSet[MemoryCache] = weakref.WeakSet()


@runtime_checkable
class Cache(Protocol):
    """Keeps text under a key. May forget any of it at any time. Called from many threads at once.

    What it raises is logged, and the code is run as if there were no cache.
    """

    def get(self, key: str) -> str | None:
        """The text that was last set under the key (64 hexadecimal digits); None when it is not here."""

    def set(self, key: str, value: str) -> None:
        """Keep the text (JSON) under the key."""


class MemoryCache:
    """A cache in this process, bounded in number and size; what was used longest ago goes first. Thread-safe."""

    def __init__(self, *, max_entries: int = 1000, max_bytes: int = 64 << 20) -> None:
        """``max_bytes`` is the memory that keys and texts take; a text that alone is larger is not kept."""
        for name, value in (("max_entries", max_entries), ("max_bytes", max_bytes)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigurationError(f"{name}={value!r} is not allowed: give a whole number of at least 1.")
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: OrderedDict[str, str] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        _alive.add(self)

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> str | None:
        """The text under the key, which thereby was used last; None when it is not here."""
        with self._lock:
            value = self._entries.get(key)
            if value is not None:
                self._entries.move_to_end(key)
            return value

    def set(self, key: str, value: str) -> None:
        """Keep the text, and forget others until all fit."""
        with self._lock:
            self._forget(key)
            size = _size(key, value)
            if size > self._max_bytes:
                return
            while len(self._entries) >= self._max_entries or self._bytes + size > self._max_bytes:
                self._forget(next(iter(self._entries)))
            self._entries[key] = value
            self._bytes += size

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self._bytes = 0

    def _forget(self, key: str) -> None:
        value = self._entries.pop(key, None)
        if value is not None:
            self._bytes -= _size(key, value)

    def _start_anew(self) -> None:
        """In a forked child: another thread of the parent may have been in the middle of a change."""
        interrupted = self._lock.locked()
        self._lock = threading.Lock()
        if interrupted:
            self.clear()


def _size(key: str, value: str) -> int:
    return sys.getsizeof(key) + sys.getsizeof(value)


def _after_fork_in_child() -> None:
    for cache in list(_alive):
        cache._start_anew()


os.register_at_fork(after_in_child=_after_fork_in_child)

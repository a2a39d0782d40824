"""Ends what has been idle for too long or is too old: one thread for all sessions, which exists while there is one."""

from __future__ import annotations

import os
import threading
import time
import weakref
from dataclasses import dataclass
from typing import Protocol

from hotcell.errors import ConfigurationError

_LEAST_PAUSE_SECONDS = 0.02
_MOST_PAUSE_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Lifetime:
    """How long a session may live, so that nothing is kept for ever."""

    idle_seconds: float = 600.0
    """Since its last call ended."""
    age_seconds: float = 3600.0
    """Since it was opened."""
    calls: int = 10_000
    """How many calls it serves."""

    def __post_init__(self) -> None:
        for name, least in (("idle_seconds", 0.05), ("age_seconds", 0.05), ("calls", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= 10**9:
                raise ConfigurationError(
                    f"{name}={value!r} is not allowed: give a number from {least} to 1,000,000,000."
                )


class Mortal(Protocol):
    """What can come to its end by itself."""

    def seconds_left(self, now: float) -> float:
        """Until it is to end; not positive when that time has come."""

    def expire(self) -> None:
        """End it, if it is not just busy. Called again when it is still there."""


class Reaper:
    """Thread-safe. In a forked copy of the application it knows of nothing."""

    def __init__(self) -> None:
        self._forget()
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._lock = threading.RLock()  # a session that is let go of, anywhere, is forgotten
        self._watched: weakref.WeakSet[Mortal] = weakref.WeakSet()
        self._thread: threading.Thread | None = None
        self._news = threading.Event()

    def watch(self, item: Mortal) -> None:
        """End it when its time has come. It is let go of when nobody else holds it."""
        with self._lock:
            self._watched.add(item)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="hotcell-reaper", daemon=True)
                self._thread.start()
        self._news.set()

    def forget(self, item: Mortal) -> None:
        """It has ended already."""
        with self._lock:
            self._watched.discard(item)
        self._news.set()

    def _work(self) -> None:
        while True:
            now = time.monotonic()
            with self._lock:
                watched = list(self._watched)
                if not watched:
                    self._thread = None
                    return
            left = [(item.seconds_left(now), item) for item in watched]
            for seconds, item in left:
                if seconds <= 0:
                    item.expire()
            pause = min(max(min(seconds for seconds, _ in left), _LEAST_PAUSE_SECONDS), _MOST_PAUSE_SECONDS)
            del watched, left, item
            self._news.wait(pause)
            self._news.clear()


REAPER = Reaper()

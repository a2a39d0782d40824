"""The wall clock of one execution. It stands still while the host works, and not the code; but not for ever."""

from __future__ import annotations

import time


class Clock:
    """Counts seconds of the code's own. Not thread-safe: it belongs to whoever holds the conversation."""

    def __init__(self, limit_seconds: float, pause_seconds: float) -> None:
        """``pause_seconds`` is how long it may stand still altogether; past that it runs on whatever the host does."""
        self._began = time.monotonic()
        self._limit = limit_seconds
        self._room = pause_seconds
        self._paused_at: float | None = None
        self._paused = 0.0

    def pause(self, now: float, *, really: bool) -> None:
        """Stand still from now on if ``really``, else go on."""
        if really and self._paused_at is None:
            self._paused_at = now
        elif not really and self._paused_at is not None:
            self._paused, self._paused_at = self._stood_still(now), None

    def _stood_still(self, now: float) -> float:
        current = 0.0 if self._paused_at is None else now - self._paused_at
        return min(self._room, self._paused + current)

    def elapsed(self, now: float) -> float:
        """Seconds of the code's own until now."""
        return now - self._began - self._stood_still(now)

    def left(self, now: float) -> float:
        """Seconds until the limit; not positive once it is reached."""
        return self._limit - self.elapsed(now)

"""What makes a second run of the same code come to the same result: frozen data, checked when it is made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from hotcell.errors import ConfigurationError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_SECOND = 253_402_300_799
"""The end of the year 9999, the last that datetime knows."""
_SEEDS = 1 << 32
"""As many as numpy's seed takes."""


@dataclass(frozen=True, kw_only=True)
class Deterministic:
    """Run code so that running it again gives the same. It then has no secret random numbers: they are all known."""

    seed: int = 0
    """Where all randomness begins, that of the operating system included: from 0 to 4,294,967,295."""

    clock: float | datetime | None = None
    """The time it is in there, in seconds since 1970 or as a datetime with a time zone; None leaves the true time."""

    def __post_init__(self) -> None:
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < _SEEDS:
            raise ConfigurationError(f"seed={self.seed!r} is not allowed: give a whole number from 0 to {_SEEDS - 1}.")
        if isinstance(self.clock, datetime):
            if self.clock.utcoffset() is None:
                raise ConfigurationError(f"clock={self.clock!r} has no time zone: give it one, such as datetime.UTC.")
        elif self.clock is not None and (isinstance(self.clock, bool) or not isinstance(self.clock, int | float)):
            raise ConfigurationError(f"clock={self.clock!r} is not allowed: give a number of seconds or a datetime.")
        seconds = self.clock if isinstance(self.clock, int | float) else (self.clock_ns or 0) / 1e9
        if not math.isfinite(seconds) or not 0 <= seconds <= _LAST_SECOND:
            raise ConfigurationError(f"clock={self.clock!r} is not allowed: give a time from 1970 to 9999.")

    @property
    def clock_ns(self) -> int | None:
        """The fixed time in nanoseconds since 1970; None when the clock is not fixed."""
        if self.clock is None:
            return None
        if isinstance(self.clock, datetime):
            return (self.clock - _EPOCH) // timedelta(microseconds=1) * 1000
        return round(self.clock * 1_000_000_000)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data: what the worker is told, and what a cache key is made of."""
        return {"seed": self.seed, "clock_ns": self.clock_ns}

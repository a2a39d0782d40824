"""What deterministic mode is asked for: a seed, and a time that is one moment wherever it is read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from hotcell.determinism import Deterministic
from hotcell.errors import ConfigurationError


def test_by_default_the_seed_is_zero_and_the_clock_is_the_true_one() -> None:
    assert Deterministic().to_dict() == {"seed": 0, "clock_ns": None}


def test_the_same_moment_is_the_same_number_however_it_is_written() -> None:
    there = datetime(2024, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    for clock in (1_704_067_200, 1_704_067_200.0, datetime(2024, 1, 1, tzinfo=UTC), there):
        assert Deterministic(clock=clock).clock_ns == 1_704_067_200 * 10**9


def test_a_datetime_keeps_its_microseconds_and_the_ends_of_time_are_allowed() -> None:
    assert Deterministic(clock=datetime(2024, 1, 1, 0, 0, 0, 123457, tzinfo=UTC)).clock_ns == 1_704_067_200_123_457_000
    assert Deterministic(clock=0).clock_ns == 0
    assert Deterministic(clock=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)).clock_ns == 253_402_300_799 * 10**9


@pytest.mark.parametrize("seed", [-1, 1 << 32, 1.0, True, "0", None])
def test_a_seed_that_not_every_library_takes_is_refused(seed: Any) -> None:
    with pytest.raises(ConfigurationError, match="4294967295"):
        Deterministic(seed=seed)


@pytest.mark.parametrize(
    "clock",
    [
        *(-1, 1 << 60, 1e300, float("nan"), float("inf"), True, "now"),
        datetime(2024, 1, 1),  # noqa: DTZ001  # that is the point
        datetime(1969, 1, 1, tzinfo=UTC),
    ],
)
def test_a_clock_that_is_no_moment_is_refused(clock: Any) -> None:
    with pytest.raises(ConfigurationError, match="clock="):
        Deterministic(clock=clock)

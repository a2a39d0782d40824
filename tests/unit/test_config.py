"""Every limit is checked when it is set: what is out of range, or no number, is named with what would be right."""

from __future__ import annotations

import dataclasses
import decimal
import fractions
import json
import math
import pickle
import re
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hotcell.config import SandboxConfig
from hotcell.errors import ConfigurationError, HotcellError

MiB = 1 << 20
# The promise of docs/reference: both ends are allowed.
RANGES = {
    "timeout_seconds": (0.01, 86_400),
    "cpu_seconds": (0.01, 86_400),
    "memory_bytes": (16 * MiB, 1 << 44),
    "processes": (1, 4096),
    "open_files": (16, 65_536),
    "file_bytes": (0, 1 << 44),
    "disk_bytes": (MiB, 1 << 44),
    "disk_files": (16, 10_000_000),
    "output_bytes": (1024, 1 << 30),
    "value_bytes": (1024, 1 << 28),
    "artifact_bytes": (0, 1 << 40),
    "artifact_count": (0, 100_000),
    "display_bytes": (0, 1 << 28),
    "display_count": (0, 10_000),
    "pause_seconds": (0, 86_400),
}
SECONDS = {"timeout_seconds", "cpu_seconds", "pause_seconds"}
ALL_FIELDS = {*RANGES, "figure_formats"}
FORMATS = st.lists(st.sampled_from(["png", "svg"])).map(tuple)
FIELDS = st.sampled_from(sorted(RANGES))
WHOLE_FIELDS = st.sampled_from(sorted(RANGES.keys() - SECONDS))


def in_range(field: str) -> st.SearchStrategy[float]:
    least, most = RANGES[field]
    return st.floats(least, most) if field in SECONDS else st.integers(int(least), int(most))


CHANGES = st.fixed_dictionaries({}, optional={"figure_formats": FORMATS} | {field: in_range(field) for field in RANGES})


def refused(field: str, value: Any) -> str:
    """The message of the refusal, which every way of setting the field gives."""
    with pytest.raises(ConfigurationError) as told:
        SandboxConfig(**{field: value})
    with pytest.raises(ConfigurationError) as told_again:
        SandboxConfig().replace(**{field: value})
    assert str(told.value) == str(told_again.value)
    assert str(told.value).startswith(field)
    assert isinstance(told.value, ValueError) and isinstance(told.value, HotcellError)
    return str(told.value)


def test_the_fields_are_the_documented_ones() -> None:
    assert {field.name for field in dataclasses.fields(SandboxConfig)} == ALL_FIELDS


def test_the_defaults_are_valid_and_stay() -> None:
    assert SandboxConfig().to_dict() == {
        "timeout_seconds": 10.0,
        "cpu_seconds": None,
        "memory_bytes": 512 * MiB,
        "processes": 32,
        "open_files": 256,
        "file_bytes": 64 * MiB,
        "disk_bytes": 128 * MiB,
        "disk_files": 10_000,
        "output_bytes": MiB,
        "value_bytes": MiB,
        "artifact_bytes": 64 * MiB,
        "artifact_count": 100,
        "display_bytes": 16 * MiB,
        "display_count": 100,
        "figure_formats": ["png"],
        "pause_seconds": 60.0,
    }


@pytest.mark.parametrize("value", ["png", None, ("gif",), [["png"]], ({},), (1,), {"png"}, b"png", ("png", None)])
def test_figures_come_in_known_formats_only(value: Any) -> None:
    assert "'png' and 'svg'" in refused("figure_formats", value)


def test_a_list_of_formats_becomes_a_tuple_so_that_a_config_stays_hashable() -> None:
    assert SandboxConfig(figure_formats=["svg", "png"]) == SandboxConfig(figure_formats=("svg", "png"))
    assert hash(SandboxConfig(figure_formats=[])) == hash(SandboxConfig(figure_formats=()))


@given(changes=CHANGES)
@settings(deadline=None)
def test_whatever_is_in_range_is_kept_as_it_is(changes: dict[str, float]) -> None:
    config = SandboxConfig(**changes)
    assert {name: getattr(config, name) for name in changes} == changes
    assert SandboxConfig().replace(**changes) == config
    assert SandboxConfig(**config.to_dict()) == config
    assert pickle.loads(pickle.dumps(config)) == config
    assert json.loads(json.dumps(config.to_dict(), allow_nan=False)) == config.to_dict()
    assert hash(config) == hash(SandboxConfig(**changes))


@pytest.mark.parametrize("field", RANGES)
def test_both_ends_are_allowed_and_the_next_beyond_are_not(field: str) -> None:
    least, most = RANGES[field]
    SandboxConfig(**{field: least})
    SandboxConfig(**{field: most})
    for beyond in (
        (math.nextafter(least, -1), math.nextafter(most, math.inf)) if field in SECONDS else (least - 1, most + 1)
    ):
        refused(field, beyond)


@given(field=FIELDS, data=st.data())
@settings(deadline=None)
def test_out_of_range_is_refused(field: str, data: st.DataObject) -> None:
    least, most = RANGES[field]
    low, high = math.ceil(least) - 1, int(most) + 1
    refused(field, data.draw(st.integers(max_value=low) | st.integers(min_value=high)))


@given(field=WHOLE_FIELDS, value=st.floats())
@settings(deadline=None)
def test_a_fraction_is_no_count(field: str, value: float) -> None:
    assert "whole number" in refused(field, value)


@given(value=st.floats(), field=st.sampled_from(sorted(SECONDS)))
@settings(deadline=None)
def test_seconds_out_of_range_are_refused(field: str, value: float) -> None:
    least, most = RANGES[field]
    assume(not least <= value <= most)
    refused(field, value)


WRONG = [
    True,
    False,
    math.nan,
    math.inf,
    -math.inf,
    "10",
    b"10",
    [10],
    {},
    1j,
    object(),
    decimal.Decimal(100_000),
    fractions.Fraction(100_000),
]


@pytest.mark.parametrize("value", WRONG, ids=[type(value).__name__ + str(place) for place, value in enumerate(WRONG)])
@pytest.mark.parametrize("field", RANGES)
def test_the_wrong_kind_is_refused(field: str, value: object) -> None:
    refused(field, value)


@pytest.mark.parametrize("field", sorted(RANGES.keys() - {"cpu_seconds"}))
def test_none_is_no_limit_and_is_refused(field: str) -> None:
    refused(field, None)


@pytest.mark.parametrize("field", RANGES)
def test_a_number_too_long_to_be_written_is_refused_like_any_other(field: str) -> None:
    for value in (10**5000, -(10**5000)):
        assert len(refused(field, value)) < 1000


@pytest.mark.parametrize("field", RANGES)
def test_text_of_a_megabyte_is_not_repeated_in_the_message(field: str) -> None:
    assert len(refused(field, "x" * MiB)) < 1000


@pytest.mark.parametrize("field", RANGES)
def test_the_message_gives_a_range_whose_ends_are_allowed(field: str) -> None:
    """A caller who takes an end of the range from the message must not be refused again."""
    message = refused(field, -5)
    assert "-5" in message
    numbers = re.search(r"from ([\d.,_e+]+) to ([\d.,_e+]+?)\.?$", message)
    assert numbers, message
    for text in numbers.groups():
        number = float(text.replace(",", "").replace("_", ""))
        SandboxConfig(**{field: number if field in SECONDS else int(number)})


@given(changes=CHANGES, more=CHANGES)
@settings(deadline=None)
def test_replace_changes_what_it_is_told_and_nothing_else(changes: dict[str, float], more: dict[str, float]) -> None:
    before = SandboxConfig(**changes)
    after = before.replace(**more)
    assert before == SandboxConfig(**changes)
    assert after == SandboxConfig(**{**before.to_dict(), **more})
    assert all(getattr(after, name) == more.get(name, getattr(before, name)) for name in ALL_FIELDS)


def test_replace_names_a_field_that_there_is_not() -> None:
    with pytest.raises(ConfigurationError, match="'timeout'"):
        SandboxConfig().replace(timeout=5)


def test_an_unknown_field_is_refused_when_made() -> None:
    with pytest.raises(TypeError, match="timeout"):
        SandboxConfig(timeout=5)


def test_it_is_frozen_and_keyword_only() -> None:
    config = SandboxConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.timeout_seconds = 5
    with pytest.raises(TypeError):
        SandboxConfig(5)


@given(timeout=st.floats(0.01, 86_400), cpu=st.none() | st.floats(0.01, 86_400))
@settings(deadline=None)
def test_without_a_cpu_limit_of_its_own_the_wall_clock_is_it(timeout: float, cpu: float | None) -> None:
    config = SandboxConfig(timeout_seconds=timeout, cpu_seconds=cpu)
    assert config.effective_cpu_seconds == (timeout if cpu is None else cpu)


def test_whole_seconds_may_be_int() -> None:
    assert SandboxConfig(timeout_seconds=5, cpu_seconds=1).effective_cpu_seconds == 1

"""Every value has a defined treatment, whatever it says of itself."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import json
import pathlib
import types
import uuid
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotcell.worker.values import convert, to_data

MiB = 1 << 20
Point = collections.namedtuple("Point", "x y")


@dataclasses.dataclass(slots=True)
class Row:
    name: str
    cells: list[int]


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class LyingStr(str):
    __slots__ = ()

    def __str__(self):
        return "a lie"

    def __len__(self):
        return 10**18

    def encode(self, *args):
        raise ZeroDivisionError


class LyingInt(int):
    def __int__(self):
        return 7

    __index__ = __int__

    def bit_length(self):
        return 0


class LyingDict(dict):
    def items(self):
        raise ZeroDivisionError

    def __iter__(self):
        return iter(["lie"])


class EndlessList(list):
    def __iter__(self):
        while True:
            yield 1


class LyingClass:
    @property
    def __class__(self):
        return int

    def __repr__(self):
        return "<mine>"


class BadRepr:
    def __repr__(self):
        raise TypeError


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (None, None),
        (True, True),
        (2**70, 2**70),
        (1.5, 1.5),
        (float("nan"), None),
        (float("-inf"), None),
        ("text", "text"),
        ("\udc80", "\\udc80"),
        ((1, 2), [1, 2]),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset({"b", "a"}), ["a", "b"]),
        (range(3), [0, 1, 2]),
        (collections.deque([1]), [1]),
        (array("i", [1, 2]), [1, 2]),
        ({"a": 1}.keys(), ["a"]),
        ({"a": 1}.values(), [1]),
        ({"a": 1}.items(), [["a", 1]]),
        (types.MappingProxyType({"a": 1}), {"a": 1}),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        ({1: "a", None: "b", False: "c", 1.5: "d"}, {"1": "a", "null": "b", "false": "c", "1.5": "d"}),
        ({(1, 2): 3}, {"(1, 2)": 3}),
        ({datetime.date(2024, 1, 2): 1}, {"2024-01-02": 1}),
        ({Colour.RED: 1}, {"red": 1}),
        ({1: "a", "1": "b"}, {"1": "a", "1 (2)": "b"}),
        ({float("nan"): 1, None: 2, float("inf"): 3}, {"null": 1, "null (2)": 2, "null (3)": 3}),
        ({"1 (2)": 0, 1: "a", "1": "b"}, {"1 (2)": 0, "1": "a", "1 (3)": "b"}),
        (
            datetime.datetime(2024, 1, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=-3))),
            "2024-01-02T00:00:00-03:00",
        ),
        (datetime.datetime(2024, 1, 2, 3, 4, tzinfo=datetime.UTC), "2024-01-02T03:04:00+00:00"),
        (datetime.date(2024, 1, 2), "2024-01-02"),
        (datetime.time(3, 4), "03:04:00"),
        (datetime.timedelta(minutes=1), 60.0),
        (decimal.Decimal("1.10"), "1.10"),
        (decimal.Decimal("NaN"), None),
        (fractions.Fraction(1, 3), "1/3"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (pathlib.PurePosixPath("a/b"), "a/b"),
        (1 + 2j, "(1+2j)"),
        (b"\x00\xff", "AP8="),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (Point(1, 2), {"x": 1, "y": 2}),
        (Row("a", [1]), {"name": "a", "cells": [1]}),
        ([object], [repr(object)]),
        (LyingStr("truth"), "truth"),
        (LyingInt(3), 3),
        (LyingDict(a=1), {"a": 1}),
        (EndlessList([1, 2]), [1, 2]),
        ([LyingClass()], ["<mine>"]),
        ([BadRepr()], ["<repr failed: TypeError>"]),
    ],
)
def test_the_treatment_of(value: object, data: object):
    assert convert(value, MiB)[0] == data


def test_the_repr_is_that_of_the_value():
    assert convert({"a": (1, 2)}, MiB) == ({"a": [1, 2]}, "{'a': (1, 2)}")


@pytest.mark.parametrize("value", [object(), print, iter([]), BadRepr(), LyingClass(), (item for item in [1])])
def test_what_has_no_json_form_has_only_a_repr(value: object):
    data, text = convert(value, MiB)
    assert data is None
    assert text


def test_a_number_of_ten_thousand_digits_is_described():
    assert convert(10**10_000, MiB) == ("<int of 33220 bits>", "<int of 33220 bits>")


@pytest.mark.parametrize("value", ["x" * 2000, list(range(2000)), {"k": ["y" * 500] * 5}, [[]] * 2000, "\u20ac" * 400])
def test_a_value_that_does_not_fit_has_only_a_short_repr(value: object):
    data, text = convert(value, 1024)
    assert data is None
    assert text is not None
    assert 0 < len(text) <= 8003


def test_a_huge_value_is_refused_without_being_copied():
    data, text = convert(range(10**12), MiB)
    assert (data, text) == (None, "range(0, 1000000000000)")


def test_a_cycle_is_marked():
    loop: list[object] = [1]
    loop.append(loop)
    assert convert(loop, MiB) == ([1, "<cycle>"], "[1, [...]]")


def test_the_same_object_twice_is_no_cycle():
    row = [1]
    assert convert([row, row], MiB)[0] == [[1], [1]]


def test_a_million_levels_are_cut():
    deep: list[object] = []
    for _ in range(1_000_000):
        deep = [deep]
    data, text = convert(deep, MiB)
    assert "<too deep>" in json.dumps(data)
    assert text == "<repr failed: RecursionError>"


def test_a_long_repr_is_shortened_at_both_ends():
    class Long:
        def __repr__(self):
            return "<" + "x" * 10**6 + ">"

    text = convert(Long(), MiB)[1]
    assert text is not None
    assert len(text) < 8010
    assert text[0] + text[-1] == "<>"


def test_an_endless_mapping_ends():
    class Endless(collections.abc.Mapping):
        def __getitem__(self, key):
            return 1

        def __len__(self):
            return 1

        def __iter__(self):
            number = 0
            while True:
                yield str(number)
                number += 1

    assert convert(types.MappingProxyType(Endless()), MiB)[0] is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@given(JSON)
def test_json_data_comes_back_as_it_is(value: object):
    assert convert(value, MiB)[0] == value


@given(
    st.recursive(
        st.binary()
        | st.complex_numbers()
        | st.floats()
        | st.dates()
        | st.decimals()
        | st.text(st.characters(), max_size=5),
        lambda inner: st.lists(inner) | st.tuples(inner, inner),
        max_leaves=10,
    )
)
def test_whatever_it_is_the_result_is_json_within_the_size(value: object):
    data, _ = convert(value, 1024)
    assert len(json.dumps(data, allow_nan=False, ensure_ascii=False).encode()) <= 1024


class TestLibraries:
    np = pytest.importorskip("numpy")
    pd = pytest.importorskip("pandas")

    def test_numpy(self):
        np = self.np
        cases = [
            (np.float64(1.5), 1.5),
            (np.float32("nan"), None),
            (np.int8(3), 3),
            (np.bool_(True), True),
            (np.longdouble(2), 2.0),
            (np.str_("a"), "a"),
            (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
            (np.array([1.0, np.inf]), [1.0, None]),
            (np.array(["2024-01-01", "NaT"], dtype="M8[D]"), ["2024-01-01", None]),
            (np.datetime64("2024-01-01"), "2024-01-01"),
            (np.timedelta64("NaT", "s"), None),
            (np.array([object, 1], dtype=object), [repr(object), 1]),
            (np.array(5), 5),
            (np.ma.array([1, 2], mask=[True, False]), [None, 2]),
            (np.ma.masked, None),
            (np.array(["2024-02", "NaT"], dtype="M8[M]"), ["2024-02", None]),
            (np.datetime64(1, "as"), "1970-01-01T00:00:00.000000000000000001"),
            (np.array([1, "NaT"], dtype="m8[h]"), [3600.0, None]),
            (np.timedelta64(90, "ms"), 0.09),
            (np.timedelta64(3, "M"), "3 months"),
            (np.array([2], dtype="m8[Y]"), ["2 years"]),
            (np.array([1 + 2j]), ["(1+2j)"]),
            (np.clongdouble(1 + 2j), "(1+2j)"),
            (np.array([1], dtype=np.longdouble), [1.0]),
            (np.array({"a": 1}, dtype=object), {"a": 1}),
            (np.array([b"\xff"]), ["/w=="]),
            ({np.int64(1): 2, np.float64("nan"): 3}, {"1": 2, "null": 3}),
        ]
        for value, data in cases:
            assert convert(value, MiB)[0] == data, value

    def test_records_are_objects(self):
        np = self.np
        kind = [("a", "i4"), ("b", [("c", "f8"), ("d", "U1", 2)])]
        row = {"a": 1, "b": {"c": 2.5, "d": ["x", "y"]}}
        array = np.array([(1, (2.5, ["x", "y"]))], dtype=kind)
        assert convert(array, MiB)[0] == [row]
        assert convert(array[0], MiB)[0] == row
        assert convert(array.reshape(()), MiB)[0] == row
        assert convert(array.view(np.recarray), MiB)[0] == [row]
        assert convert(np.ma.array([(1, 2)], mask=[(1, 0)], dtype="i4,i4"), MiB)[0] == [{"f0": None, "f1": 2}]

    def test_an_array_inside_itself_is_a_cycle(self):
        array = self.np.array([None], dtype=object)
        array[0] = array
        assert "<cycle>" in json.dumps(convert(array, MiB)[0])

    def test_a_large_array_is_refused_before_it_is_copied(self):
        assert convert(self.np.zeros(10**8), MiB)[0] is None

    def test_pandas(self):
        pd = self.pd
        frame = pd.DataFrame({"n": [1, 2], "t": pd.to_datetime(["2024-01-01", None])}, index=["a", "b"])
        assert convert(frame, MiB)[0] == {
            "columns": ["n", "t"],
            "index": ["a", "b"],
            "data": [[1, "2024-01-01T00:00:00"], [2, None]],
            "shape": [2, 2],
        }
        assert convert(frame["n"], MiB)[0] == {"name": "n", "index": ["a", "b"], "data": [1, 2]}
        assert convert(frame.columns, MiB)[0] == ["n", "t"]
        assert convert([pd.NaT, pd.NA, pd.Timestamp(0)], MiB)[0] == [None, None, "1970-01-01T00:00:00"]
        assert convert(pd.DataFrame(), MiB)[0] == {"columns": [], "index": [], "data": [], "shape": [0, 0]}

    def test_other_types_of_pandas(self):
        pd = self.pd
        cases = [
            (pd.Period("2024-01", "M"), "2024-01"),
            (pd.Interval(0, 1), "(0, 1]"),
            (pd.Timedelta(1, "ns"), 1e-09),
            (pd.Timestamp("2024-01-01T00:00:00.000000001"), "2024-01-01T00:00:00.000000001"),
            (pd.Timestamp("2024-01-01", tz="Europe/Oslo"), "2024-01-01T00:00:00+01:00"),
            (pd.Categorical(["a", None]), ["a", None]),
            (pd.array([1, None], dtype="Int64"), [1, None]),
            (pd.MultiIndex.from_tuples([(1, "a"), (2, "b")]), [[1, "a"], [2, "b"]]),
            (pd.period_range("2024-01", periods=1, freq="M"), ["2024-01"]),
            (pd.interval_range(0, 1), ["(0, 1]"]),
            (pd.to_timedelta(["1h", None]), [3600.0, None]),
            ({pd.Timestamp(0): 1, pd.NaT: 2}, {"1970-01-01T00:00:00": 1, "null": 2}),
        ]
        for value, data in cases:
            assert convert(value, MiB)[0] == data, value
        for dtype, values in (("boolean", [True, None]), ("string", ["a", None]), ("category", ["a", None])):
            assert convert(pd.Series(values, dtype=dtype), MiB)[0]["data"] == values

    def test_columns_of_the_same_name_stay_apart(self):
        frame = self.pd.DataFrame([[1, 2]], columns=["a", "a"])
        assert convert(frame, MiB)[0] == {"columns": ["a", "a"], "index": [0], "data": [[1, 2]], "shape": [1, 2]}
        assert convert(frame.T.T.set_axis([("a", 1), ("a", 2)], axis=1), MiB)[0]["columns"] == [["a", 1], ["a", 2]]

    def test_a_long_frame_is_cut_and_its_shape_says_so(self):
        data = convert(self.pd.DataFrame({"a": range(20_000)}), MiB)[0]
        assert (len(data["data"]), len(data["index"]), data["shape"]) == (10_000, 10_000, [20_000, 1])

    def test_figures_and_images_have_a_repr_only(self):
        image = pytest.importorskip("PIL.Image").new("L", (2, 2))
        assert convert(image, MiB)[0] is None


# --- exactly, or not at all


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), "a object"),
        ([{"a": {1: object()}}], "a object"),
        ([float("inf")], "the float inf"),
        ([1 << 20_000], "an int of 20001 bits"),
        ((number for number in ()), "a generator"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_would_have_a_stand_in_is_a_type_error(value, message):
    with pytest.raises(TypeError) as told:
        to_data(value, MiB)
    assert str(told.value) == message


def test_what_contains_itself_or_has_no_end_is_a_type_error():
    loop: list = []
    loop.append({"again": loop})
    deep: list = []
    for _ in range(60):
        deep = [deep]
    for value, message in [(loop, "contains itself"), (deep, "more than 50 deep")]:
        with pytest.raises(TypeError, match=message):
            to_data(value, MiB)


def test_what_does_not_fit_is_a_value_error():
    for value in ("x" * 2000, ["é" * 600], range(10**9)):
        with pytest.raises(ValueError, match=r"more than 1,024 bytes as JSON"):
            to_data(value, 1024)


def test_nan_is_none_where_that_is_wanted():
    assert to_data([float("nan"), 1.5], MiB, nan_is_none=True) == [None, 1.5]


@given(JSON)
def test_json_data_stays_as_it_is(value):
    assert to_data(value, MiB) == value == convert(value, MiB)[0]

"""What type hints promise, hostile JSON data either is or is refused; what they cannot promise is refused at once."""

from __future__ import annotations

import base64
import collections.abc
import dataclasses
import datetime
import decimal
import enum
import functools
import json
import re
import typing
import uuid
from typing import Annotated, Any, Literal, NewType, NotRequired, Optional, Required, TypedDict, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotcell.errors import ConfigurationError
from hotcell.tools.hints import UnsupportedHint, shape_of
from hotcell.tools.shapes import Mismatch
from hotcell.tools.signature import ToolSignature

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


class Colour(enum.Enum):
    RED = "red"
    TWO = 2


class Odd(enum.Enum):
    THING = object()


class Filter(TypedDict):
    city: str
    limit: NotRequired[int]


class Loose(TypedDict, total=False):
    name: Required[str]
    age: int


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.5
    tags: list[str] = dataclasses.field(default_factory=list)
    length: int = dataclasses.field(init=False, default=0)


@dataclasses.dataclass
class Node:
    children: list[Node]


@dataclasses.dataclass
class Positive:
    number: int

    def __post_init__(self):
        if self.number < 0:
            raise ValueError("negative")


Customer = NewType("Customer", int)


class Broken(TypedDict):
    what: NoSuchName  # noqa: F821  # on purpose


@pytest.mark.parametrize(
    ("hint", "data", "becomes"),
    [
        (None, None, None),
        (bool, True, True),
        (int, 3, 3),
        (float, 2.5, 2.5),
        (float, 2, 2.0),
        (str, "x", "x"),
        (Any, {"a": [1]}, {"a": [1]}),
        (object, [1], [1]),
        (list, [1, "a"], [1, "a"]),
        (list[int], [1, 2], [1, 2]),
        (collections.abc.Sequence[float], [1], [1.0]),
        (typing.List[str], ["a"], ["a"]),  # noqa: UP006
        (tuple[int, str], [1, "a"], (1, "a")),
        (tuple[int, ...], [1, 2, 3], (1, 2, 3)),
        (tuple, [1, "a"], (1, "a")),
        (set[int], [1, 1, 2], {1, 2}),
        (frozenset, ["a"], frozenset("a")),
        (dict, {"a": 1}, {"a": 1}),
        (dict[str, list[int]], {"a": [1]}, {"a": [1]}),
        (collections.abc.Mapping[str, bool], {"a": True}, {"a": True}),
        (Literal["a", 1, None], "a", "a"),
        (Literal[Colour.RED], "red", Colour.RED),
        (Optional[int], None, None),  # noqa: UP045
        (int | None, 4, 4),
        (float | int, 3, 3),
        (Union[float, int], 3.5, 3.5),  # noqa: UP007
        (str | list[str], ["a"], ["a"]),
        (Annotated[int, "how many", object()], 5, 5),
        (Annotated[int, [1]], 5, 5),
        (Customer, 7, 7),
        (Colour, "red", Colour.RED),
        (Colour, 2, Colour.TWO),
        (Filter, {"city": "Oslo"}, {"city": "Oslo"}),
        (Filter, {"city": "Oslo", "limit": 1}, {"city": "Oslo", "limit": 1}),
        (Loose, {"name": "Ada"}, {"name": "Ada"}),
        (Point, {"x": 1, "y": 2}, Point(1, 2.0)),
        (list[Point], [{"x": 1, "tags": ["a"]}], [Point(1, 0.5, ["a"])]),
        (datetime.datetime, "2024-02-29T12:00:00+00:00", datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC)),
        (datetime.date, "2024-02-29", datetime.date(2024, 2, 29)),
        (datetime.time, "12:30:00", datetime.time(12, 30)),
        (uuid.UUID, str(uuid.UUID(int=5)), uuid.UUID(int=5)),
        (decimal.Decimal, "1.10", decimal.Decimal("1.10")),
        (decimal.Decimal, 3, decimal.Decimal(3)),
        (bytes, base64.b64encode(b"\0x").decode(), b"\0x"),
    ],
)
def test_good_data_becomes_what_the_hint_says(hint: Any, data: Any, becomes: Any):
    made = shape_of(hint).convert(data, "it")
    assert made == becomes and type(made) is type(becomes)


@pytest.mark.parametrize(
    ("hint", "data", "message"),
    [
        (int, True, "it must be int, not bool True"),
        (int, 1.0, "it must be int, not float 1.0"),
        (int, "1", "it must be int, not str '1'"),
        (bool, 1, "it must be bool, not int 1"),
        (float, True, "it must be float, not bool"),
        (float, 10**400, "it must be float, not int of 1329 bits"),
        (str, None, "it must be str, not None"),
        (list[int], {"0": 1}, "it must be list[int], not dict of 1"),
        (list[int], [1, [2]], "it[1] must be int, not list of 1"),
        (dict[str, int], {"a": "b"}, "it['a'] must be int, not str 'b'"),
        (tuple[int, str], [1], "it must be tuple[int, str], not list of 1"),
        (set, [[1]], "it must be set, and has an item that cannot be in a set"),
        (Literal[1], True, "it must be one of 1, not bool True"),
        (Literal["a"], ["a"], "it must be one of 'a', not list of 1"),
        (Colour, "RED", "it must be one of 'red', 2, not str 'RED'"),
        (Colour, 2.0, "it must be one of 'red', 2, not float 2.0"),
        (int | None, "x", "it must be int, not str 'x'"),
        (int | str, [], "it must be int | str, not list of 0"),
        (Filter, {}, "it lacks the key 'city'"),
        (Filter, {"city": "a", "evil": 1}, "it has the key 'evil', which is none of city, limit"),
        (Filter, {"city": 1}, "it['city'] must be str, not int 1"),
        (Point, {"x": 1, "length": 2}, "it has the key 'length'"),
        (Point, {"__class__": 1}, "it lacks the key 'x'"),
        (list[Point], [{"x": 1}, {"x": "a"}], "it[1]['x'] must be int, not str 'a'"),
        (datetime.date, "tomorrow", "it must be a date as ISO 8601 text, not str 'tomorrow'"),
        (datetime.date, 5, "it must be a date as ISO 8601 text, not int 5"),
        (decimal.Decimal, "NaN", "it must be a decimal number as text, not str 'NaN'"),
        (decimal.Decimal, "1e999999", "it must be a decimal number as text"),
        (decimal.Decimal, "x", "it must be a decimal number as text, not str 'x'"),
        (bytes, "not base64!", "it must be Base64 text, not str 'not base64!'"),
        (uuid.UUID, "5", "it must be a UUID as text, not str '5'"),
        (str, 10**4000, "it must be str, not int of 13288 bits"),
        (int, "x" * 5000, "it must be int, not str"),
    ],
)
def test_anything_else_is_refused_and_says_where(hint: Any, data: Any, message: str):
    with pytest.raises(Mismatch, match=re.escape(message)) as told:
        shape_of(hint).convert(data, "it")
    assert len(str(told.value)) < 200


def test_a_wrong_value_of_the_right_type_is_a_value_error():
    for hint, data in [(Colour, "green"), (datetime.date, "never"), (float, 10**400)]:
        with pytest.raises(Mismatch) as told:
            shape_of(hint).convert(data, "it")
        assert told.value.kind == "ValueError"


@pytest.mark.parametrize(
    ("hint", "reason"),
    [
        (Node, "Node, which contains itself"),
        (Odd, "Odd, whose values are not all JSON data"),
        (Literal[b"x"], "whose values are not all JSON data"),
        (dict[int, str], "keys that are not str"),
        (dict[bool, str] | None, "keys that are not str"),
        (collections.abc.Callable[[int], str], "Callable"),
        (re.Pattern, "Pattern"),
        (list[complex], "complex"),
        (Broken, "annotations cannot be evaluated"),
        ("int", "int"),
        ([int], "int"),
        (typing.TypeVar("T"), "T"),
        (type, "type"),
    ],
)
def test_a_hint_that_json_data_cannot_keep_is_refused(hint: Any, reason: str):
    with pytest.raises(UnsupportedHint, match=reason):
        shape_of(hint)


HINTS = st.recursive(
    st.sampled_from([None, bool, int, float, str, Any, Colour, Filter, Point, datetime.date, decimal.Decimal, bytes]),
    lambda inner: st.one_of(
        inner.map(lambda hint: list[hint]),
        inner.map(lambda hint: dict[str, hint]),
        inner.map(lambda hint: tuple[hint, ...]),
        inner.map(Optional.__getitem__),
        st.tuples(inner, inner).map(lambda pair: tuple[pair]),
        st.tuples(inner, inner).map(Union.__getitem__),
    ),
    max_leaves=6,
)


@given(HINTS, JSON)
def test_any_data_against_any_hint_is_converted_or_refused(hint: Any, data: Any):
    shape = shape_of(hint)
    json.dumps(shape.schema)
    try:
        shape.convert(data, "it")
    except Mismatch as told:
        message = str(told)
    else:
        message = "it is good"
    assert message.startswith("it")


# --- whole signatures


def everything(
    first: int,
    second: str = "x",
    /,
    third: Annotated[list[Colour], "some colours"] = (),  # type: ignore[assignment]
    *rest: float,
    point: Point | None = None,
    wanted: Filter,
    limit: int = None,  # type: ignore[assignment]  # noqa: RUF013
    secret: object = re.compile("hunter2"),
    **more: Literal["a", "b"],
) -> NoSuchFrame:  # type: ignore[name-defined]  # noqa: F821
    """Take all there is."""
    return first, second, third, rest, point, wanted, more


def convert(function: Any, *args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    signature = ToolSignature(function)
    bound = signature.bind(list(args), kwargs)
    signature.convert(bound)
    return bound.args, bound.kwargs


def test_arguments_reach_their_parameters():
    args, kwargs = convert(everything, 1, "q", ["red"], 1, 2.5, point={"x": 1}, wanted={"city": "Oslo"}, other="a")
    assert args == (1, "q", [Colour.RED], 1.0, 2.5)
    assert kwargs == {"point": Point(1), "wanted": {"city": "Oslo"}, "other": "a"}


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ([], {"wanted": {"city": "a"}}, "missing a required.* argument: 'first'"),
        ([1], {}, "missing a required.* argument: 'wanted'"),
        ([1, "a", [], 1], {"third": [], "wanted": {"city": "a"}}, "multiple values for argument 'third'"),
    ],
)
def test_what_python_would_not_bind_is_a_type_error(args: list[Any], kwargs: dict[str, Any], message: str):
    with pytest.raises(TypeError, match=message):
        ToolSignature(everything).bind(args, kwargs)


def test_the_schema_says_what_a_model_may_pass():
    schema = ToolSignature(everything).schema()
    assert schema["required"] == ["first", "wanted"]
    assert schema["additionalProperties"] == {"enum": ["a", "b"]}
    assert schema["properties"]["third"] == {
        "type": "array",
        "items": {"enum": ["red", 2]},
        "description": "some colours",
    }
    assert schema["properties"]["rest"] == {"type": "array", "items": {"type": "number"}}
    assert schema["properties"]["limit"] == {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None}
    assert schema["properties"]["wanted"]["required"] == ["city"]
    assert json.loads(json.dumps(schema)) == schema


def test_a_signature_is_shown_as_python_writes_it():
    def search(query: str, limit: int = 10, *, strict: bool | None = None) -> list[str]:
        raise NotImplementedError

    assert ToolSignature(search).text() == "(query: str, limit: int = 10, *, strict: bool | None = None) -> list[str]"


def test_what_it_returns_is_shown_as_far_as_that_can_be_said():
    def orders() -> list[Filter]:
        raise NotImplementedError

    assert ToolSignature(orders).text() == "() -> list[{'city': str, 'limit': int}]"
    assert ToolSignature(everything).returns == "NoSuchFrame"
    assert ToolSignature(lambda: None).returns == ""


def test_a_default_that_is_no_plain_data_is_not_shown():
    signature = ToolSignature(everything)
    assert "hunter2" not in f"{signature.text()}{signature.schema()}{signature.announce()}"


def test_what_a_partial_has_fixed_cannot_be_set_or_seen():
    def orders(customer: int, tenant: int = 1, **options: int) -> tuple[int, int, dict[str, int]]:
        return customer, tenant, options

    signature = ToolSignature(functools.partial(orders, tenant=7))
    assert "tenant" not in f"{signature.text()}{signature.schema()}"
    with pytest.raises(TypeError, match="unexpected keyword argument 'tenant'"):
        signature.bind([1], {"tenant": 8})
    with pytest.raises(TypeError, match="too many positional"):
        ToolSignature(functools.partial(orders, 5)).bind([1, 2], {})


class Service:
    """A thing with methods."""

    def find(self, name: str) -> str:
        """Find it."""
        return name

    def __call__(self, count: int) -> int:
        """Call it."""
        return count


@pytest.mark.parametrize(
    ("function", "text", "description"),
    [
        (Service().find, "(name: str) -> str", "Find it."),
        (Service(), "(count: int) -> int", "Call it."),
        (functools.partial(Service().find), "(name: str) -> str", "Find it."),
        (lambda x, y=2: x, "(x: Any, y: Any = 2)", ""),
        (functools.wraps(everything)(lambda *a, **k: None), None, "Take all there is."),
    ],
)
def test_whatever_can_be_called_has_a_signature(function: Any, text: str | None, description: str):
    signature = ToolSignature(function)
    assert text is None or signature.text() == text
    assert signature.description == description


def broken(what: NoSuchName):  # type: ignore[name-defined]  # noqa: F821
    raise NotImplementedError


def callback(key: collections.abc.Callable[[int], int]):
    raise NotImplementedError


def hidden(__key: int):
    raise NotImplementedError


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (broken, "annotations cannot be evaluated"),
        (callback, "parameter 'key' cannot be made from JSON data: .*Callable.*Annotate it with"),
        (hidden, "two underscores"),
        (type("C", (), {"__call__": max})(), "no signature"),
    ],
)
def test_a_function_that_json_data_cannot_call_is_refused(function: Any, message: str):
    with pytest.raises(ConfigurationError, match=message):
        ToolSignature(function)


@given(st.lists(JSON, max_size=4), st.dictionaries(st.text(max_size=8), JSON, max_size=4))
def test_hostile_arguments_are_bound_or_refused(args: list[Any], kwargs: dict[str, Any]):
    signature = ToolSignature(everything)
    try:
        bound = signature.bind(args, kwargs)
        signature.convert(bound)
    except (TypeError, Mismatch):
        return
    assert type(bound.arguments["first"]) is int and "city" in bound.arguments["wanted"]


def test_a_dataclass_may_have_the_last_word():
    with pytest.raises(ValueError, match="negative"):
        shape_of(Positive).convert({"number": -1}, "it")

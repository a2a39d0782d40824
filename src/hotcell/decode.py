"""Plain JSON data back into the frozen dataclasses it came from, as their annotations say. Nothing else is ever made.

    decode(ExecutionResult, json.loads(text))

The data may come from a database or a cache that others write to, so each part is checked. A key that no field has is
passed over and a field without a key keeps its default, so that data of an older and of a newer version can be read.
"""

from __future__ import annotations

import base64
import enum
import functools
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar

_T = TypeVar("_T")


def decode(kind: type[_T], data: Any) -> _T:
    """The instance of the dataclass ``kind`` that ``data`` describes. Raises ValueError naming the first bad part."""
    made: _T = _value(kind, data, kind.__name__)
    return made


def _value(kind: Any, data: Any, path: str) -> Any:
    if kind is Any:
        return data
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        return _optional(kind, data, path)
    if origin is tuple:
        return tuple(_value(typing.get_args(kind)[0], item, f"{path}[]") for item in _checked(list, data, path))
    if origin is Mapping or origin is dict:
        return {key: _value(typing.get_args(kind)[1], item, path) for key, item in _checked(dict, data, path).items()}
    if is_dataclass(kind):
        return _instance(kind, _checked(dict, data, path), path)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _member(kind, data, path)
    scalar = _SCALARS.get(kind)
    if scalar is None:
        raise TypeError(f"{path}: a field of type {kind} cannot be read from JSON.")
    return scalar(data, path)


def _instance(kind: Any, data: dict[str, Any], path: str) -> Any:
    hints = _hints(kind)
    given = {}
    for field in fields(kind):
        if field.name in data:
            given[field.name] = _value(hints[field.name], data[field.name], f"{path}.{field.name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{path} has no {field.name!r}.")
    return kind(**given)


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _optional(kind: Any, data: Any, path: str) -> Any:
    others = [item for item in typing.get_args(kind) if item is not types.NoneType]
    if len(others) != 1:
        raise TypeError(f"{path}: a field of type {kind} cannot be read from JSON.")
    return None if data is None else _value(others[0], data, path)


def _member(kind: type[enum.Enum], data: Any, path: str) -> enum.Enum:
    if not isinstance(data, str):
        raise ValueError(f"{path} is a {type(data).__name__}, not text.")
    try:
        return kind(data)
    except ValueError:
        raise ValueError(f"{path} is {data[:40]!r}, which is no {kind.__name__}.") from None


def _checked(kind: type[_T], data: Any, path: str) -> _T:
    # True is an int to isinstance, and is no number to us.
    if not isinstance(data, kind) or (isinstance(data, bool) and kind is not bool):
        raise ValueError(f"{path} is a {type(data).__name__}, not a {kind.__name__}.")
    return data


def _float(data: Any, path: str) -> float:
    number = float(_checked(int, data, path) if isinstance(data, int) else _checked(float, data, path))
    if not math.isfinite(number):
        raise ValueError(f"{path} is {number}, which JSON does not have.")
    return number


def _bytes(data: Any, path: str) -> bytes:
    text = _checked(str, data, path)
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ValueError(f"{path} is not Base64: {error}.") from None


_SCALARS: dict[Any, Callable[[Any, str], Any]] = {
    str: functools.partial(_checked, str),
    int: functools.partial(_checked, int),
    bool: functools.partial(_checked, bool),
    float: _float,
    bytes: _bytes,
}

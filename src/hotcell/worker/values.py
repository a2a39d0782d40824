"""The value of a cell as JSON data, within a size, whatever the value is up to.

None, bool, int, str    as they are (an int of more than 4,300 digits: a note of its size)
float                   as it is; NaN and the infinities become null, as in pandas and JavaScript
list, tuple, range, deque, array, dict views    list
set, frozenset          list, sorted where its items can be
dict, mappingproxy      object; a key that is no string becomes its JSON text, and a container its repr; a second key
                        of the same name gets a number: {1: "a", "1": "b"} is {"1": "a", "1 (2)": "b"}
dataclass, namedtuple   object, by field name
Enum                    its value
datetime, date, time    ISO 8601 text, with the offset from UTC where it is known
timedelta               seconds, as a number
Decimal, Fraction, UUID, Path, complex    text; a Decimal that is not finite becomes null
bytes, bytearray        Base64 text
numpy scalar, array     as what it holds; nested lists; a record is an object by field name, what is masked is null
numpy datetime64, timedelta64    ISO 8601 text; seconds, as a number, but months, years and no unit as text; NaT is null
pandas NA, NaT          null
pandas Timestamp, Timedelta, Period, Interval    text; seconds, as a number; text; text
pandas Index, Categorical and other arrays       list; a row of a MultiIndex is a list itself
pandas Series           {name, index, data}
pandas DataFrame        {columns, index, data, shape}: rows in data, 10,000 at most; shape has the number of all
anything else           its repr as text when inside a container; alone, no value but its repr

An object inside itself is the text ``<cycle>``; what lies deeper than 50 levels is ``<too deep>``. A value that does
not fit ``value_bytes`` as JSON has only a repr. Nothing is called on a subclass of a builtin but the builtin's own
methods, so a subclass cannot lie about its content.
"""

from __future__ import annotations

import binascii
import collections
import functools
import json
import reprlib
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from hotcell.worker.tracebacks import encodable, type_name

_DEPTH = 50
_INT_BITS = 14_280  # 4,300 decimal digits, beyond which Python refuses to convert
_REPR_CHARS = 8_000
_INNER_REPR_CHARS = 200
_FRAME_ROWS = 10_000
_dumps = json.dumps
_MRO: Any = type.__dict__["__mro__"]


class TooLarge(Exception):
    """The value does not fit."""


class _Opaque(ValueError):
    """The value has no JSON form."""


def convert(value: Any, value_bytes: int) -> tuple[Any, str | None]:
    """``(JSON data, shortened repr)``. The data is None when there is no JSON form that fits. Never raises."""
    if value is None:
        return None, None
    try:
        data, _ = measure(value, value_bytes)
    except TooLarge:
        return None, short_repr(value, _bounded.repr)
    except BaseException:  # noqa: BLE001  # the cell's own methods ran; also _Opaque
        return None, short_repr(value, repr)
    return data, short_repr(value, repr)


def measure(value: Any, most_bytes: int) -> tuple[Any, int]:
    """The JSON data, and its size as JSON text in bytes.

    Raises TooLarge when it does not fit, ValueError when there is none, or whatever the cell's own objects raise.
    """
    data = _Converter(most_bytes).convert(value, 0)
    size = len(_dumps(data, ensure_ascii=False, allow_nan=False).encode())
    if size > most_bytes:
        raise TooLarge
    return data, size


def to_data(value: Any, value_bytes: int, *, nan_is_none: bool = False) -> Any:
    """JSON data, for what must not be changed in silence. Raises TypeError for what has no JSON form, also inside a
    container, ValueError for what does not fit, and whatever the value's own methods raise.

    ``nan_is_none``: NaN and the infinities become None; else they are a TypeError.
    """
    try:
        data = _Exact(value_bytes, nan_is_none).convert(value, 0)
        if len(_dumps(data, ensure_ascii=False, allow_nan=False).encode()) > value_bytes:
            raise TooLarge
    except TooLarge:
        raise ValueError(f"more than {value_bytes:,} bytes as JSON") from None
    except _Opaque:
        raise TypeError(f"a {type_name(value)}") from None
    return data


def short_repr(value: Any, function: Callable[[Any], str], most: int = _REPR_CHARS) -> str:
    """``function(value)`` as an exact, encodable str of at most ``most`` characters. Never raises."""
    try:
        if type(value) is int and value.bit_length() > _INT_BITS:
            return f"<int of {value.bit_length()} bits>"
        text = str.__str__(function(value))
    except BaseException as error:  # noqa: BLE001  # __repr__ is the cell's own code
        text = f"<repr failed: {type_name(error)}>"
    if len(text) > most:
        text = f"{text[: most * 3 // 4]}...{text[-most // 5 :]}"
    return encodable(text)


_bounded = reprlib.Repr()
_bounded.maxlist = _bounded.maxtuple = _bounded.maxdict = _bounded.maxset = _bounded.maxfrozenset = 50
_bounded.maxarray = _bounded.maxdeque = 50
_bounded.maxstring = _bounded.maxother = _REPR_CHARS
_bounded.maxlevel = 4


class _Converter:
    """One conversion: what is left of the size, and the containers it is inside of."""

    def __init__(self, value_bytes: int) -> None:
        self._left = value_bytes
        self._inside: set[int] = set()

    def convert(self, value: Any, depth: int) -> Any:
        """JSON data. Raises TooLarge or _Opaque, or whatever the cell's own objects raise."""
        plain, parts = _treatment(type(value))
        if plain is not None:
            return self._scalar(plain(value))
        if depth >= _DEPTH:
            return self._instead(f"nested more than {_DEPTH} deep", "<too deep>")
        if id(value) in self._inside:
            return self._instead("a container that contains itself", "<cycle>")
        self._inside.add(id(value))
        try:
            return parts(self, value, depth + 1)
        except _Opaque:
            if depth == 0:
                raise
            return self._instead(f"a {type_name(value)}", short_repr(value, repr, _INNER_REPR_CHARS))
        finally:
            self._inside.discard(id(value))

    def _instead(self, _what: str, text: str) -> Any:
        """What stands in for ``what``, which has no JSON form."""
        return self._scalar(text)

    def _scalar(self, data: Any) -> Any:
        if type(data) is not str:
            self._spend(2)
            return data
        self._spend(len(data) + 2)
        return encodable(data)

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise TooLarge

    def _expect(self, count: int) -> None:
        """So many items are coming, of at least two bytes each: better to know before a library copies them."""
        if count * 2 > self._left:
            raise TooLarge

    def items(self, values: Iterable[Any], depth: int) -> list[Any]:
        self._spend(2)
        return [self.convert(item, depth) for item in values]

    def sorted_items(self, values: Iterable[Any], depth: int) -> list[Any]:
        items = self.items(values, depth)
        try:
            items.sort()
        except TypeError:
            items.sort(key=lambda item: _dumps(item, sort_keys=True))
        return items

    def mapping(self, pairs: Iterable[tuple[Any, Any]], depth: int) -> dict[str, Any]:
        self._spend(2)
        data: dict[str, Any] = {}
        taken: dict[str, int] = {}
        for key, item in pairs:
            name = wanted = self._key(key, depth)
            while name in data:
                taken[wanted] = taken.get(wanted, 1) + 1
                name = f"{wanted} ({taken[wanted]})"
            data[name] = self.convert(item, depth)
        return data

    def _key(self, key: Any, depth: int) -> str:
        data = key if type(key) is str else self.convert(key, depth)
        if type(data) is list or type(data) is dict:
            data = short_repr(key, repr, _INNER_REPR_CHARS)
        elif type(data) is not str:
            data = _dumps(data)
        self._spend(len(data) + 4)
        return encodable(data)

    def named_parts(self, value: Any, depth: int) -> Any:
        """A tuple, or a namedtuple by its field names."""
        names = getattr(type(value), "_fields", None)
        if type(names) is tuple and len(names) == tuple.__len__(value) and all(type(name) is str for name in names):
            return self.mapping(zip(names, tuple.__iter__(value), strict=True), depth)
        return self.items(tuple.__iter__(value), depth)

    def member(self, value: Any, depth: int) -> Any:
        return self.convert(object.__getattribute__(value, "_value_"), depth)

    def instance(self, value: Any, depth: int) -> Any:
        """An object of a class that is not in the tables: a dataclass, or a library's by the name of its class."""
        kind = type(value)
        if type(getattr(kind, "__dataclass_fields__", None)) is dict:
            names = [field.name for field in sys.modules["dataclasses"].fields(kind)]
            return self.mapping(((name, getattr(value, name)) for name in names), depth)
        for base in _MRO.__get__(kind):
            parts = _LIBRARY.get((str(base.__module__).partition(".")[0], base.__name__))
            if parts is not None:
                return parts(self, value, depth)
        raise _Opaque

    def array(self, value: Any, depth: int) -> Any:
        self._expect(value.size)
        kind = value.dtype.kind
        if value.dtype.names:
            return self.record(value, depth) if value.ndim == 0 else self.items(value, depth)
        if kind == "m" and _has_seconds(value.dtype):
            return self.convert((value / sys.modules["numpy"].timedelta64(1, "s")).tolist(), depth)
        if kind in "mM":
            return self.convert(_without_nat(value.astype(str).tolist()), depth)
        return self.convert(value.tolist(), depth)

    def numpy_scalar(self, value: Any, depth: int) -> Any:
        kind = value.dtype.kind
        if kind == "m" and _has_seconds(value.dtype):
            return self.convert(float(value / type(value)(1, "s")), depth)
        if kind in "mM":
            return self.convert(_without_nat(str(value)), depth)
        if value.dtype.names:
            return self.record(value, depth)
        plain = value.item()
        if type(plain) is type(value):  # longdouble and clongdouble give themselves
            plain = complex(value) if kind == "c" else float(value)
        return self.convert(plain, depth)

    def record(self, value: Any, depth: int) -> Any:
        return self.mapping(((name, value[name]) for name in value.dtype.names), depth)

    def text(self, value: Any, _: int) -> Any:
        return self._scalar(str.__str__(str(value)))

    def index(self, value: Any, depth: int) -> Any:
        self._expect(len(value))
        return self.items(value.tolist(), depth)

    def series(self, value: Any, depth: int) -> Any:
        self._expect(len(value))
        return self.mapping([("name", value.name), ("index", value.index), ("data", value.tolist())], depth)

    def frame(self, value: Any, depth: int) -> Any:
        top = value.iloc[:_FRAME_ROWS]
        self._expect(top.shape[0] * top.shape[1])
        columns = [top.iloc[:, place].tolist() for place in range(top.shape[1])]
        rows = [list(row) for row in zip(*columns, strict=True)]
        parts = [("columns", top.columns), ("index", top.index), ("data", rows), ("shape", list(value.shape))]
        return self.mapping(parts, depth)


def _has_seconds(dtype: Any) -> bool:
    """A timedelta in months, in years or without a unit cannot be told in seconds."""
    return sys.modules["numpy"].datetime_data(dtype)[0] not in ("Y", "M", "generic")


class _Exact(_Converter):
    """A conversion in which nothing stands in for anything."""

    def __init__(self, value_bytes: int, nan_is_none: bool) -> None:
        super().__init__(value_bytes)
        self._nan_is_none = nan_is_none

    def convert(self, value: Any, depth: int) -> Any:
        data = super().convert(value, depth)
        if data is None and not self._nan_is_none and issubclass(type(value), float):
            return self._instead(f"the float {float.__repr__(value)}")
        if type(data) is str and issubclass(type(value), int):
            return self._instead(f"an int of {int.bit_length(value)} bits")
        return data

    def _instead(self, what: str, _text: str = "") -> NoReturn:
        raise TypeError(what)


def _without_nat(data: Any) -> Any:
    if type(data) is list:
        return [_without_nat(item) for item in data]
    return None if data == "NaT" else data


def _integer(value: Any) -> Any:
    plain = int.__index__(value)
    return plain if plain.bit_length() <= _INT_BITS else f"<int of {plain.bit_length()} bits>"


def _float(value: Any) -> float | None:
    plain = float.__float__(value)
    return plain if plain - plain == 0 else None


def _decimal(kind: Any, value: Any) -> str | None:
    return kind.__str__(value) if kind.is_finite(value) else None


def _base64(value: Any) -> str:
    return binascii.b2a_base64(memoryview(value), newline=False).decode("ascii")


def _same(value: Any) -> Any:
    return value


def _none(_: Any) -> None:
    return None


# The first class of the method resolution order that is in a table decides, and only its own methods are called.
_PLAIN: dict[type, Callable[[Any], Any]] = {
    type(None): _none,
    bool: _same,
    str: str.__str__,
    int: _integer,
    float: _float,
    complex: complex.__repr__,
    bytes: _base64,
    bytearray: _base64,
}
# Classes of modules that the fork server does not import for this: a cell that has none of them pays for none.
_NAMED: dict[tuple[str, str], Callable[[Any, Any], Any]] = {
    ("decimal", "Decimal"): _decimal,
    ("fractions", "Fraction"): lambda kind, value: kind.__str__(value),
    ("uuid", "UUID"): lambda kind, value: kind.__str__(value),
    ("pathlib", "PurePath"): lambda kind, value: kind.__str__(value),
    ("pandas", "Timestamp"): lambda kind, value: kind.isoformat(value),
    ("pandas", "Timedelta"): lambda kind, value: kind.total_seconds(value),
    ("datetime", "datetime"): lambda kind, value: kind.isoformat(value),
    ("datetime", "date"): lambda kind, value: kind.isoformat(value),
    ("datetime", "time"): lambda kind, value: kind.isoformat(value),
    ("datetime", "timedelta"): lambda kind, value: kind.total_seconds(value),
}
_Parts = Callable[[_Converter, Any, int], Any]
_PARTS: dict[type, _Parts] = {
    list: lambda self, value, depth: self.items(list.__iter__(value), depth),
    tuple: _Converter.named_parts,
    range: _Converter.items,
    collections.deque: lambda self, value, depth: self.items(collections.deque.__iter__(value), depth),
    set: lambda self, value, depth: self.sorted_items(set.__iter__(value), depth),
    frozenset: lambda self, value, depth: self.sorted_items(frozenset.__iter__(value), depth),
    dict: lambda self, value, depth: self.mapping(dict.items(value), depth),
    types.MappingProxyType: lambda self, value, depth: self.mapping(value.items(), depth),
    type({}.keys()): _Converter.items,
    type({}.values()): _Converter.items,
    type({}.items()): _Converter.items,
}
_NAMED_PARTS: dict[tuple[str, str], _Parts] = {
    ("array", "array"): lambda self, value, depth: self.items(sys.modules["array"].array.tolist(value), depth),
    ("enum", "Enum"): _Converter.member,
}
_LIBRARY: dict[tuple[str, str], _Parts] = {
    ("numpy", "ndarray"): _Converter.array,
    ("numpy", "generic"): _Converter.numpy_scalar,
    ("pandas", "Period"): _Converter.text,
    ("pandas", "Interval"): _Converter.text,
    ("pandas", "Index"): _Converter.index,
    ("pandas", "ExtensionArray"): _Converter.index,
    ("pandas", "Series"): _Converter.series,
    ("pandas", "DataFrame"): _Converter.frame,
}


def _treatment(kind: type) -> tuple[Callable[[Any], Any] | None, _Parts]:
    """How to convert an instance: as one plain datum or, when that is None, in parts."""
    if kind.__name__ in ("NaTType", "NAType") and kind.__module__.startswith("pandas"):
        return _none, _Converter.instance
    for base in _MRO.__get__(kind):
        if base in _PLAIN:
            return _PLAIN[base], _Converter.instance
        if base in _PARTS:
            return None, _PARTS[base]
        name = _true_name(base)
        if name in _NAMED:
            return functools.partial(_NAMED[name], base), _Converter.instance
        if name in _NAMED_PARTS:
            return None, _NAMED_PARTS[name]
    return None, _Converter.instance


def _true_name(kind: type) -> tuple[str, str] | None:
    """Top-level module and name, when that module really has this class under that name."""
    module, name = str(kind.__module__).partition(".")[0], kind.__name__
    return (module, name) if getattr(sys.modules.get(module), name, None) is kind else None

"""From type hints to shapes.

None, bool, int, float, str      as they are; a bool is no int, but an int will do for a float
list, Sequence, Iterable, ...    list; tuple and set from a JSON array
dict, Mapping, TypedDict         dict with text keys
dataclass, Enum, Literal         an instance from its fields; the member with that value; one of those values
datetime, date, time, UUID, Decimal, bytes    from text, as the cell writes them (bytes as Base64)
Optional, Union, Annotated, NewType, Any      what they stand for
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar

from hotcell.tools.shapes import ANY, PLAIN, Shape, array, from_text, one_of, record, row, table, union
from hotcell.tools.texts import TEXTS

_T = TypeVar("_T")
_ARRAYS: tuple[Any, ...] = (
    list,
    collections.abc.Sequence,
    collections.abc.MutableSequence,
    collections.abc.Collection,
    collections.abc.Iterable,
)
_SETS: dict[Any, type] = {set: set, collections.abc.Set: set, collections.abc.MutableSet: set, frozenset: frozenset}
_OBJECTS: tuple[Any, ...] = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_MARKS = [getattr(typing, name) for name in ("Required", "NotRequired", "ReadOnly") if hasattr(typing, name)]


class UnsupportedHint(Exception):
    """The hint promises something that JSON data cannot be made into."""


def shape_of(hint: Any) -> Shape:
    """Raises UnsupportedHint."""
    return _Shapes().of(hint)


class _Shapes:
    """The shapes of one hint and all it is made of."""

    def __init__(self) -> None:
        self._inside: list[Any] = []

    def of(self, hint: Any) -> Shape:
        shape = _found(PLAIN, hint)
        if shape is not None:
            return shape
        origin, parts = typing.get_origin(hint) or hint, typing.get_args(hint)
        if origin is typing.Annotated:
            return self._annotated(parts)
        if origin in _MARKS:
            return self.of(parts[0])
        if origin in (typing.Union, types.UnionType):
            return union([self.of(part) for part in parts])
        if origin is typing.Literal:
            return _choice(parts, hint)
        target = getattr(hint, "__supertype__", None) or getattr(hint, "__value__", None)
        if target is not None and not isinstance(hint, type):  # NewType, and the ``type`` statement
            return self._named(hint, lambda: self.of(target))
        return self._container(origin, parts) or self._class(hint)

    def _annotated(self, parts: tuple[Any, ...]) -> Shape:
        shape = self.of(parts[0])
        texts = [part for part in parts[1:] if isinstance(part, str)]
        return dataclasses.replace(shape, schema={**shape.schema, "description": " ".join(texts)}) if texts else shape

    def _container(self, origin: Any, parts: tuple[Any, ...]) -> Shape | None:
        if origin in _OBJECTS:
            if parts and parts[0] not in (str, Any):
                raise UnsupportedHint(f"{_text(origin)} with keys that are not str, which JSON does not have")
            return table(self.of(parts[1]) if parts else ANY)
        if origin is tuple and parts and parts[-1] is not ...:
            return row([self.of(part) for part in parts])
        if origin not in (*_ARRAYS, *_SETS, tuple):
            return None
        item = self.of(parts[0]) if parts else ANY
        if origin is tuple:
            return array(item, tuple, f"tuple[{item.shown}, ...]", {})
        kind = _SETS.get(origin, list)
        shown = f"{kind.__name__}[{item.shown}]" if parts else kind.__name__
        return array(item, kind, shown, {"uniqueItems": True} if origin in _SETS else {})

    def _class(self, hint: Any) -> Shape:
        if _found(TEXTS, hint) is not None:
            return from_text(hint)
        if isinstance(hint, type) and issubclass(hint, enum.Enum):
            return _choice(tuple(hint), hint)
        if hasattr(hint, "__required_keys__"):
            return self._named(hint, lambda: self._typed_dict(hint))
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            return self._named(hint, lambda: self._dataclass(hint))
        raise UnsupportedHint(_text(hint))

    def _named(self, hint: Any, make: Callable[[], Shape]) -> Shape:
        if hint in self._inside:
            raise UnsupportedHint(f"{_text(hint)}, which contains itself")
        self._inside.append(hint)
        shape = make()
        self._inside.pop()
        return shape

    def _typed_dict(self, hint: Any) -> Shape:
        fields: dict[str, tuple[Shape, bool]] = {}
        for name, part in _hints(hint).items():
            # Where annotations are text, __required_keys__ does not know of these.
            mark = typing.get_origin(part)
            needed = mark is typing.Required or (mark is not typing.NotRequired and name in hint.__required_keys__)
            fields[name] = (self.of(part), needed)
        return record(fields, dict)

    def _dataclass(self, hint: Any) -> Shape:
        hints, missing = _hints(hint), dataclasses.MISSING
        fields = {
            field.name: (self.of(hints[field.name]), field.default is missing and field.default_factory is missing)
            for field in dataclasses.fields(hint)
            if field.init
        }
        return record(fields, hint)


def _found(table: dict[Any, _T], hint: Any) -> _T | None:
    try:
        return table.get(hint)
    except TypeError:  # not hashable: an Annotated with a list in it, or no hint at all
        return None


def _choice(members: tuple[Any, ...], hint: Any) -> Shape:
    choices = [(member.value if isinstance(member, enum.Enum) else member, member) for member in members]
    if not choices or not all(type(data) in (bool, int, float, str, type(None)) for data, _ in choices):
        raise UnsupportedHint(f"{_text(hint)}, whose values are not all JSON data")
    return one_of(choices)


def _hints(hint: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(hint, include_extras=True)
    except Exception as error:  # NameError and whatever else evaluating an annotation raises
        raise UnsupportedHint(f"{_text(hint)}, whose annotations cannot be evaluated ({error})") from error


def _text(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).removeprefix("typing.")

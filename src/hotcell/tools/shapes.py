"""What a type hint means for JSON data: its JSON schema, and a function that makes of hostile data what it promises."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hotcell.tools.texts import TEXTS

_SHOWN_CHARS = 60


class Mismatch(Exception):
    """The data is not what the hint promises. ``kind`` is the type of exception that the cell is to see."""

    def __init__(self, message: str, kind: str = "TypeError") -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Shape:
    """What one hint means for JSON data."""

    shown: str
    """For messages and signatures, as Python writes it."""
    schema: Mapping[str, Any]
    """JSON Schema."""
    convert: Callable[[Any, str], Any]
    """``convert(data, where)`` gives the argument or raises Mismatch, which says ``where``."""


def optional(shape: Shape) -> Shape:
    """The same, or None."""
    accepts = shape.shown.split(" | ")
    return shape if "None" in accepts or "Any" in accepts else union([shape, PLAIN[type(None)]])


def wrong(where: str, expected: str, value: Any, kind: str = "TypeError") -> Mismatch:
    """The value is something else than expected."""
    found = "None" if value is None else f"{type(value).__name__} {_short(value)}"
    return Mismatch(f"{where} must be {expected}, not {found}", kind)


def _short(value: Any) -> str:
    if isinstance(value, int) and value.bit_length() > 128:
        return f"of {value.bit_length()} bits"
    if isinstance(value, list | dict):
        return f"of {len(value)}"
    text = repr(value[:_SHOWN_CHARS] if isinstance(value, str) else value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."


# --- plain data


def _same(value: Any, _where: str) -> Any:
    return value


def _plain(kind: type, word: str) -> Shape:
    shown = "None" if kind is type(None) else kind.__name__

    def convert(value: Any, where: str) -> Any:
        if type(value) is not kind:
            raise wrong(where, shown, value)
        return value

    return Shape(shown, {"type": word}, convert)


def _to_float(value: Any, where: str) -> float:
    if type(value) is float and math.isfinite(value):
        return value
    if type(value) is not int:
        raise wrong(where, "float", value)
    try:
        return float(value)
    except OverflowError:
        raise wrong(where, "float", value, "ValueError") from None


ANY = Shape("Any", {}, _same)
PLAIN: dict[Any, Shape] = {
    Any: ANY,
    object: ANY,
    None: _plain(type(None), "null"),
    type(None): _plain(type(None), "null"),
    bool: _plain(bool, "boolean"),
    int: _plain(int, "integer"),
    float: Shape("float", {"type": "number"}, _to_float),
    str: _plain(str, "string"),
}


def from_text(kind: type) -> Shape:
    rule = TEXTS[kind]

    def convert(value: Any, where: str) -> Any:
        if type(value) not in rule.accepts:
            raise wrong(where, rule.shown, value)
        try:
            return rule.parse(value)
        except (ValueError, ArithmeticError):
            raise wrong(where, rule.shown, value, "ValueError") from None

    return Shape(kind.__name__, rule.schema, convert)


def one_of(choices: Iterable[tuple[Any, Any]]) -> Shape:
    """One of a few plain values; each choice is a JSON value and what it becomes."""
    # By type as well, as 1 == True == 1.0.
    table = {(type(data), data): becomes for data, becomes in choices}
    values = [data for _, data in table]
    shown = f"Literal[{', '.join(map(repr, values))}]"
    expected = f"one of {', '.join(map(repr, values))}"

    def convert(value: Any, where: str) -> Any:
        if isinstance(value, list | dict) or (type(value), value) not in table:
            raise wrong(where, expected, value, "ValueError")
        return table[type(value), value]

    return Shape(shown, {"enum": values}, convert)


def union(members: list[Shape]) -> Shape:
    members = list({member.shown: member for member in members}.values())
    # An int stays one where both are allowed, so float comes last.
    members.sort(key=lambda member: member.shown == "float")
    shown = " | ".join(member.shown for member in members)
    others = [member for member in members if member.shown != "None"]
    if any(member.shown == "Any" for member in members):
        return ANY

    def convert(value: Any, where: str) -> Any:
        if len(others) == 1 and value is not None:
            return others[0].convert(value, where)  # its message says more
        for member in members:
            try:
                return member.convert(value, where)
            except Mismatch:
                continue
        raise wrong(where, shown, value)

    return Shape(shown, {"anyOf": [dict(member.schema) for member in members]}, convert)


# --- containers


def array(item: Shape, make: Callable[[Any], Any], shown: str, schema: Mapping[str, Any]) -> Shape:
    def convert(value: Any, where: str) -> Any:
        if type(value) is not list:
            raise wrong(where, shown, value)
        items = [item.convert(part, f"{where}[{place}]") for place, part in enumerate(value)]
        try:
            return make(items)
        except TypeError:  # a list cannot be in a set
            raise Mismatch(f"{where} must be {shown}, and has an item that cannot be in a set") from None

    items = {"items": dict(item.schema)} if item.schema else {}
    return Shape(shown, {"type": "array", **items, **schema}, convert)


def row(items: list[Shape]) -> Shape:
    """A tuple of a fixed length."""
    shown = f"tuple[{', '.join(item.shown for item in items) or '()'}]"

    def convert(value: Any, where: str) -> Any:
        if type(value) is not list or len(value) != len(items):
            raise wrong(where, shown, value)
        pairs = enumerate(zip(items, value, strict=True))
        return tuple(item.convert(part, f"{where}[{place}]") for place, (item, part) in pairs)

    length = {"minItems": len(items), "maxItems": len(items)}
    return Shape(shown, {"type": "array", "prefixItems": [dict(item.schema) for item in items], **length}, convert)


def table(item: Shape) -> Shape:
    """An object with any keys."""
    shown = "dict" if item is ANY else f"dict[str, {item.shown}]"

    def convert(value: Any, where: str) -> Any:
        if type(value) is not dict:
            raise wrong(where, shown, value)
        return {key: item.convert(part, f"{where}[{_short(key)}]") for key, part in value.items()}

    items = {"additionalProperties": dict(item.schema)} if item.schema else {}
    return Shape(shown, {"type": "object", **items}, convert)


def record(fields: dict[str, tuple[Shape, bool]], make: Callable[..., Any]) -> Shape:
    """An object with these keys: each with its shape, and whether it must be there."""
    parts = [f"{name!r}: {shape.shown}" for name, (shape, _) in fields.items()]
    shown = f"{{{', '.join(parts)}}}"
    required = [name for name, (_, needed) in fields.items() if needed]

    def convert(value: Any, where: str) -> Any:
        if type(value) is not dict:
            raise wrong(where, shown, value)
        for name in required:
            if name not in value:
                raise Mismatch(f"{where} lacks the key {name!r}")
        for name in value:
            if name not in fields:
                raise Mismatch(f"{where} has the key {_short(name)}, which is none of {', '.join(fields)}")
        return make(**{name: fields[name][0].convert(part, f"{where}[{name!r}]") for name, part in value.items()})

    properties = {name: dict(shape.schema) for name, (shape, _) in fields.items()}
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return Shape(shown, schema, convert)

"""What a function of the host takes: read from its signature once, then hostile arguments are held against it."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from hotcell.errors import ConfigurationError
from hotcell.tools.hints import UnsupportedHint, shape_of
from hotcell.tools.shapes import ANY, Shape, optional

_EMPTY = inspect.Parameter.empty
_DEFAULT_CHARS = 100
_DOC_CHARS = 8_000
_SUPPORTED = (
    "None, bool, int, float, str, bytes, list, tuple, set, dict with str keys, datetime, date, time, UUID, Decimal, "
    "Literal, Enum, TypedDict, dataclass, unions of them, or Any"
)


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter."""

    name: str
    kind: str
    """``/`` positional only, empty for an ordinary one, ``*`` and ``**`` for the rest, ``=`` for keyword only."""
    shape: Shape
    is_required: bool
    default: Any
    """The default, when it is plain data that anybody may see; else ``...``."""


_KINDS = {
    inspect.Parameter.POSITIONAL_ONLY: "/",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "",
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.KEYWORD_ONLY: "=",
    inspect.Parameter.VAR_KEYWORD: "**",
}


class ToolSignature:
    """The signature of one function. Raises ConfigurationError for one that JSON data cannot fill."""

    def __init__(self, function: Callable[..., Any]) -> None:
        target, self._fixed = _target(function)
        self._signature = _offered(function, self._fixed)
        hints = _hints(target)
        self.parameters = tuple(_parameter(item, hints) for item in self._signature.parameters.values())
        self.description = (inspect.getdoc(target) or "")[:_DOC_CHARS]
        self.returns = _returns(self._signature, target)

    def bind(self, args: list[Any], kwargs: dict[str, Any]) -> inspect.BoundArguments:
        """Which argument is for which parameter. Raises TypeError, as a call would."""
        for name in self._fixed & kwargs.keys():  # else it would come in by ``**``
            raise TypeError(f"got an unexpected keyword argument {name!r}")
        return self._signature.bind(*args, **kwargs)

    def convert(self, bound: inspect.BoundArguments) -> None:
        """Make of the JSON data in it what the hints promise. Raises Mismatch; a dataclass may raise anything."""
        given = bound.arguments
        for item in self.parameters:
            if item.name not in given:
                continue
            where, value, convert = f"argument {item.name!r}", given[item.name], item.shape.convert
            if item.kind == "*":
                given[item.name] = tuple(convert(part, f"{where}[{place}]") for place, part in enumerate(value))
            elif item.kind == "**":
                given[item.name] = {key: convert(part, f"argument {key[:80]!r}") for key, part in value.items()}
            else:
                given[item.name] = convert(value, where)

    def schema(self) -> dict[str, Any]:
        """The parameters as a JSON-schema object."""
        properties: dict[str, Any] = {}
        others: Any = False
        for item in self.parameters:
            if item.kind == "**":
                others = dict(item.shape.schema)
            elif item.kind == "*":
                properties[item.name] = {"type": "array", "items": dict(item.shape.schema)}
            else:
                shown = {} if item.is_required or item.default is ... else {"default": item.default}
                properties[item.name] = {**item.shape.schema, **shown}
        required = [item.name for item in self.parameters if item.is_required]
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": others}

    def text(self) -> str:
        """``(query: str, limit: int = 10) -> list[str]``, as the stub in the cell shows it."""
        shown = [
            inspect.Parameter(item.name, _kind(item), annotation=_Raw(item.shape.shown), default=_shown_default(item))
            for item in self.parameters
        ]
        returns = _Raw(self.returns) if self.returns else inspect.Signature.empty
        return str(inspect.Signature(shown, return_annotation=returns))

    def announce(self) -> dict[str, Any]:
        """What the worker makes an ordinary function of: JSON data."""
        parameters = [
            {
                "name": item.name,
                "kind": item.kind,
                "annotation": item.shape.shown,
                "default": None if (default := _shown_default(item)) is _EMPTY else repr(default),
            }
            for item in self.parameters
        ]
        return {"parameters": parameters, "returns": self.returns, "doc": self.description}


class _Raw:
    """An annotation or default that is shown as it is."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _kind(item: Parameter) -> Any:
    return next(kind for kind, sign in _KINDS.items() if sign == item.kind)


def _shown_default(item: Parameter) -> Any:
    if item.is_required or item.kind in ("*", "**"):
        return _EMPTY
    return _Raw("...") if item.default is ... else item.default


def _target(function: Callable[..., Any]) -> tuple[Any, set[str]]:
    """The function with the annotations and the docstring, and the keywords that a partial has fixed."""
    fixed: set[str] = set()
    while isinstance(function, functools.partial):
        fixed |= function.keywords.keys()
        function = function.func
    if not inspect.isroutine(function):
        function = type(function).__call__  # an object that can be called
    return inspect.unwrap(function), fixed


def _offered(function: Callable[..., Any], fixed: set[str]) -> inspect.Signature:
    """What a call may fill. The cell could override what a partial has fixed, so it does not get to see it."""
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"it has no signature that Python can read ({error}): wrap it in a def.") from error
    return signature.replace(parameters=[item for item in signature.parameters.values() if item.name not in fixed])


def _hints(target: Any) -> dict[str, Any]:
    # The annotation of what it returns is for people alone: it may name what only a type checker imports.
    wanted = {name: hint for name, hint in getattr(target, "__annotations__", {}).items() if name != "return"}
    try:
        return _evaluated(wanted, target)
    except Exception as error:  # evaluating an annotation may raise anything
        raise ConfigurationError(
            f"its annotations cannot be evaluated ({error}): use names that its module defines."
        ) from error


def _evaluated(annotations: dict[str, Any], target: Any) -> dict[str, Any]:
    names = getattr(target, "__globals__", {})
    return typing.get_type_hints(SimpleNamespace(__annotations__=annotations), names, include_extras=True)


def _parameter(item: inspect.Parameter, hints: dict[str, Any]) -> Parameter:
    if item.name.startswith("__"):
        raise ConfigurationError(f"its parameter {item.name!r} starts with two underscores: rename it.")
    try:
        shape = shape_of(hints[item.name]) if item.name in hints else ANY
    except UnsupportedHint as error:
        raise ConfigurationError(
            f"its parameter {item.name!r} cannot be made from JSON data: {error}. Annotate it with {_SUPPORTED}."
        ) from error
    is_rest = item.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return Parameter(
        name=item.name,
        kind=_KINDS[item.kind],
        # ``limit: int = None`` means what it says less clearly.
        shape=optional(shape) if item.default is None else shape,
        is_required=item.default is _EMPTY and not is_rest,
        default=item.default if _is_plain(item.default) else ...,
    )


def _is_plain(default: Any) -> bool:
    """The repr of anything else might say what is none of the cell's business."""
    return default is None or (type(default) in (bool, int, float, str) and len(repr(default)) <= _DEFAULT_CHARS)


def _returns(signature: inspect.Signature, target: Any) -> str:
    """For people: what is in it where that can be said, else the annotation as it is."""
    hint = signature.return_annotation
    if hint is inspect.Signature.empty:
        return ""
    try:
        return shape_of(_evaluated({"return": hint}, target)["return"]).shown
    except Exception:  # noqa: BLE001  # evaluating an annotation may raise anything
        return hint if isinstance(hint, str) else inspect.formatannotation(hint)

"""What an expression of constants comes to, worked out without running it.

Names of internals are often hidden by putting them together: ``'__glo' + 'bals__'``, ``''.join(map(chr, [...]))``,
``'slabolg'[::-1]``. Only str, bytes, int and lists of them are worked out, with caps on size and on work.
"""

from __future__ import annotations

import ast
import base64
import binascii
import codecs
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

Value = str | bytes | int | list[Any]

_MAX_LENGTH = 4_096
_MAX_BITS = 4_096
_MAX_DEPTH = 60
_TEXT_METHODS: dict[str, Callable[..., Any]] = {
    name: getattr(str, name) for name in ("lower", "upper", "swapcase", "strip", "title", "replace", "split", "encode")
}
_DECODERS: dict[str, Callable[[Any], Any]] = {
    "b64decode": base64.b64decode,
    "urlsafe_b64decode": base64.urlsafe_b64decode,
    "b32decode": base64.b32decode,
    "b16decode": base64.b16decode,
    "b85decode": base64.b85decode,
    "a85decode": base64.a85decode,
    "unhexlify": binascii.unhexlify,
    "fromhex": bytes.fromhex,
}
_CODECS = frozenset({"rot13", "rot_13", "utf-8", "utf8", "ascii", "latin-1", "latin1", "hex", "hex_codec", "base64"})


class Folder:
    """Works out expressions over the names whose one value is known."""

    def __init__(self, values: Callable[[], Mapping[str, list[ast.expr | None]]]) -> None:
        self._values = values
        self._known: dict[int, Value | None] = {}
        self._work = 20_000

    def fold(self, node: ast.expr | None, depth: int = 0) -> Value | None:
        """The value of ``node``; None when it is not known, too large, or too much work."""
        if node.__class__ is ast.Constant:
            value = node.value
            return value if value.__class__ in (str, bytes, int) else None
        if node is None or depth > _MAX_DEPTH or self._work < 0:
            return None
        key = id(node)
        if key not in self._known:
            self._work -= 1
            self._known[key] = None  # a value that depends on itself is not known
            handler = _HANDLERS.get(node.__class__)
            self._known[key] = _capped(handler(self, node, depth + 1)) if handler else None
        return self._known[key]

    def text(self, node: ast.expr | None) -> str | None:
        """As `fold`, for text alone."""
        value = self.fold(node)
        return value if isinstance(value, str) else None

    def number(self, node: ast.expr | None) -> int | None:
        """As `fold`, for whole numbers alone; a float such as ``1e9`` counts when it is whole."""
        if isinstance(node, ast.Constant) and isinstance(node.value, float) and node.value.is_integer():
            return int(node.value)
        value = self.fold(node)
        return value if value.__class__ is int else None

    def choices(self, node: ast.expr | None) -> list[Value] | None:
        """All values a name may have, such as those of a loop over a literal list; None when one is not known."""
        if isinstance(node, ast.Name):
            folded = [self.fold(item) for item in self._values().get(node.id, [None])]
        else:
            folded = [self.fold(node)]
        known = [item for item in folded if item is not None]
        return known if len(known) == len(folded) else None

    def _name(self, node: ast.Name, depth: int) -> Value | None:
        values = self._values().get(node.id, ())
        return self.fold(values[0], depth) if len(values) == 1 else None

    def _binary(self, node: ast.BinOp, depth: int) -> Value | None:
        left = self.fold(node.left, depth)
        if left is None:
            return None
        right = self.fold(node.right, depth)
        if right is None and not (isinstance(node.op, ast.Mod) and isinstance(node.right, ast.Tuple)):
            return None
        if isinstance(left, int) and isinstance(right, int):
            return _arithmetic(node.op, left, right)
        if isinstance(node.op, ast.Add) and type(left) is type(right):
            return left + right  # type: ignore[operator]  # the types are equal and not int
        if isinstance(node.op, ast.Mult):
            times, unit = (left, right) if isinstance(left, int) else (right, left)
            if isinstance(times, int) and not isinstance(unit, int) and unit and times * len(unit) <= _MAX_LENGTH:
                return unit * times
        if isinstance(node.op, ast.Mod) and isinstance(left, str):
            return self._percent(left, node.right, depth)
        return None

    def _percent(self, template: str, right: ast.expr, depth: int) -> str | None:
        parts = right.elts if isinstance(right, ast.Tuple) else [right]
        values = [self.fold(part, depth) for part in parts]
        if None in values or template.count("%") > 20 or not _plain_percent(template):
            return None
        try:
            return template % tuple(values)
        except (TypeError, ValueError, OverflowError):
            return None

    def _unary(self, node: ast.UnaryOp, depth: int) -> Value | None:
        value = self.fold(node.operand, depth)
        return -value if isinstance(value, int) and isinstance(node.op, ast.USub) else None

    def _list(self, node: ast.List | ast.Tuple, depth: int) -> Value | None:
        if len(node.elts) > _MAX_LENGTH:
            return None
        values = []
        for item in node.elts:
            value = self.fold(item, depth)
            if value is None:
                return None
            values.append(value)
        return values

    def _joined(self, node: ast.JoinedStr, depth: int) -> Value | None:
        pieces = []
        for item in node.values:
            plain = isinstance(item, ast.FormattedValue) and item.conversion == -1 and item.format_spec is None
            value = self.fold(item.value if plain else item, depth)  # type: ignore[attr-defined]  # plain says so
            if not isinstance(value, (str, int)):
                return None
            pieces.append(str(value))
        return "".join(pieces)

    def _subscript(self, node: ast.Subscript, depth: int) -> Value | None:
        base = self.fold(node.value, depth)
        if base is None or isinstance(base, int):
            return None
        try:
            if isinstance(node.slice, ast.Slice):
                ends: list[Any] = [
                    self.fold(end, depth) for end in (node.slice.lower, node.slice.upper, node.slice.step)
                ]
                return base[slice(*ends)]
            index = self.fold(node.slice, depth)
            return base[index] if isinstance(index, int) else None
        except (IndexError, ValueError, TypeError):
            return None

    def _comprehension(self, node: ast.ListComp | ast.GeneratorExp, depth: int) -> Value | None:
        """``chr(x) for x in [...]`` and ``chr(x + 1) for x in ...``: one loop over known values, no condition."""
        loop = node.generators[0]
        if len(node.generators) != 1 or loop.ifs or not isinstance(loop.target, ast.Name):
            return None
        items = self.fold(loop.iter, depth)
        if isinstance(items, (int, type(None))) or len(items) > 200:
            return None
        results = []
        outer = dict(self._values())
        for item in items:
            inner = Folder(partial(_with, outer, loop.target.id, item))
            inner._work = 200
            self._work -= 50
            value = inner.fold(node.elt, depth)
            if value is None or self._work < 0:
                return None
            results.append(value)
        return results

    def _call(self, node: ast.Call, depth: int) -> Value | None:
        if node.keywords and not isinstance(node.func, ast.Attribute):
            return None
        if isinstance(node.func, ast.Name):
            return self._plain_call(node.func.id, node.args, depth)
        if isinstance(node.func, ast.Attribute):
            return self._method_call(node.func, node.args, depth)
        return None

    def _plain_call(self, name: str, args: list[ast.expr], depth: int) -> Value | None:
        if name == "map" and len(args) == 2 and isinstance(args[0], ast.Name) and args[0].id in ("chr", "str"):
            items = self.fold(args[1], depth)
            return None if isinstance(items, (int, type(None))) else _each(args[0].id, list(items))
        values = [self.fold(arg, depth) for arg in args]
        if len(values) != 1 or values[0] is None:
            return self._decoded(name, values[:1]) if len(values) == 2 else None
        value = values[0]
        if name in ("chr", "ord", "str", "int"):
            return _converted(name, value)
        if name in ("bytes", "bytearray") and isinstance(value, (list, bytes)):
            return bytes(value) if all(isinstance(item, int) and 0 <= item < 256 for item in value) else None
        if name == "reversed" and not isinstance(value, int):
            return list(value[::-1])
        if name in ("list", "tuple") and not isinstance(value, int):
            return list(value)
        return self._decoded(name, values)

    def _method_call(self, func: ast.Attribute, args: list[ast.expr], depth: int) -> Value | None:
        name = func.attr
        values = [self.fold(arg, depth) for arg in args]
        if None in values:
            return None
        if name in _DECODERS:
            return self._decoded(name, values)
        base = self.fold(func.value, depth)
        if base is None:
            return _module_function(name, values)
        try:
            if name == "join" and isinstance(base, str) and values and isinstance(values[0], (list, str)):
                return base.join(values[0])
            if name == "decode" and isinstance(base, bytes):
                return codecs.decode(base, values[0]) if values and values[0] in _CODECS else base.decode()
            if name == "format" and isinstance(base, str) and _plain_fields(base):
                return base.format(*values)
            if name in _TEXT_METHODS and isinstance(base, str):
                return _TEXT_METHODS[name](base, *values) if len(base) < 1000 else None
        except (TypeError, ValueError, LookupError, OverflowError):
            return None
        return None

    def _decoded(self, name: str, values: list[Value | None]) -> Value | None:
        if name not in _DECODERS or not values or not isinstance(values[0], (str, bytes)):
            return None
        try:
            decoded: bytes = _DECODERS[name](values[0])
            return decoded
        except (ValueError, TypeError):
            return None


def _with(values: dict[str, list[ast.expr | None]], name: str, item: Any) -> dict[str, list[ast.expr | None]]:
    values[name] = [ast.Constant(item)]
    return values


def _module_function(name: str, values: list[Value | None]) -> Value | None:
    """``codecs.decode('...', 'rot13')`` and ``os.path.join('/', 'etc')``."""
    try:
        if name == "decode" and len(values) == 2 and values[1] in _CODECS:
            decoded: str | bytes = _decode(values[0], values[1])
            return decoded
        if name == "join" and values and all(isinstance(item, str) for item in values):
            return "/".join(str(item).rstrip("/") for item in values)
    except (TypeError, ValueError, LookupError):
        return None
    return None


_decode: Callable[[Any, Any], Any] = codecs.decode  # its overloads do not cover text to text


def _plain_fields(template: str) -> bool:
    return all(piece.partition("}")[0] in ("", *"0123456789") for piece in template.split("{")[1:])


def _plain_percent(template: str) -> bool:
    return all(piece.startswith(("s", "c", "d", "%")) for piece in template.split("%")[1:])


def _each(name: str, items: list[Any]) -> Value | None:
    converted = [_converted(name, item) for item in items]
    return None if None in converted else converted


def _converted(name: str, value: Value) -> Value | None:
    if name == "chr":
        return chr(value) if isinstance(value, int) and 0 <= value < 0x110000 else None
    if name == "ord":
        return ord(value) if isinstance(value, (str, bytes)) and len(value) == 1 else None
    if name == "str":
        return str(value) if isinstance(value, (str, int)) else None
    return value if isinstance(value, int) else None


def _arithmetic(operator: ast.operator, left: int, right: int) -> int | None:
    match operator:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case ast.BitXor():
            return left ^ right
        case ast.FloorDiv() if right:
            return left // right
        case ast.Mod() if right:
            return left % right
        case ast.LShift() if 0 <= right < _MAX_BITS:
            return left << right
        case ast.Pow() if right >= 0 and left.bit_length() * right <= _MAX_BITS:
            return int(left**right)
    return None


def _capped(value: Value | None) -> Value | None:
    if isinstance(value, int):
        return value if value.bit_length() <= 2 * _MAX_BITS else None
    return value if value is None or len(value) <= _MAX_LENGTH else None


_HANDLERS: dict[type, Callable[[Folder, Any, int], Value | None]] = {
    ast.Name: Folder._name,
    ast.BinOp: Folder._binary,
    ast.UnaryOp: Folder._unary,
    ast.List: Folder._list,
    ast.Tuple: Folder._list,
    ast.JoinedStr: Folder._joined,
    ast.Subscript: Folder._subscript,
    ast.ListComp: Folder._comprehension,
    ast.GeneratorExp: Folder._comprehension,
    ast.Call: Folder._call,
}

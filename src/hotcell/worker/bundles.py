"""What a value looks like: the MIME bundle that Jupyter would make of it, whatever its methods are up to.

A bundle is a dict from MIME type to text, to Base64 text for an image, or to JSON data. Libraries are looked up among
the modules that are loaded and never imported: a value of theirs cannot be here without them.
"""

from __future__ import annotations

import binascii
import functools
import json
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

from hotcell.worker.tracebacks import encodable, safe_text, type_name
from hotcell.worker.values import TooLarge, measure, short_repr

PLAIN_TEXT = "text/plain"
NOTHING = object()
_ROWS, _COLUMNS = 60, 30
_MOST_PARTS = 16
_NAME_CHARS = 100
_MESSAGE_CHARS = 200
_TEXT_CHARS = 8_000
_ROOM_FOR_TEXT = 4 * _TEXT_CHARS
_dumps = json.dumps
_MRO: Any = type.__dict__["__mro__"]

# Of these there is nothing to see but the value itself.
_PLAIN = frozenset(
    {type(None), bool, int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset, range, slice}
    | {types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType, types.GeneratorType}
)
_METHODS = (
    ("text/html", "_repr_html_"),
    ("image/svg+xml", "_repr_svg_"),
    ("image/png", "_repr_png_"),
    ("image/jpeg", "_repr_jpeg_"),
    ("application/json", "_repr_json_"),
    ("text/markdown", "_repr_markdown_"),
    ("text/latex", "_repr_latex_"),
)


def bundle(value: Any, room: int) -> dict[str, Any] | None:
    """The bundle of a value within ``room`` bytes of JSON; None when there is nothing to see but its repr.

    Never raises. A part that does not fit or cannot be made is left out, and the ``text/plain`` says so.
    """
    parts = look_at(value, room)
    return None if parts is None else parts.bundle()


def look_at(value: Any, room: int) -> Parts | None:
    """As ``bundle``, but also tells whether the value's own code was interrupted. Never raises."""
    kind = type(value)
    if kind in _PLAIN or issubclass(kind, type):
        return None
    parts = Parts(room, value)
    parts.attempt("its display", lambda: _library(kind)(value, parts))
    return parts if parts.data or parts.notes else None


def size(part: Any) -> int:
    """Bytes of clean JSON data on the wire."""
    return len(_dumps(part, ensure_ascii=False).encode())


class Parts:
    """A bundle in the making: takes in what fits, and notes what does not."""

    def __init__(self, room: int, value: Any = NOTHING) -> None:
        """``room`` is in bytes of JSON. Without a text of its own it has the repr of ``value``, if there is one."""
        self.data: dict[str, Any] = {}
        self.notes: list[str] = []
        self.interrupted: BaseException | None = None
        """What ended the code that makes the parts, if that was no mere exception: then no more of it is called."""
        self.room = room - _ROOM_FOR_TEXT
        """What is left for parts besides the text, in bytes of JSON."""
        self._text = ""
        self._value = value

    def attempt(self, what: str, action: Callable[[], Any]) -> Any:
        """What the action returns, or None when it raises. Never raises."""
        if self.interrupted is not None:
            return None
        try:
            return action()
        except TooLarge:
            self.notes.append(f"[{what} left out: too large]")
        except BaseException as error:  # noqa: BLE001  # it is the cell's own code
            self.notes.append(f"[{what} failed: {type_name(error)}: {safe_text(error)[:_MESSAGE_CHARS]}]")
            if not issubclass(type(error), Exception):
                self.interrupted = error
        return None

    def add(self, mime: str, make: Callable[[], Any]) -> None:
        """Put in what ``make`` returns, unless that is None or there is such a part already."""
        if mime not in self.data and len(self.data) < _MOST_PARTS:
            self.attempt(mime, lambda: self._take(mime, make()))

    def add_all(self, made: Any) -> None:
        """Put in the parts of a ``_repr_mimebundle_``, which may come along with metadata."""
        made = _without_metadata(made)
        if made is None:
            return
        if not issubclass(type(made), dict):
            raise TypeError(f"a bundle must be a dict, not {type_name(made)}")
        for mime, part in list(dict.items(made))[:_MOST_PARTS]:
            if issubclass(type(mime), str) and str.__len__(mime) <= _NAME_CHARS:
                self.add(encodable(str.__str__(mime)), lambda part=part: part)  # type: ignore[misc]

    def bundle(self) -> dict[str, Any]:
        """All of it. Never raises."""
        text = self._text
        if not text and self._value is not NOTHING:
            text = short_repr(self._value, repr, _TEXT_CHARS // 2)
        lines = [line for line in (text, *self.notes) if line]
        plain = {PLAIN_TEXT: encodable("\n".join(lines)[:_TEXT_CHARS])} if lines else {}
        return plain | self.data

    def _take(self, mime: str, made: Any) -> None:
        made = _without_metadata(made)
        if made is None:
            return
        if mime == PLAIN_TEXT:
            self._text = _text(made)[: _TEXT_CHARS // 2]
        elif _is_json(mime):
            self.data[mime], taken = measure(made, self.room)
            self.room -= taken
        else:
            part = _base64(made, self.room) if _is_picture(mime) else _text(made, self.room)
            taken = size(part)
            if taken > self.room:
                raise TooLarge
            self.room -= taken
            self.data[mime] = part


def _without_metadata(made: Any) -> Any:
    if type(made) is tuple and len(made) == 2:
        return made[0]
    return made


def _is_json(mime: str) -> bool:
    return mime.startswith("application/") and mime.endswith(("/json", "+json", ".json"))


def _is_picture(mime: str) -> bool:
    return mime.startswith("image/") and not mime.endswith("+xml")


def _text(made: Any, most: int = _TEXT_CHARS) -> str:
    if not issubclass(type(made), str):
        raise TypeError(f"it must be str, not {type_name(made)}")
    if str.__len__(made) > most:
        raise TooLarge
    return encodable(str.__str__(made))


def _base64(made: Any, most: int) -> str:
    if not issubclass(type(made), bytes):
        return _text(made, most)
    if bytes.__len__(made) > most:
        raise TooLarge
    return binascii.b2a_base64(memoryview(made), newline=False).decode("ascii")


def _own_methods(value: Any, parts: Parts) -> None:
    """The ways in which an object may say what it looks like."""
    if _method(value, "_hotcell_no_such_method_"):
        return  # it claims to have any, as a mock does
    make_all = _method(value, "_repr_mimebundle_")
    if make_all is not None:
        made = parts.attempt("_repr_mimebundle_", functools.partial(make_all, include=None, exclude=None))
        parts.attempt("_repr_mimebundle_", lambda: parts.add_all(made))
    for mime, name in _METHODS:
        if mime == "image/jpeg" and "image/png" in parts.data:
            continue  # the same picture again
        make = _method(value, name)
        if make:
            parts.add(mime, make)


def _method(value: Any, name: str) -> Callable[..., Any] | None:
    method = getattr(value, name, None)
    return method if callable(method) else None


def _frame(value: Any, parts: Parts) -> None:
    """A pandas DataFrame: its first and last rows as a table, the first as data; both say how many there are."""
    limits = {"max_rows": _ROWS, "max_cols": _COLUMNS, "show_dimensions": True}
    parts.add("text/html", lambda: sys.modules["pandas"].DataFrame.to_html(value, **limits))
    top = value.iloc[:_ROWS, :_COLUMNS]
    parts.add("application/json", lambda: measure(top, parts.room)[0] | {"shape": list(value.shape)})


def _series(value: Any, parts: Parts) -> None:
    table = value.to_frame("" if value.name is None else value.name)
    parts.add("text/html", lambda: table.to_html(max_rows=_ROWS, show_dimensions=True))
    top = value.iloc[:_ROWS]
    parts.add("application/json", lambda: measure(top, parts.room)[0] | {"shape": list(value.shape)})


def _plotly(value: Any, parts: Parts) -> None:
    _own_methods(value, parts)
    mime = "application/vnd.plotly.v1+json"
    renderer = sys.modules["plotly.io"].renderers["plotly_mimetype"]
    parts.add(mime, lambda: renderer.to_mimebundle(value.to_dict())[mime])


def _altair(value: Any, parts: Parts) -> None:
    if parts.attempt("the chart", value.to_dict) is None:  # told by altair itself, this error hides behind another
        return
    with sys.modules["altair"].renderers.enable("mimetype"):
        made = _without_metadata(value._repr_mimebundle_())
    # Its text explains that a notebook is not set up.
    parts.add_all({mime: part for mime, part in made.items() if mime != PLAIN_TEXT})
    _own_methods(value, parts)


_LIBRARIES: Mapping[tuple[str, str], Callable[[Any, Parts], None]] = {
    ("pandas", "DataFrame"): _frame,
    ("pandas", "Series"): _series,
    ("plotly", "BaseFigure"): _plotly,
    ("altair", "TopLevelMixin"): _altair,
}


def _library(kind: type) -> Callable[[Any, Parts], None]:
    for base in _MRO.__get__(kind):
        look = _LIBRARIES.get((str(base.__module__).partition(".")[0], base.__name__))
        if look:
            return look
    return _own_methods

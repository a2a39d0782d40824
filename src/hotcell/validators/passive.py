"""Tells what only shows something from what may do something in the page it is put into.

Passive is what is proven to be: plain markup (see ``markup``) of the elements, attributes and values below, nested as
they belong. All else is active: scripts, handlers, links, forms, frames, loads from elsewhere, styles of the whole
page, names that a page's own scripts look for, tags that close what is around them. Nothing is ever repaired.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hotcell.validators.markup import NotPlain, Tag, tags

_NUMBER = re.compile(r"\d{0,6}%?", re.ASCII)
_PLAIN = re.compile(r"[\w \t\r\n.,%#+-]*+", re.ASCII)
_TITLE = re.compile(r"[^&]*+")
_VALUE = r"(?:(?:rgba?|translate|scale|rotate|matrix|skewX|skewY)\([\w.,% \t\r\n+-]*+\)|[\w \t\r\n.,%#+'-])*+"
_STYLE_VALUE = re.compile(_VALUE, re.ASCII)
_PAINT = re.compile(rf"url\(#[\w.-]++\)|{_VALUE}", re.ASCII)
_ID = re.compile(r"[\w.-]++", re.ASCII)
_REFERENCE = re.compile(r"#[\w.-]++", re.ASCII)
_IMAGE = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]*+", re.ASCII)

_HTML_STYLE = frozenset(
    "text-align vertical-align color background-color font-weight font-style white-space text-decoration".split()
)
_SVG_STYLE = frozenset(
    """fill fill-opacity fill-rule stroke stroke-width stroke-opacity stroke-linecap stroke-linejoin stroke-dasharray
    stroke-dashoffset stroke-miterlimit opacity color font font-family font-size font-style font-weight font-stretch
    font-variant text-anchor dominant-baseline alignment-baseline stop-color stop-opacity image-rendering clip-rule
    shape-rendering text-rendering white-space""".split()
)
_BLOCKS = frozenset("div p pre blockquote ul ol dl table hr h1 h2 h3 h4 h5 h6".split())
_WORDS = frozenset("span b i u s em strong small sub sup code kbd samp var mark abbr del ins".split())
_SECTIONS = frozenset("thead tbody tfoot".split())
_SHAPES = frozenset("path rect circle ellipse line polyline polygon".split())
_CONTAINERS = frozenset("svg g defs clipPath".split())
_TOP = frozenset({""})
_AROUND_BLOCKS = _TOP | frozenset("div blockquote td th li dd".split())
_AROUND_WORDS = _AROUND_BLOCKS | _WORDS | frozenset("p pre h1 h2 h3 h4 h5 h6 dt caption".split())


@dataclass(frozen=True, kw_only=True)
class _Grammar:
    parents: Mapping[str, frozenset[str]]
    """Each element, and in which it may stand; an empty name is the top."""
    attributes: Mapping[str, re.Pattern[str]]
    style: frozenset[str]
    """The properties of a ``style`` attribute."""
    void: frozenset[str]
    """Elements that are never closed."""


# An element elsewhere than here makes a browser close what is around it, and an end tag then closes what is the page's.
_HTML = _Grammar(
    parents={
        **dict.fromkeys(_BLOCKS, _AROUND_BLOCKS),
        **dict.fromkeys(_WORDS | {"br", "img"}, _AROUND_WORDS),
        **dict.fromkeys(_SECTIONS | {"caption", "colgroup"}, frozenset({"table"})),
        "tr": _SECTIONS | {"table"},
        "td": frozenset({"tr"}),
        "th": frozenset({"tr"}),
        "col": frozenset({"colgroup"}),
        "li": frozenset({"ul", "ol"}),
        "dt": frozenset({"dl"}),
        "dd": frozenset({"dl"}),
    },
    attributes={
        **dict.fromkeys("border colspan rowspan width height start span".split(), _NUMBER),
        **dict.fromkeys("align halign valign scope dir lang".split(), _PLAIN),
        **dict.fromkeys(("title", "alt"), _TITLE),
        "class": re.compile("dataframe"),  # pandas' own; others may mean something to the page's scripts
        "src": _IMAGE,
    },
    style=_HTML_STYLE,
    void=frozenset({"br", "hr", "img", "col"}),
)
_SVG = _Grammar(
    parents={
        "svg": _TOP,
        **dict.fromkeys(_SHAPES | {"use", "g", "defs", "text", "image", "title", "desc"}, _CONTAINERS),
        **dict.fromkeys(("clipPath", "linearGradient", "radialGradient", "style"), _CONTAINERS - {"clipPath"}),
        "stop": frozenset({"linearGradient", "radialGradient"}),
        "tspan": frozenset({"text", "tspan"}),
    },
    attributes={
        **dict.fromkeys(
            """x y x1 y1 x2 y2 cx cy r rx ry fx fy dx dy d points width height viewBox version offset rotate
            preserveAspectRatio gradientUnits clipPathUnits spreadMethod textLength lengthAdjust""".split(),
            _PLAIN,
        ),
        **dict.fromkeys(_SVG_STYLE | {"transform", "gradientTransform"}, _STYLE_VALUE),
        **dict.fromkeys(("fill", "stroke", "clip-path"), _PAINT),
        "id": _ID,
        "xmlns": re.compile(re.escape("http://www.w3.org/2000/svg")),
        "xmlns:xlink": re.compile(re.escape("http://www.w3.org/1999/xlink")),
        "type": re.compile("text/css"),
    },
    style=_SVG_STYLE,
    void=frozenset(),
)
_MOST_DEPTH = 100
_MOST_STYLE_CHARS = 1_000
_MATPLOTLIB_STYLE = "*{stroke-linejoin: round; stroke-linecap: butt}"
_UNSAFE_LATEX = re.compile(
    r"\\(?:href|url|html|class|cssId|style|require|include|input|write|def|let|new|csname|catcode|bbox|unicode|special)"
    r"|<[a-zA-Z/!?]"
)
_UNSAFE_MARKDOWN = re.compile(rf"<|\][ \t]*[(:\[]|{_UNSAFE_LATEX.pattern}")


def is_passive(mime: str, data: Any) -> bool:
    """Whether a page that shows this part as what it claims to be shows it and does nothing else."""
    if mime.startswith("image/") and mime != "image/svg+xml":
        return True
    prove = _PROOFS.get(mime)
    return prove is not None and prove(data)


def _is_passive_html(text: str) -> bool:
    return _Reading(_HTML).follows(text)


def _is_passive_svg(text: str) -> bool:
    reading = _Reading(_SVG)
    # One level of ``use`` only: each may repeat what repeats another, and ten of them then fill a browser's memory.
    return reading.follows(text) and reading.used <= reading.shapes - reading.others


class _Reading:
    """One text, read against a grammar."""

    def __init__(self, grammar: _Grammar) -> None:
        self._grammar = grammar
        self._inside = [""]
        self.used: set[str] = set()
        self.shapes: set[str] = set()
        self.others: set[str] = set()

    def follows(self, text: str) -> bool:
        try:
            return all(self._start(tag) if tag.starts else self._end(tag) for tag in tags(text)) and (
                self._inside == [""]
            )
        except NotPlain:
            return False

    def _start(self, tag: Tag) -> bool:
        grammar, parent = self._grammar, self._inside[-1]
        if len(self._inside) > _MOST_DEPTH or parent not in grammar.parents.get(tag.name, ()):
            return False
        if tag.name not in grammar.void:
            if tag.ends and grammar is _HTML:
                return False  # to a browser it is open
            if not tag.ends:
                self._inside.append(tag.name)
        return all(self._permits(tag.name, name, value) for name, value in tag.attributes)

    def _end(self, tag: Tag) -> bool:
        if tag.name == "style" and tag.before.strip() != _MATPLOTLIB_STYLE:
            return False
        return self._inside.pop() == tag.name

    def _permits(self, element: str, name: str, value: str) -> bool:
        if name == "style":
            return _is_passive_style(value, self._grammar.style)
        if name in ("href", "xlink:href"):
            return self._permits_reference(element, value)
        if name == "transform" and element == "svg":
            return False  # it may be moved over something else on the page
        if name == "id":
            (self.shapes if element in _SHAPES else self.others).add(value)
        return name in self._grammar.attributes and self._grammar.attributes[name].fullmatch(value) is not None

    def _permits_reference(self, element: str, value: str) -> bool:
        if element == "use" and _REFERENCE.fullmatch(value):
            self.used.add(value[1:])
            return True
        return element == "image" and self._grammar is _SVG and _IMAGE.fullmatch(value) is not None


def _is_passive_style(text: str, properties: frozenset[str]) -> bool:
    if len(text) > _MOST_STYLE_CHARS:
        return False
    for declaration in text.split(";"):
        name, colon, value = declaration.partition(":")
        if declaration.strip() and (not colon or name.strip() not in properties or not _STYLE_VALUE.fullmatch(value)):
            return False
    return True


_PROOFS: Mapping[str, Callable[[Any], bool]] = {
    "text/plain": lambda _: True,
    "application/json": lambda _: True,
    "text/html": _is_passive_html,
    "image/svg+xml": _is_passive_svg,
    "text/latex": lambda text: not _UNSAFE_LATEX.search(text),
    "text/markdown": lambda text: not _UNSAFE_MARKDOWN.search(text),
}

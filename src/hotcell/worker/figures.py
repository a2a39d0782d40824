"""matplotlib's figures as MIME bundles. Nothing of matplotlib is imported: without it there are no figures.

A figure is shown once, and again when it has changed since, which it knows itself (``figure.stale``).
"""

from __future__ import annotations

import io
import sys
import weakref
from collections.abc import Sequence
from typing import Any

from hotcell.worker.bundles import Parts

_shown: weakref.WeakSet[Any] = weakref.WeakSet()


def figure_of(value: Any) -> Any:
    """The figure that a value is, or is the axes of; None for any other value."""
    base = getattr(sys.modules.get("matplotlib.artist"), "Artist", None)
    if base is None or not issubclass(type(value), base):
        return None
    kinds = (sys.modules["matplotlib.figure"].FigureBase, sys.modules["matplotlib.axes"].Axes)
    return value.figure.canvas.figure if issubclass(type(value), kinds) else None  # not the part that is a SubFigure


def open_figures() -> list[Any]:
    """Those that pyplot holds and that have something in them, in the order in which they were made."""
    holder = getattr(sys.modules.get("matplotlib._pylab_helpers"), "Gcf", None)
    if not holder or not holder.figs:
        return []
    figures = [manager.canvas.figure for _, manager in sorted(holder.figs.items())]
    return [figure for figure in figures if len(figure.get_children()) > 1]  # the background is always there


def close_all() -> None:
    """The next plot begins a new figure."""
    sys.modules["matplotlib._pylab_helpers"].Gcf.destroy_all()


def has_news(figure: Any) -> bool:
    """True when it was not shown yet, or has changed since."""
    return figure not in _shown or bool(figure.stale)


def draw(figure: Any, formats: Sequence[str], parts: Parts) -> None:
    """Add the figure in each of the formats ``png`` and ``svg``, cut to what is drawn on it, as Jupyter does."""
    _shown.add(figure)
    for name in formats:
        parts.add("image/svg+xml" if name == "svg" else "image/png", lambda name=name: _picture(figure, name))  # type: ignore[misc]
    figure.stale = False


def _picture(figure: Any, name: str) -> Any:
    stream = io.BytesIO()
    colours = {"facecolor": figure.get_facecolor(), "edgecolor": figure.get_edgecolor()}
    figure.canvas.print_figure(stream, format=name, dpi=figure.dpi, bbox_inches="tight", **colours)
    return _fragment(stream.getvalue().decode()) if name == "svg" else stream.getvalue()


def _fragment(text: str) -> str:
    """Without what belongs to a file of its own, and what tells when and by what it was made."""
    start, after = text.find("<svg"), text.rfind("</metadata>")
    head, tag, _ = text[start:after].partition("<metadata>")
    return head + text[after:].removeprefix("</metadata>") if tag else text[start:]

"""What a cell shows: the value of its last expression, its figures, and what it gives to ``display``.

One screen at a time is on in a process; what is shown goes out through it as MIME bundles. Without one, ``display``
prints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hotcell.worker import bundles, figures, streams
from hotcell.worker.bundles import Parts
from hotcell.worker.tracebacks import safe_text, type_name
from hotcell.worker.values import short_repr

_FRAME_BYTES = (1 << 25) - (1 << 16)
"""A little less than the wire takes at once."""

_screens: list[Screen] = []


class Screen:
    """Where one call shows things."""

    def __init__(self, emit: Callable[[dict[str, Any]], None], formats: Sequence[str], room: int) -> None:
        """``emit`` sends a bundle; ``formats`` are those of figures; ``room`` is for all bundles, in bytes of JSON."""
        self._emit = emit
        self._formats = formats
        self._left = room
        self._figures: list[Any] = []

    @property
    def is_full(self) -> bool:
        """True when there is no room for more."""
        return self._left <= 0

    def show(self, value: Any) -> None:
        """Show a value as ``display`` does: also one that is nothing but its repr."""
        figure = figures.figure_of(value)
        if figure is not None:
            self._draw(figure, value)
        else:
            self._send(bundles.look_at(value, self._room) or Parts(self._room, value))

    def show_result(self, value: Any) -> None:
        """Show the value of the last expression, if it is more than its repr and not on the screen already."""
        figure = figures.figure_of(value)
        if figure is None:
            parts = bundles.look_at(value, self._room)
            if parts:
                self._send(parts)
        elif figure not in self._figures or figures.has_news(figure):
            self._draw(figure, value)

    def show_figures(self) -> None:
        """Show the open figures that have news."""
        for figure in figures.open_figures():
            if figures.has_news(figure):
                self._draw(figure, figure)

    def show_raw(self, bundle: Any) -> None:
        """Show a bundle that the code made itself."""
        parts = Parts(self._room)
        parts.attempt("the bundle", lambda: parts.add_all(bundle))
        self._send(parts)

    @property
    def _room(self) -> int:
        return min(self._left, _FRAME_BYTES)

    def _draw(self, figure: Any, value: Any) -> None:
        if self._formats and not self.is_full:
            parts = Parts(self._room, value)
            self._figures.append(figure)
            figures.draw(figure, self._formats, parts)
            self._send(parts)

    def _send(self, parts: Parts) -> None:
        """Raises what interrupted the code that made the parts."""
        bundle = parts.bundle()
        # The last one may be too much: then the other side says that something was left out.
        self._left -= bundles.size(bundle)
        streams.flush_streams()  # what was printed before it comes before it
        self._emit(bundle)
        if parts.interrupted is not None:
            raise parts.interrupted


def start(emit: Callable[[dict[str, Any]], None], formats: Sequence[str], room: int) -> None:
    """Put a screen on; see ``Screen``. In the room of 0 bytes nothing is shown."""
    _screens[:] = [Screen(emit, formats, room)]


def finish(value: Any, error: BaseException | None) -> None:
    """Show the value of the last expression and the open figures, and put the screen off. Never raises.

    Code that ended in an ``error`` has no value, but may have figures; once it is interrupted nothing more is shown.
    """
    if not _screens:
        return
    screen = _screens.pop()
    if screen.is_full:
        return
    if error is not None and not issubclass(type(error), (Exception, SystemExit)):
        return
    try:
        if error is None:
            screen.show_result(value)
        screen.show_figures()
    except BaseException as late:  # noqa: BLE001  # the cell's own code ran
        streams.write_error(f"Exception ignored while something was shown: {type_name(late)}: {safe_text(late)}")


def display(*values: Any, raw: bool = False, **_options: Any) -> None:
    """Show values as a notebook does; ``raw`` ones are MIME bundles already. Other options of Jupyter's do nothing."""
    for value in values:
        if not _screens:
            print(short_repr(value, repr))  # noqa: T201  # all there is
        elif not _screens[0].is_full:
            show = _screens[0].show_raw if raw else _screens[0].show
            show(value)


def show_open_figures() -> bool:
    """For ``pyplot.show``: the next plot begins a new figure, as after closing a window. False without a screen."""
    if not _screens:
        return False
    _screens[0].show_figures()
    figures.close_all()
    return True

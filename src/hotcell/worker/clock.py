"""The time as a cell sees it: the true one, remembering that somebody asked, or one that stands still.

It is for honest code. What asks the kernel itself (``numpy.datetime64("now")``, SQLite, the times of files) gets the
true time, unseen.
"""

from __future__ import annotations

import datetime
import gc
import sys
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

_SECOND_NS = 1_000_000_000
"""An int, as only the quotient of two of them is rounded once."""
_TICK_NS = 1_000
_TO_ASKER = 2
"""Frames from a method of the clock to who asks: past the method and its stand-in."""
# Read to know how long to wait, not to tell anybody the time; and they would wait for ever by a clock that stands.
_WAITING = ("asyncio", "concurrent", "multiprocessing", "queue", "sched", "selectors", "threading")
_INSTALLED = (sys.prefix, sys.base_prefix)
_DURATIONS = ("monotonic", "perf_counter", "process_time", "thread_time")
# Function -> the place of the argument that, when given, is the time, so that the clock is not asked.
_TIME_AT = {"localtime": 0, "gmtime": 0, "ctime": 0, "asctime": 0, "strftime": 1}
_NAMES = (
    *("time", "time_ns", "clock_gettime", "clock_gettime_ns"),
    *_DURATIONS,
    *(f"{name}_ns" for name in _DURATIONS),
    *_TIME_AT,
)
_WALL = ("CLOCK_REALTIME", "CLOCK_REALTIME_COARSE", "CLOCK_TAI")
_WALL_CLOCKS = tuple(getattr(time, name) for name in _WALL if hasattr(time, name))
_REAL: dict[str, Callable[..., Any]] = {name: getattr(time, name) for name in (*_NAMES, "sleep")}
_REAL_NOW: Mapping[str, Any] = {name: datetime.datetime.__dict__[name] for name in ("now", "utcnow")}


class Clock:
    """Takes the place of the clock. ``fixed_ns`` is the time in nanoseconds since 1970; None leaves the true one.

    A fixed clock moves on by the time that the code sleeps. Durations move by a microsecond more with every look, so
    that code may divide by one.
    """

    def __init__(self, fixed_ns: int | None) -> None:
        self.was_read = False
        """True once the code has seen the true time."""
        self._fixed_ns = fixed_ns
        self._slept_ns = self._looks = 0

    def install(self) -> None:
        """Put it in the place of the functions in ``time`` and of ``datetime.now``, for whoever looks them up."""
        for name in _NAMES:
            setattr(time, name, _Stand(name, self._watched if self._fixed_ns is None else self._fixed))
        if self._fixed_ns is not None:
            setattr(time, "sleep", _Stand("sleep", self._sleep))  # noqa: B010  # a type checker knows its real type
        # datetime.today and date.today ask time.time.
        _change_type(datetime.datetime, {"now": classmethod(self._now), "utcnow": classmethod(self._utcnow)})

    def _watched(self, name: str, *args: Any) -> Any:
        if not _is_given(name, args):
            self._note(sys._getframe(_TO_ASKER))
        return _REAL[name](*args)

    def _note(self, asker: FrameType) -> None:
        """Somebody was told the true time."""
        self.was_read = self.was_read or not (_is_waiting(asker) or _is_imported(asker))

    def _fixed(self, name: str, *args: Any) -> Any:
        if name in _TIME_AT:
            return _REAL[name](*args) if _is_given(name, args) else self._formatted(name, args)
        kind = name.removesuffix("_ns")
        if _is_waiting(sys._getframe(_TO_ASKER)):
            return _REAL[name](*args)
        wall = kind == "time" or (kind == "clock_gettime" and args[:1] and args[0] in _WALL_CLOCKS)
        nanoseconds = self._wall_ns() if wall else self._duration_ns()
        return nanoseconds if name.endswith("_ns") else nanoseconds / _SECOND_NS

    def _formatted(self, name: str, args: tuple[Any, ...]) -> Any:
        seconds = self._wall_ns() / _SECOND_NS
        if name in ("asctime", "strftime"):
            return _REAL[name](*args[: _TIME_AT[name]], _REAL["localtime"](seconds))
        return _REAL[name](seconds)

    def _sleep(self, name: str, seconds: Any) -> None:
        _REAL[name](seconds)
        self._slept_ns += round(seconds * _SECOND_NS)

    def _now(self, cls: Any, tz: Any = None) -> Any:
        if self._fixed_ns is not None:
            return cls.fromtimestamp(self._wall_ns() / _SECOND_NS, tz)
        self._note(sys._getframe(1))
        return _REAL_NOW["now"].__get__(None, cls)(tz)

    def _utcnow(self, cls: Any) -> Any:
        if self._fixed_ns is not None:
            return cls.fromtimestamp(self._wall_ns() / _SECOND_NS, datetime.UTC).replace(tzinfo=None)
        self._note(sys._getframe(1))
        return _REAL_NOW["utcnow"].__get__(None, cls)()

    def _wall_ns(self) -> int:
        return (self._fixed_ns or 0) + self._slept_ns

    def _duration_ns(self) -> int:
        self._looks += 1
        return self._slept_ns + self._looks * _TICK_NS


class _Stand:
    """Stands in for a function. An object, as a Python function would become a method where a class holds it."""

    __slots__ = ("_function", "_name")

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self._name = name
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(self._name, *args)

    def __getattr__(self, name: str) -> Any:
        return getattr(_REAL[self._name], name)

    def __repr__(self) -> str:
        return repr(_REAL[self._name])


def _is_given(name: str, args: tuple[Any, ...]) -> bool:
    place = _TIME_AT.get(name)
    return place is not None and len(args) > place and args[place] is not None


def _is_waiting(asker: FrameType) -> bool:
    """True for a library that wants to know how long to wait."""
    name = asker.f_globals.get("__name__")
    return type(name) is str and name.partition(".")[0] in _WAITING


def _is_imported(asker: FrameType | None) -> bool:
    """True for an installed library that is being imported: logging and dateutil ask then, and rarely tell anybody."""
    while asker is not None:
        if asker.f_code.co_name == "<module>":
            return asker.f_code.co_filename.startswith(_INSTALLED)
        asker = asker.f_back
    return False


def _change_type(kind: type, methods: Mapping[str, Any]) -> None:
    """Change the methods of a type that is written in C, and so does not let itself be changed.

    In place, as a subclass would reach only those who look ``datetime.datetime`` up later: here pandas, which was
    imported before and asks from C, sees the same time as the cell.
    """
    import ctypes  # the fork server has it

    (names,) = (item for item in gc.get_referents(kind.__dict__) if type(item) is dict)
    names.update(methods)
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(kind))

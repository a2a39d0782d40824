"""What an exception says of itself, with the cell's own lines and without ours, whatever the exception is up to."""

from __future__ import annotations

import linecache
import os
import re
import sys
import traceback
from collections.abc import Iterator
from opcode import opmap
from types import TracebackType
from typing import Any, TypeGuard

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_MESSAGE_CHARS = 4_000
_TRACEBACK_CHARS = 20_000
_HEAD_CHARS = 6_000
_SOURCE_LINE_CHARS = 200
_FRAMES_PER_END = 500
_CHAIN = 20
_RAISE = opmap["RAISE_VARARGS"]
_CELL_FILE = re.compile(r'File "(Cell \d+)", line')
"""A cell of a session is no file."""

# A subclass can shadow these with properties that lie or raise; the base's descriptors cannot be shadowed.
_TRACEBACK: Any = BaseException.__dict__["__traceback__"]
_CAUSE: Any = BaseException.__dict__["__cause__"]
_CONTEXT: Any = BaseException.__dict__["__context__"]
_MEMBERS: Any = BaseExceptionGroup.__dict__["exceptions"]
_TYPE_NAME: Any = type.__dict__["__name__"]


_sources: dict[str, Source] = {}
"""The texts that run in this process, by file name: in a session, those of all its cells."""


class Source:
    """The text of a cell, known to ``linecache`` as ``filename`` and shown to people as ``shown``.

    ``number`` is the cell's in its session; 0 outside of one.
    """

    def __init__(self, text: str, filename: str, shown: str | None = None, number: int = 0) -> None:
        self.filename = filename
        self.shown = shown or filename
        self.number = number
        # Python ends lines at these only; str.splitlines() knows more, and would shift the numbers.
        plain = text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
        self.lines = [line + "\n" for line in plain.split("\n")]

    def register(self) -> None:
        """Let tracebacks, ``inspect`` and ``warnings`` find the lines."""
        linecache.cache[self.filename] = (len(self.lines), None, self.lines, self.filename)
        _sources[self.filename] = self

    def forget(self) -> None:
        """Undo ``register``."""
        linecache.cache.pop(self.filename, None)
        _sources.pop(self.filename, None)

    def line(self, number: int) -> str:
        """One line, 1-based, stripped and shortened; empty when there is none."""
        if not 1 <= number <= len(self.lines):
            return ""
        return self.lines[number - 1].strip()[:_SOURCE_LINE_CHARS]


def describe(error: BaseException, source: Source) -> dict[str, Any]:
    """The ``error`` of a report: type, message, traceback, line, source_line. Never raises."""
    kind = type_name(error)
    # str() of a SyntaxError repeats the file and line, which have fields of their own.
    message = safe_text(error.msg) if _is_syntax_error(error) else safe_text(error)
    place, number = _user_line(error, source)
    line = place.line(number)
    try:
        _trim(error)
        text = _format(error, source)
    except BaseException:  # noqa: BLE001  # an exception of the cell's making may do anything while it is looked at
        where = f'  File "{place.shown}", line {number}\n    {line}\n' if number else ""
        text = f"Traceback (most recent call last):\n{where}{kind}: {message}\n"
    return {
        "type": encodable(kind[:_SOURCE_LINE_CHARS]),
        "message": encodable(_cut(message, _MESSAGE_CHARS // 4, _MESSAGE_CHARS)),
        "traceback": encodable(_cut(text, _HEAD_CHARS, _TRACEBACK_CHARS)),
        "line": number,
        "cell": place.number if number else 0,
        "source_line": encodable(line),
    }


def type_name(value: object) -> str:
    """The plain name of its type, whatever the type's metaclass says."""
    return str(_TYPE_NAME.__get__(type(value)))


def safe_text(value: object) -> str:
    """``str(value)`` as an exact str. Never raises."""
    try:
        return str.__str__(str(value))
    except BaseException:  # noqa: BLE001  # __str__ is the cell's own code
        return f"<str() of this {type_name(value)} failed>"


def encodable(text: str) -> str:
    """Lone surrogates cannot be sent as UTF-8, so they are shown escaped."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def is_failed_allocation(error: BaseException) -> bool:
    """Whether it is a MemoryError that nobody in the cell raised by hand."""
    if not issubclass(type(error), MemoryError):
        return False
    entry = _innermost(error)
    return entry is None or entry.tb_lasti < 0 or entry.tb_frame.f_code.co_code[entry.tb_lasti] != _RAISE


def release_frames(error: BaseException) -> None:
    """Let go of what the failed functions held in their variables."""
    traceback.clear_frames(_TRACEBACK.__get__(error))


def _entries(error: BaseException) -> Iterator[TracebackType]:
    entry = _TRACEBACK.__get__(error)
    while entry is not None:
        yield entry
        entry = entry.tb_next


def _innermost(error: BaseException) -> TracebackType | None:
    """Where in the cells' own text it happened. Keeps no list, as memory may be what ran out."""
    found = None
    for entry in _entries(error):
        if entry.tb_frame.f_code.co_filename in _sources:
            found = entry
    return found


def _user_line(error: BaseException, source: Source) -> tuple[Source, int]:
    """The innermost text and line of the cells' own; line 0 when unknown."""
    entry = _innermost(error)
    if entry is not None:
        return _sources[entry.tb_frame.f_code.co_filename], entry.tb_lineno or 0
    if not _is_syntax_error(error):
        return source, 0
    # Its fields can be set to anything.
    filename: object = error.filename
    number: object = error.lineno
    return source, number if type(filename) is str and filename == source.filename and type(number) is int else 0


def _is_syntax_error(error: BaseException) -> TypeGuard[SyntaxError]:
    """Exactly one of Python's own: a subclass could lie about its line."""
    return type(error) in (SyntaxError, IndentationError, TabError)


def _trim(error: BaseException) -> None:
    """Take our frames, the middle of an endless recursion and the far end of a long chain out, in place."""
    seen: set[int] = set()
    pending = [(error, 0)]
    while pending:
        item, depth = pending.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        _TRACEBACK.__set__(item, _without_ours(_entries(item)))
        if depth >= _CHAIN:
            _CAUSE.__set__(item, None)
            _CONTEXT.__set__(item, None)
        linked = [_CAUSE.__get__(item), _CONTEXT.__get__(item)]
        if isinstance(item, BaseExceptionGroup):
            linked.extend(_MEMBERS.__get__(item))
        pending.extend((other, depth + 1) for other in linked if other is not None)


def _without_ours(entries: Iterator[TracebackType]) -> TracebackType | None:
    kept = [entry for entry in entries if not entry.tb_frame.f_code.co_filename.startswith(_HERE)]
    if len(kept) > 2 * _FRAMES_PER_END:
        kept = kept[:_FRAMES_PER_END] + kept[-_FRAMES_PER_END:]
    following = None
    for entry in reversed(kept):
        if entry.tb_next is not following:
            entry.tb_next = following
        following = entry
    return following


def _format(error: BaseException, source: Source) -> str:
    report = traceback.TracebackException(type(error), error, _TRACEBACK.__get__(error), compact=True)
    pending: list[traceback.TracebackException | None] = [report]
    seen: set[int] = set()
    prefixes = _library_prefixes()
    while pending:
        part = pending.pop()
        if part is None or id(part) in seen:
            continue
        seen.add(id(part))
        for frame in part.stack:
            cell = _sources.get(frame.filename)
            frame.filename = cell.shown if cell else _short(frame.filename, prefixes)
        _show_source(part, source)
        pending += [part.__cause__, part.__context__, *(getattr(part, "exceptions", None) or ())]
    text = "".join(report.format())
    return _CELL_FILE.sub(r"\1, line", text) if source.number else text


def _show_source(part: Any, source: Source) -> None:
    """A SyntaxError of the compiler's, unlike one of the parser's, comes without the offending line."""
    if getattr(part, "filename", None) != source.filename:
        return
    part.filename = source.shown
    if part.text is None and part.lineno:
        part.text = source.line(int(part.lineno))
        part.offset = None


def _library_prefixes() -> list[str]:
    folders: set[Any] = {os.path.dirname(os.__file__), *sys.path}  # the cell may have put anything into sys.path
    return sorted(
        (folder.rstrip(os.sep) + os.sep for folder in folders if folder and type(folder) is str), key=len, reverse=True
    )


def _short(filename: str, prefixes: list[str]) -> str:
    for prefix in prefixes:
        if filename.startswith(prefix):
            return filename[len(prefix) :]
    return filename


def _cut(text: str, head: int, most: int) -> str:
    if len(text) <= most:
        return text
    return f"{text[:head]}\n[... {len(text) - most} characters left out ...]\n{text[head - most :]}"

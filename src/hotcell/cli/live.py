"""Output on a terminal while it is written, in front of which stands a bar, so that it cannot pass for ours."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import TextIO

from hotcell import events
from hotcell.report import display
from hotcell.terminal import Style, clean, clean_line, duration

_MOST_ARGUMENTS = 60
_LONE_RETURN = re.compile(r"\r(?!\n)")


class _Side:
    """One of the two streams."""

    def __init__(self, stream: TextIO, bar: str) -> None:
        self._stream = stream
        self._bar = bar
        self._held = ""
        self._redraws = stream.isatty()
        """A progress bar goes back to the start of its line; elsewhere that is spelled out."""
        self.is_open = False
        """True in the middle of a line."""

    def write(self, text: str) -> None:
        text = self._held + text
        self._held = "\r" if text.endswith("\r") else ""  # the other half of a line's end may follow
        text = text.removesuffix("\r")
        if not text:
            return
        parts = _LONE_RETURN.split(text) if self._redraws else [text]
        shown = f"\r{self._bar}".join(clean(part) for part in parts)
        body = shown.removesuffix("\n")
        self._stream.write(("" if self.is_open else self._bar) + body.replace("\n", "\n" + self._bar))
        self.is_open = body == shown
        if not self.is_open:
            self._stream.write("\n")
        self._stream.flush()

    def end_line(self) -> None:
        if self.is_open:
            self._stream.write("\n")
            self._stream.flush()
        self.is_open, self._held = False, ""


class Live:
    """Shows events as they come: stdout on ours, stderr on ours, one line for a display or a tool's call."""

    def __init__(self) -> None:
        self._style = Style.of(sys.stdout)
        self._stdout = _Side(sys.stdout, self._style.faint("  │ "))
        self._stderr = _Side(sys.stderr, Style.of(sys.stderr).warn("  ║ "))
        self._share_a_line = _is_same(sys.stdout, sys.stderr)

    def show(self, event: events.Event) -> None:
        """What there is to see of it."""
        match event:
            case events.Stdout(text=text):
                self._write(self._stdout, self._stderr, text)
            case events.Stderr(text=text):
                self._write(self._stderr, self._stdout, text)
            case events.Display():
                self._notice(display(event, style=self._style))
            case events.ToolCall():
                self._notice(self._label(f"call {event.number}") + _call(event))
            case events.ToolReturn():
                self._notice(f"{self._label(f'call {event.number}')}-> {_return(event)}")
            case events.Finished():
                self.end()

    def end(self) -> None:
        """Whatever comes next begins on a line of its own."""
        self._stdout.end_line()
        self._stderr.end_line()

    def _write(self, side: _Side, other: _Side, text: str) -> None:
        if self._share_a_line:
            other.end_line()
        side.write(text)

    def _label(self, text: str) -> str:
        return self._style.strong(text) + " " * max(1, 10 - len(text))

    def _notice(self, text: str) -> None:
        self._stdout.end_line()
        if self._share_a_line:
            self._stderr.end_line()
        print(text, flush=True)


def _call(event: events.ToolCall) -> str:
    arguments = ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in event.arguments.items())
    text = clean_line(arguments)
    return f"{clean_line(event.name)}({text if len(text) <= _MOST_ARGUMENTS else text[: _MOST_ARGUMENTS - 1] + '…'})"


def _return(event: events.ToolReturn) -> str:
    went_wrong = f": {clean_line(event.error)}" if event.error else ""
    return f"{clean_line(event.outcome)} ({duration(event.seconds)}){went_wrong}"


def _is_same(one: TextIO, other: TextIO) -> bool:
    """Whether both end up in the same place."""
    try:
        return os.path.samestat(os.fstat(one.fileno()), os.fstat(other.fileno()))
    except (OSError, ValueError):  # no files: a test, a notebook
        return False

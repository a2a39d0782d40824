"""Turn what a cell writes, as it writes it, into events: decoded, cleaned, without secrets, and without waiting."""

from __future__ import annotations

import codecs

from hotcell.events import Stderr, Stdout
from hotcell.validators.output import Redactor
from hotcell.validators.stream import StreamCleaner, StreamRedactor

_Decoder = codecs.getincrementaldecoder("utf-8")


class LiveOutput:
    """Both streams of one execution. Not thread-safe: it belongs to the thread that reads the cell."""

    def __init__(self, redactor: Redactor | None) -> None:
        """``redactor``: None leaves secrets in; what may harm a terminal is made visible all the same."""
        self._sides = {name: _Side(redactor, name) for name in ("stdout", "stderr")}

    def output(self, stream: str, data: bytes) -> list[Stdout | Stderr]:
        """``stdout`` or ``stderr`` wrote something. What the other still holds back and may show comes before it."""
        events = []
        for name, side in self._sides.items():
            if name != stream:
                events += _event(name, side.pause())
        return events + _event(stream, self._sides[stream].take(data))

    def tick(self) -> list[Stdout | Stderr]:
        """To be called about every 20 ms, whatever happens. Cheap when nothing came since the last time."""
        return [event for name, side in self._sides.items() for event in _event(name, side.tick())]

    def finish(self) -> list[Stdout | Stderr]:
        """Nothing more will come: all that was held back."""
        return [event for name, side in self._sides.items() for event in _event(name, side.finish())]


class _Side:
    """One stream."""

    def __init__(self, redactor: Redactor | None, name: str) -> None:
        self._decoder = _Decoder(errors="replace")
        self._text: StreamCleaner | StreamRedactor = redactor.stream(name) if redactor else StreamCleaner()
        self._quiet = True
        self._paused = True

    def take(self, data: bytes) -> str:
        text = self._text.feed(self._decoder.decode(data))
        # The first words after a silence are shown at once; in a flood the next tick is soon enough.
        if self._quiet:
            text += self._text.settle()
        self._quiet = self._paused = False
        return text

    def pause(self) -> str:
        """The other stream goes on."""
        if self._paused:
            return ""
        self._paused = True
        return self._text.settle()

    def tick(self) -> str:
        self._quiet = self._paused = True
        return self._text.settle()

    def finish(self) -> str:
        return self._text.feed(self._decoder.decode(b"", final=True)) + self._text.flush()


def _event(name: str, text: str) -> list[Stdout | Stderr]:
    if not text:
        return []
    return [Stdout(text=text) if name == "stdout" else Stderr(text=text)]

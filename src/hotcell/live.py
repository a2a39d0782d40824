"""Placeholder until the redactor delivers partial lines."""

from __future__ import annotations

import codecs

from hotcell.events import Event, Stderr, Stdout
from hotcell.validators.output import Redactor
from hotcell.validators.text import clean_text

_KIND = {"stdout": Stdout, "stderr": Stderr}


class LiveOutput:
    def __init__(self, redactor: Redactor | None) -> None:
        self._decoders = {name: codecs.getincrementaldecoder("utf-8")("replace") for name in _KIND}
        self._redactors = {name: redactor.stream(name) if redactor else None for name in _KIND}

    def output(self, stream: str, data: bytes) -> list[Event]:
        text = self._decoders[stream].decode(data)
        redactor = self._redactors[stream]
        text = redactor.feed(text) if redactor else clean_text(text)
        return [_KIND[stream](text=text)] if text else []

    def tick(self) -> list[Event]:
        return []

    def finish(self) -> list[Event]:
        events: list[Event] = []
        for name, redactor in self._redactors.items():
            if redactor and (text := redactor.flush()):
                events.append(_KIND[name](text=text))
        return events

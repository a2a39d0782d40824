"""Redact text that comes in pieces, so that a secret cut in two is still found.

Nearly every kind stays within a line, so whole lines can go at once; what is held back is the line that has not ended
yet, and a private key block that has not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from hotcell.results import Redaction
from hotcell.validators.blocks import LONGEST_BLOCK
from hotcell.validators.known import KnownSecrets
from hotcell.validators.shadow import Span
from hotcell.validators.text import clean_text, unfinished_colour

HELD_BACK = 65_536
"""The most characters held back: longer than any kind of secret. Past it, the front half goes out."""
_CONTEXT = 512
"""How much of what went out is kept, as what stands before a secret helps to tell it."""


class StreamRedactor:
    """One stream. Not thread-safe: it belongs to whoever reads the stream."""

    def __init__(self, find: Callable[[str], list[Span]], where: str, known: KnownSecrets) -> None:
        self._find = find
        self._where = where
        self._known = known
        self._limit = max(HELD_BACK, 4 * known.longest)
        self._context = ""
        self._pending: list[str] = []
        self._size = 0
        self._carry = ""
        self._counts: Counter[str] = Counter()

    @property
    def redactions(self) -> tuple[Redaction, ...]:
        """What was taken out so far."""
        return tuple(
            Redaction(kind=kind, where=self._where, count=count) for kind, count in sorted(self._counts.items())
        )

    def feed(self, text: str) -> str:
        """Take a piece in; give out what can no longer be part of a secret, maybe nothing."""
        text = self._carry + text
        cut = unfinished_colour(text)
        text, self._carry = clean_text(text[:cut]), text[cut:]
        self._pending.append(text)
        self._size += len(text)
        if "\n" in text or "\r" in text or self._size > self._limit:
            return self._advance(final=False)
        return ""

    def flush(self) -> str:
        """Give out the rest: the stream has ended."""
        self._pending.append(clean_text(self._carry))
        self._carry = ""
        return self._advance(final=True)

    def _advance(self, *, final: bool) -> str:
        base = len(self._context)
        text = self._context + "".join(self._pending)
        spans = [span for span in self._find(text) if span[1] > base]
        cut = len(text) if final else self._cut(text, base, spans)
        pieces = []
        position = base
        for start, end, kind in spans:
            if start >= cut:
                break
            pieces += [text[position : max(position, start)], f"[redacted:{kind}]"]
            self._counts[kind] += 1
            position = end
        pieces.append(text[position:cut])
        # A line is judged by itself; only within one does what went out still matter.
        starts_line = cut == 0 or text[cut - 1] in "\r\n"
        self._context = "" if starts_line else text[max(0, cut - _CONTEXT) : cut]
        self._pending = [text[cut:]]
        self._size = len(text) - cut
        return "".join(pieces)

    def _cut(self, text: str, base: int, spans: list[Span]) -> int:
        """How far the text may go out."""
        reach = len(text) - (self._known.longest if self._known.crosses_lines else 0)
        cut = max(base, text.rfind("\n", base, max(base, reach)) + 1, text.rfind("\r", base, max(base, reach)) + 1)
        if len(text) - cut > self._limit:
            cut = len(text) - self._limit // 2
        for start, end, kind in spans:
            if kind == "private-key" and len(text) - start < LONGEST_BLOCK and "-----END" not in text[start:end]:
                return max(base, min(cut, start))
            if start < cut < end:
                return start if start > base else end
        return cut

"""Redact text that comes in pieces, so that a secret cut in two is still found.

Nearly every kind stays within a line, so whole lines can go at once. Of the line that has not ended yet, all goes out
but what may still become part of a secret, as soon as whoever reads the stream says that nothing more comes for now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from hotcell.results import Redaction
from hotcell.validators.blocks import LONGEST_BLOCK
from hotcell.validators.known import KnownSecrets
from hotcell.validators.shadow import Span, masked
from hotcell.validators.text import clean_text, unfinished_colour
from hotcell.validators.unfinished import Unfinished

HELD_BACK = 65_536
"""The most characters held back: longer than any kind of secret. Past it, the front half goes out."""
SILENCES = 6
"""From so many calls of ``settle`` without text in between, a plain word goes out too."""
_CONTEXT = 512
"""How much of what went out is kept, as what stands before a secret helps to tell it."""
_SHORT = 1024
"""More than this is looked at again only when it has grown by an eighth, so that the time stays linear."""


class StreamCleaner:
    """``clean_text`` for one stream: a colour sequence that is cut in two is held back until it is whole."""

    def __init__(self) -> None:
        self._carry = ""

    def feed(self, text: str) -> str:
        """Take a piece in; give it out clean."""
        text = self._carry + text
        cut = unfinished_colour(text)
        self._carry = text[cut:]
        return clean_text(text[:cut])

    def settle(self) -> str:
        """Nothing more comes for now: nothing to give."""
        return ""

    def flush(self) -> str:
        """Give out the rest: the stream has ended."""
        rest, self._carry = clean_text(self._carry), ""
        return rest


class StreamRedactor:
    """One stream, cleaned and redacted. Not thread-safe: it belongs to whoever reads the stream."""

    def __init__(
        self, find: Callable[[str], list[Span]], where: str, known: KnownSecrets, unfinished: Unfinished
    ) -> None:
        self._find = find
        self._where = where
        self._known = known
        self._unfinished = unfinished
        self._limit = max(HELD_BACK, 4 * known.longest)
        self._cleaner = StreamCleaner()
        self._context = ""
        self._pending: list[str] = []
        self._size = 0
        self._silences = 0
        self._looked_at = 0
        self._counts: Counter[str] = Counter()

    @property
    def redactions(self) -> tuple[Redaction, ...]:
        """What was taken out so far."""
        return tuple(
            Redaction(kind=kind, where=self._where, count=count) for kind, count in sorted(self._counts.items())
        )

    def feed(self, text: str) -> str:
        """Take a piece in; give out the lines that have ended and can no longer be part of a secret, maybe none."""
        text = self._cleaner.feed(text)
        if not text:
            return ""
        self._pending.append(text)
        self._size += len(text)
        self._silences = 0
        if "\n" not in text and "\r" not in text and self._size <= self._limit:
            return ""
        whole, base = self._whole()
        spans = self._find(whole)
        return self._give(whole, base, spans, self._lines(whole, base, spans))

    def settle(self) -> str:
        """Nothing more comes for now: give out what of the unfinished line can no longer be part of a secret.

        To be called every now and then (every 20 ms, say) while the stream is silent. Cheap when nothing came since.
        """
        self._silences += 1
        if not self._size or self._silences not in (1, SILENCES):
            return ""
        if self._size > _SHORT and self._size - self._looked_at < self._looked_at // 8:
            return ""
        whole, base = self._whole()
        silent = self._silences == SILENCES
        cut = self._unfinished.start(whole, silent=silent)
        if cut <= base:
            self._looked_at = self._size
            return ""
        spans = self._find(whole)
        if spans:
            cut = min(cut, self._unfinished.start(masked(whole, spans), silent=silent))
        for start, end, kind in spans:
            if start < cut < end or end == len(whole) or _is_open_block(whole, (start, end, kind)):
                cut = max(base, min(cut, start))
        return self._give(whole, base, spans, cut)

    def flush(self) -> str:
        """Give out the rest: the stream has ended."""
        self._pending.append(self._cleaner.flush())
        whole, base = self._whole()
        return self._give(whole, base, self._find(whole), len(whole))

    def _whole(self) -> tuple[str, int]:
        """What is known of the end of the stream, and where in it that begins which has not gone out."""
        self._pending = ["".join(self._pending)]
        return self._context + self._pending[0], len(self._context)

    def _lines(self, text: str, base: int, spans: list[Span]) -> int:
        """How far the lines that have ended may go out."""
        reach = max(base, self._known.unfinished(text, crossing=True))
        cut = max(base, text.rfind("\n", base, reach) + 1, text.rfind("\r", base, reach) + 1)
        if len(text) - cut > self._limit:
            cut = len(text) - self._limit // 2
        for start, end, kind in spans:
            if _is_open_block(text, (start, end, kind)):
                return max(base, min(cut, start))
            if start < cut < end:
                return start if start > base else end
        return cut

    def _give(self, text: str, base: int, spans: list[Span], cut: int) -> str:
        pieces = []
        position = base
        for start, end, kind in spans:
            if max(start, base) >= cut:
                break
            if end > base:
                pieces += [text[position : max(position, start)], f"[redacted:{kind}]"]
                self._counts[kind] += 1
                position = end
        pieces.append(text[position:cut])
        # A line is judged by itself; only within one does what went out still matter.
        starts_line = cut == 0 or text[cut - 1] in "\r\n"
        self._context = "" if starts_line else text[max(0, cut - _CONTEXT) : cut]
        self._pending = [text[cut:]]
        self._size = self._looked_at = len(text) - cut
        return "".join(pieces)


def _is_open_block(text: str, span: Span) -> bool:
    """True for a private key whose end may still come."""
    start, end, kind = span
    return kind == "private-key" and len(text) - start < LONGEST_BLOCK and "-----END" not in text[start:end]

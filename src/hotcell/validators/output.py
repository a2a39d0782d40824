"""The validator after the run: take secrets out of everything that leaves a cell.

    redactor = Redactor(known_secrets={"DATABASE_PASSWORD": password})
    text, redactions = redactor.redact(clean_text(stdout), "stdout")

A find is replaced by ``[redacted:KIND]``. The kinds are data in ``secrets.py``; the scanners beside this file find
them in time linear in the text. Nothing here can stop code that disguises what it leaks (one character per line, a
cipher of its own): the remedy is to give a cell no secret.
"""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hotcell.errors import ConfigurationError
from hotcell.results import Redaction
from hotcell.validators import addresses, blocks, named, numbers, tokens
from hotcell.validators.known import KnownSecrets
from hotcell.validators.secrets import ALL_KINDS, KINDS, PERSONAL, SECRETS
from hotcell.validators.shadow import Shadow, Span, masked
from hotcell.validators.stream import StreamRedactor
from hotcell.validators.text import clean_text
from hotcell.validators.unfinished import Unfinished
from hotcell.validators.values import Leaves

__all__ = ["ALL_KINDS", "PERSONAL", "SECRETS", "Redactor", "StreamRedactor", "clean_text"]

_SCANNERS = {
    "tokens": tokens.scan,
    "named": named.scan,
    "addresses": addresses.scan,
    "numbers": numbers.scan,
}
# Where two kinds name overlapping places, the more telling one gives its name: known secrets, then these, in order.
_TELLING = ("blocks", "tokens", "named", "addresses", "numbers")
_RANK = {name: (_TELLING.index(kind.by), place) for place, (name, kind) in enumerate(KINDS.items())}
_TEXT_SAMPLE_BYTES = 8192
_GLUED_ROUNDS = 4
_ALWAYS_AGAIN = 1 << 16
"""Up to so many characters a second look costs less than to find out whether there is anything to see."""
_APART_BEFORE, _APART_BEHIND = frozenset("\"'`=:([{<, \t\r\n"), frozenset("\"'`)]}>,; \t\r\n")
_PIECE = 1 << 17
"""Characters scanned at a time: the forms of a piece fit in the processor's cache and reuse the same memory."""


class Redactor:
    """Takes secrets out of text, JSON data and bytes. Immutable, so safe to share between threads."""

    def __init__(
        self, *, known_secrets: Mapping[str, str] | Iterable[str] = (), kinds: frozenset[str] | None = None
    ) -> None:
        """``kinds`` are those looked for, all when None; known secrets always are.

        Raises ConfigurationError for a kind that does not exist.
        """
        if isinstance(known_secrets, str):
            raise ConfigurationError("known_secrets must be a mapping of names to values, or a list of values.")
        self.kinds = ALL_KINDS if kinds is None else frozenset(kinds)
        unknown = sorted(self.kinds - ALL_KINDS)
        if unknown:
            raise ConfigurationError(f"kinds={unknown[0]!r} is not a kind: see docs/reference/redaction.md for all.")
        wanted = {KINDS[kind].by for kind in self.kinds}
        self._scanners = tuple(scan for by, scan in _SCANNERS.items() if by in wanted)
        self._blocks = "blocks" in wanted
        self._known = KnownSecrets(known_secrets)
        self._unfinished = Unfinished(self.kinds, self._known)

    def redact(self, text: str, where: str) -> tuple[str, tuple[Redaction, ...]]:
        """The text without secrets, and what was taken out. Text without any comes back as the same object."""
        spans = self.spans(text)
        if not spans:
            return text, ()
        counts = Counter(kind for _, _, kind in spans)
        markers = {kind: marker(kind) for kind in counts}
        pieces: list[str] = []
        position = 0
        for start, end, kind in spans:
            pieces += (text[position:start], markers[kind])
            position = end
        pieces.append(text[position:])
        return "".join(pieces), summary(counts, where)

    def redact_value(self, value: Any, where: str = "value") -> tuple[Any, tuple[Redaction, ...]]:
        """JSON data without secrets in its strings, keys and long whole numbers, at any depth.

        The value itself is not changed; without secrets it comes back as it is, else as a copy. A number that is a
        secret becomes the marker, a string.
        """
        leaves = Leaves(value)
        spans = self.spans(leaves.text)
        if not spans:
            return value, ()
        leaves.replace([(start, end, marker(kind)) for start, end, kind in spans])
        return leaves.root, summary(Counter(kind for _, _, kind in spans), where)

    def redact_bytes(self, content: bytes, where: str) -> tuple[bytes, tuple[Redaction, ...]]:
        """A file without secrets. In binary content only known secrets are overwritten, so that its size stays."""
        encoding = _text_encoding(content)
        if encoding is None:
            content, counts = self._known.mask(content)
            return content, summary(counts, where)
        text, redactions = self.redact(content.decode(encoding), where)
        return (text.encode(encoding), redactions) if redactions else (content, ())

    def stream(self, where: str) -> StreamRedactor:
        """For text that comes in pieces: cleaned as by ``clean_text``, then redacted."""
        return StreamRedactor(self.spans, where, self._known, self._unfinished)

    def describe(self, key: bytes) -> dict[str, Any]:
        """What it looks for, as JSON data; of the known secrets a hash that tells nothing without ``key``."""
        return {"kinds": sorted(self.kinds), "known": self._known.digest(key)}

    def spans(self, text: str) -> list[Span]:
        """Where secrets stand, in order, without overlaps."""
        if not text:
            return []
        spans = _merged(self._scan(text))
        # What a find hid from the rules, as it stands beside it without a character between, is seen once it is gone.
        for _ in range(_GLUED_ROUNDS):
            if not spans or (len(text) > _ALWAYS_AGAIN and not _any_glued(text, spans)):
                break
            more = self._scan(masked(text, spans))
            if not more:
                break
            spans = _merged(spans + more)
        return spans

    def _scan(self, text: str) -> list[Span]:
        found: list[Span] = []
        if self._blocks and any(begin in text for begin in blocks.BEGINS):
            found += blocks.scan(Shadow(text))
        for start, piece in _pieces(text):
            shadow = Shadow(piece)
            for scan in self._scanners:
                found += scan(shadow) if start == 0 else [(a + start, b + start, kind) for a, b, kind in scan(shadow)]
        if self.kinds != ALL_KINDS:
            found = [span for span in found if span[2] in self.kinds]
        if self._known:
            found += self._known.scan(text)
        return found


def marker(kind: str) -> str:
    """What stands where a secret stood."""
    return f"[redacted:{kind}]"


def summary(counts: Mapping[str, int], where: str) -> tuple[Redaction, ...]:
    """One record per kind, in the order of their names."""
    return tuple(Redaction(kind=kind, where=where, count=count) for kind, count in sorted(counts.items()))


def _merged(spans: list[Span]) -> list[Span]:
    """Overlapping spans become one that covers both, so that no end of a secret is left over."""
    merged: list[Span] = []
    reach = 0
    for span in sorted(spans):
        if span[0] < reach:
            before = merged.pop()
            kind = min(before[2], span[2], key=lambda name: _RANK.get(name, (-1, 0)))
            span = (before[0], max(before[1], span[1]), kind)
        merged.append(span)
        reach = span[1]
    return merged


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """The text in pieces of whole lines, as no kind but a block reaches across lines, each with its offset."""
    # Around the strings of a JSON value stands \x1f, and such a string may hold line ends.
    if len(text) <= 2 * _PIECE or "\x1f" in text:
        yield 0, text
        return
    start = 0
    while start < len(text):
        end = text.find("\n", start + _PIECE) + 1 or len(text)
        yield start, text[start:end]
        start = end


def _any_glued(text: str, spans: list[Span]) -> bool:
    """True unless what stands right before and behind each find keeps it apart, or is another find.

    What is glued to a find may have been passed over as one word with it: a name that it took a part of, a number.
    """
    reach = 0
    followings = [start for start, _, _ in spans[1:]] + [len(text)]
    for (start, end, _), following in zip(spans, followings, strict=False):
        if start > reach and text[start - 1] not in _APART_BEFORE:
            return True
        if end < following and text[end] not in _APART_BEHIND:
            return True
        reach = end
    return False


def _text_encoding(content: bytes) -> str | None:
    """``utf-8``, ``latin-1`` or, by its mark, UTF-16; None for what is no text."""
    for mark, encoding in ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        if content.startswith(mark) and _decodes(content, encoding):
            return encoding
    if b"\0" in content:
        return None
    if _decodes(content, "utf-8"):
        return "utf-8"
    sample = content[:_TEXT_SAMPLE_BYTES]
    printable = sum(sample.count(byte) for byte in (*range(0x20, 0x7F), 9, 10, 13))
    return "latin-1" if printable * 10 >= len(sample) * 7 else None


def _decodes(content: bytes, encoding: str) -> bool:
    try:
        content.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True

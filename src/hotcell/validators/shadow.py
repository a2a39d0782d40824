"""The forms of a text that the scanners search: each a byte per character, so that offsets are those of the text.

Searching bytes for a literal is the only scan in pure Python that runs at about a gigabyte per second. So every
scanner first asks for a literal, and only then looks closer, within bounds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property

Span = tuple[int, int, str]
"""Start, end (both in characters) and the kind found there."""

_ALNUM = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_HEX_TABLE = bytes(0x30 if byte in b"0123456789abcdef" else 0x20 for byte in range(256))
_RUN_TABLE = bytes(0x61 if byte in _ALNUM + b"_-" else 0x20 for byte in range(256))


def _shape(byte: int) -> int:
    char = bytes([byte])
    if char.isdigit():
        return ord("0")
    if char.isupper():
        return ord("A")
    if char.islower() or char == b"_":
        return ord("a")
    if char in b" -":
        return ord(" ")
    return ord(".") if char == b"." else ord(",")


_CURSOR = re.compile(rb"(\\x1b\[[0-?]{0,32}[ -/]{0,4}[@-~])")
_ESCAPES = (
    (b"\\x", re.compile(rb"\\x[0-9a-f]{2}"), b"\x7f" * 4),
    (b"\\u", re.compile(rb"\\u[0-9a-f]{4}"), b"\x7f" * 6),
)

_SHAPE_TABLE = bytes(_shape(byte) for byte in range(256))


class Shadow:
    """One text, prepared for scanning; the costly forms are made when first asked for."""

    def __init__(self, text: str) -> None:
        self.exact = _without_escapes(text.encode("ascii", "replace"))
        """The text with ``?`` for every character that is not ASCII.

        Every character of an escape as ``clean_text`` shows it (``\\x00``, ``\\x1b[2J``) is DEL here, so that its last
        letter does not touch the word behind it.
        """

    @cached_property
    def lower(self) -> bytes:
        """In lower case."""
        return self.exact.lower()

    @cached_property
    def shape(self) -> bytes:
        """Classes: ``0`` digit, ``A`` upper case, ``a`` lower case, a blank for blank and hyphen, ``.``, else ``,``.

        One ``,`` more at either end spares the scanners the special case of a number at the edge: offsets are one up.
        """
        return b"".join((b",", self.exact.translate(_SHAPE_TABLE), b","))

    @cached_property
    def _runs(self) -> bytes:
        return self.exact.translate(_RUN_TABLE)

    def has_word_of(self, length: int) -> bool:
        """True when some run of letters, digits, ``_`` and ``-`` is at least this long."""
        return b"a" * length in self._runs

    @cached_property
    def has_long_hex(self) -> bool:
        """True when 32 hexadecimal digits, in lower case, stand side by side."""
        return b"0" * 32 in self.exact.translate(_HEX_TABLE)


def _without_escapes(data: bytes) -> bytes:
    if b"\\" not in data:  # One byte is found thirty times faster than two.
        return data
    if b"\\x1b[" in data:
        pieces = _CURSOR.split(data)
        pieces[1::2] = [b"\x7f" * len(piece) for piece in pieces[1::2]]
        data = b"".join(pieces)
    for begin, pattern, blank in _ESCAPES:
        if begin in data:
            data = pattern.sub(blank, data)
    return data


def masked(text: str, spans: list[Span]) -> str:
    """The text with brackets, as markers have, for what was found: no rule begins at one or reads across it."""
    pieces: list[str] = []
    position = 0
    for start, end, _ in spans:
        pieces += (text[position:start], "]" * (end - start))
        position = end
    pieces.append(text[position:])
    return "".join(pieces)


def tail(data: bytes, end: int, chars: bytes, most: int) -> bytes:
    """The longest piece of ``data`` that ends at ``end``, holds only ``chars`` and at most ``most`` of them."""
    window = data[max(0, end - most) : end]
    return window[len(window.rstrip(chars)) :]


_DENSE = 400
"""Past one hit in so many characters, the loop of the regular expression engine is cheaper than one in Python."""
_WARM_UP = 2048


def matches(data: bytes, literal: bytes, pattern: re.Pattern[bytes]) -> Iterator[re.Match[bytes]]:
    """Where ``pattern``, which must begin with ``literal``, matches. Faster than ``finditer`` where hits are few."""
    position = hits = 0
    while (position := data.find(literal, position)) >= 0:
        hits += 1
        if hits * _DENSE > position + _WARM_UP:
            yield from pattern.finditer(data, position)
            return
        match = pattern.match(data, position)
        if match:
            yield match
        position = match.end() if match else position + 1

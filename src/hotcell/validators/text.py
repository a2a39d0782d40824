"""Make text safe to show: what may steer a terminal, forge a log line or reorder a page becomes visible."""

from __future__ import annotations

import re

_HONEST_BYTES = bytes(byte for byte in range(256) if byte in b"\t\n\r" or (byte >= 0x20 and byte != 0x7F))
# In UTF-8: C1 controls, and the line separators, bidi overrides and isolates.
_HARMFUL_C1 = re.compile(rb"\xc2[\x80-\x9f]")
_HARMFUL_U20 = re.compile(rb"\xe2(?:\x80[\xa8-\xae]|\x81[\xa6-\xa9])")

_COLOUR = re.compile("\x1b\\[[0-9;:]{0,32}m")
_UNFINISHED_COLOUR = re.compile("\x1b(?:\\[[0-9;:]{0,32})?\\Z")
_HARMFUL = {
    chr(code): f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    for code in (*range(0x20), *range(0x7F, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A))
    if chr(code) not in "\t\n\r"
}


def clean_text(text: str) -> str:
    r"""Show what may do harm as its escape (ESC becomes ``\x1b``), drop colours, keep tab and both line ends.

    Harm is: C0 and C1 controls, DEL, NUL, escape sequences with all they carry, Unicode line separators, bidi
    overrides and isolates, lone surrogates. Linear; text without any comes back as the same object.
    """
    if _is_clean(text):
        return text
    # Lone surrogates first: the rest is searched as characters.
    text = text.encode("utf-8", "backslashreplace").decode()
    if "\x1b[" in text:
        text = _COLOUR.sub("", text)
    for char in [char for char in _HARMFUL if char in text]:
        text = text.replace(char, _HARMFUL[char])
    return text


def unfinished_colour(text: str) -> int:
    """Where a colour sequence begins that the end of the text cuts off; the length of the text when none does."""
    tail = max(0, len(text) - 40)
    match = _UNFINISHED_COLOUR.search(text, tail)
    return match.start() if match else len(text)


def _is_clean(text: str) -> bool:
    # On bytes, as deleting all honest ones is five times faster than a search for one of a class.
    try:
        data = text.encode()
    except UnicodeEncodeError:  # A lone surrogate.
        return False
    if data.translate(None, _HONEST_BYTES):
        return False
    return text.isascii() or not (_HARMFUL_C1.search(data) or _HARMFUL_U20.search(data))

"""Find private keys as whole blocks, also where the end is missing."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hotcell.validators.shadow import Shadow, Span, matches

LONGEST_BLOCK = 16_384
BEGINS = ("-----BEGIN", "PuTTY-User-Key-File-")
"""One of these stands in every text that holds a block."""

_DASHES = b"-----"
_BEGIN = re.compile(rb"-----BEGIN[ ](?:[A-Z0-9]{1,12}[ ]){0,3}PRIVATE[ ]KEY(?:[ ]BLOCK)?-----")
_END = re.compile(rb"-----END[ A-Z0-9]{0,60}-----")
_PUTTY = re.compile(rb"PuTTY-User-Key-File-[0-9]:")

# What a truncated block still holds: header lines, then lines of base64. Line ends may be escaped, as in JSON.
_BREAK = rb"(?:[ \t\r\n]|\\{1,2}[rn])"
_HEADER = rb"(?:Proc-Type|DEK-Info|Version|Comment|Hash|Charset)[^\r\n\\]{0,120}"
_REST = re.compile(
    rb"(?:%s{1,8}+(?:%s|[A-Za-z0-9+/=]{16,}+|[A-Za-z0-9+/=]{1,15}+(?=%s{0,4}+\Z)))*+" % (_BREAK, _HEADER, _BREAK)
)
_PUTTY_LINE = re.compile(
    rb"(?:[^\r\n\\]{0,200}+(?:%s){1,8}+(?=Encryption:|Comment:|Public-Lines:|Private-Lines:|Private-MAC:|Key-Derivation:"
    rb"|Argon2-|[A-Za-z0-9+/=]{16,}))*+[^\r\n\\]{0,200}+" % _BREAK
)


def scan(shadow: Shadow) -> Iterator[Span]:
    """Every private key block; a block without its END reaches as far as its lines look like a key."""
    data = shadow.exact
    position = 0
    while (position := data.find(b"-----BEGIN", position)) >= 0:
        begin = _BEGIN.match(data, position)
        if not begin:
            position += len(_DASHES)
            continue
        end = _block_end(data, begin.end())
        yield begin.start(), end, "private-key"
        position = end
    reach = 0
    for match in matches(data, b"PuTTY-User-Key-File-", _PUTTY):
        if match.end() > reach:  # Else it stands within the block before it, as it is likely to where it is repeated.
            rest = _PUTTY_LINE.match(data, match.end(), match.end() + LONGEST_BLOCK)
            reach = rest.end() if rest else match.end()
            yield match.start(), reach, "private-key"


def _block_end(data: bytes, start: int) -> int:
    dashes = data.find(_DASHES, start, start + LONGEST_BLOCK)
    end = _END.match(data, dashes) if dashes >= 0 else None
    if end:
        return end.end()
    rest = _REST.match(data, start, start + LONGEST_BLOCK)
    return rest.end() if rest else start

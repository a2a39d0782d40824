"""Find e-mail addresses and the passwords in URLs: both stand beside an ``@``."""

from __future__ import annotations

import re

from hotcell.validators.shadow import Shadow, Span, matches

_LOCAL = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._%+-"
_NEVER_FIRST = frozenset(b".%+-")
_RUNS = bytes(byte if byte in _LOCAL else 0x20 for byte in range(256))
_LONGEST_LOCAL = 64

_PASSWORD = re.compile(rb"://[^\s/:@\"'<>\[\]?#]{0,128}:(?!\[redacted:)([^\s/\"'<>]{1,256})@(?=[A-Za-z0-9\[_?-])")
_AT_DOMAIN = re.compile(
    rb"@(?<=[A-Za-z0-9_%+-]@)(?:[A-Za-z0-9][A-Za-z0-9-]{0,62}+\.){1,6}"
    # The 2x.png of icon@2x.png is no domain.
    rb"(?!(?i:png|jpe?g|gif|svg|webp|js|css|py|html|json)(?![A-Za-z]))[A-Za-z]{2,18}(?![A-Za-z0-9_-]|\.[A-Za-z0-9])"
)


def scan(shadow: Shadow) -> list[Span]:
    """Every password in a URL (only the password is the span) and every e-mail address."""
    data = shadow.exact
    if b"@" not in data:
        return []
    found = []
    passwords_end = set()
    if b"://" in data:
        for match in matches(data, b"://", _PASSWORD):
            passwords_end.add(match.end(1))
            found.append((*match.span(1), "url-password"))
    runs = data.translate(_RUNS)
    for match in _AT_DOMAIN.finditer(data):
        at, end = match.span()
        low = at - _LONGEST_LOCAL if at > _LONGEST_LOCAL else 0
        start = runs.rfind(b" ", low, at) + 1 or low
        while data[start] in _NEVER_FIRST:
            start += 1
        # An address of a repository, git@host:path, is none of a person.
        if start < at and at not in passwords_end and (at - start != 3 or data[start:at] != b"git"):
            found.append((start, end, "email"))
    return found

"""Find e-mail addresses and the passwords in URLs: both stand beside an ``@``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hotcell.validators.shadow import Shadow, Span, matches

_LOCAL = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._%+-"
_LONGEST_LOCAL = 64

_PASSWORD = re.compile(rb"://[^\s/:@\"'<>\[\]?#]{0,128}:(?!\[redacted:)([^\s/\"'<>]{1,256})@(?=[A-Za-z0-9\[_?-])")
_AT_DOMAIN = re.compile(
    rb"@(?<=[A-Za-z0-9_%+-]@)(?:[A-Za-z0-9][A-Za-z0-9-]{0,62}+\.){1,6}"
    # The 2x.png of icon@2x.png is no domain.
    rb"(?!(?i:png|jpe?g|gif|svg|webp|js|css|py|html|json)(?![A-Za-z]))[A-Za-z]{2,18}(?![A-Za-z0-9_-]|\.[A-Za-z0-9])"
)


def scan(shadow: Shadow) -> Iterator[Span]:
    """Every password in a URL (only the password is the span) and every e-mail address."""
    data = shadow.exact
    if b"@" not in data:
        return
    passwords_end = set()
    if b"://" in data:
        for match in matches(data, b"://", _PASSWORD):
            passwords_end.add(match.end(1))
            yield *match.span(1), "url-password"
    for match in _AT_DOMAIN.finditer(data):
        at, end = match.span()
        window = data[max(0, at - _LONGEST_LOCAL) : at]
        start = at - len(window) + len(window.rstrip(_LOCAL))
        while data[start] in b".%+-":
            start += 1
        # An address of a repository, git@host:path, is none of a person.
        if start < at and at not in passwords_end and data[start:at] != b"git":
            yield start, end, "email"

"""Find e-mail addresses and the passwords in URLs: both stand beside an ``@``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hotcell.validators.shadow import Shadow, Span, tail

_LOCAL = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._%+-"
_USERINFO = bytes(byte for byte in range(0x21, 0x7F) if byte not in b"\"'<>`\\^{|}@")
_LONGEST_LOCAL = 64
_LONGEST_USERINFO = 256

_AT = re.compile(rb"@(?=[A-Za-z0-9\[_?])")
_DOMAIN = re.compile(
    rb"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,6}(?P<top>[A-Za-z]{2,18})(?![A-Za-z0-9_-]|\.[A-Za-z0-9])"
)
# file@2x.png, and git@host: as in an address of a repository.
_NOT_A_DOMAIN = frozenset((b"png", b"jpg", b"jpeg", b"gif", b"svg", b"webp", b"js", b"css", b"py", b"html", b"json"))


def scan(shadow: Shadow) -> Iterator[Span]:
    """Every password in a URL (only the password is the span) and every e-mail address."""
    data = shadow.exact
    if b"@" not in data:
        return
    for match in _AT.finditer(data):
        at = match.start()
        userinfo = tail(data, at, _USERINFO, _LONGEST_USERINFO)
        if b"://" in userinfo:
            credentials = userinfo[userinfo.rfind(b"://") + 3 :]
            user, colon, password = credentials.partition(b":")
            if colon and password and b"/" not in user and not password.startswith(b"[redacted"):
                yield at - len(password), at, "url-password"
            continue
        local = userinfo[len(userinfo.rstrip(_LOCAL)) :].lstrip(b".%+-")
        domain = _DOMAIN.match(data, at + 1) if local and len(local) <= _LONGEST_LOCAL else None
        if domain and local != b"git" and domain["top"].lower() not in _NOT_A_DOMAIN:
            yield at - len(local), domain.end(), "email"

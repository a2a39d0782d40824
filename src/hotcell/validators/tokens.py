"""Find tokens that give themselves away by their form, whatever stands beside them.

Nearly every token has a separator early on (``ghp_``, ``xoxb-``, ``hvs.``), so one regular expression per separator
looks at the few characters before it and then at what follows. All of a candidate is judged inside the expression:
hostile text may hold three hundred thousand candidates in a megabyte.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hotcell.validators.secrets import TOKEN_KINDS
from hotcell.validators.shadow import Shadow, Span, matches, tail

_ALNUM = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_WORD = _ALNUM + b"_-"


def _behind(texts: bytes) -> bytes:
    """One of these was read, with no letter or digit before it except the letter of an escape such as \\n in a repr."""
    return rb"(?<=%s)(?<!(?<!\\)[A-Za-z0-9](?:%s))" % (texts, texts)


@dataclass(frozen=True)
class _Head:
    """One way in which a token of a kind begins."""

    kind: str
    text: bytes
    body: bytes


_HEADS = tuple(_Head(kind.id, head.encode(), kind.body.encode()) for kind in TOKEN_KINDS for head in kind.heads)
_LONG_HEX = rb"[0-9a-f]{32}"
_LITERALS = (
    _Head("aws-access-key", b"AKIA", rb"[A-Z0-9]{16}(?![A-Za-z0-9])"),
    _Head("aws-access-key", b"ASIA", rb"[A-Z0-9]{16}(?![A-Za-z0-9])"),
    _Head("google-api-key", b"AIza", rb"[A-Za-z0-9_-]{35}"),
    _Head("databricks-token", b"dapi", _LONG_HEX + rb"(?:-[0-9])?(?![A-Za-z0-9])"),
    _Head("twilio-key", b"SK", _LONG_HEX + rb"(?![A-Za-z0-9])"),
    _Head("twilio-key", b"AC", _LONG_HEX + rb"(?![A-Za-z0-9])"),
)
_LITERAL_PATTERNS = [(head, re.compile(head.text + _behind(head.text) + head.body)) for head in _LITERALS]
_SHORTEST_AWS_KEY = 20
# Every other token has a longer word; a float such as 1.2345678901234567e-105 has none as long.
_SHORTEST_WORD = 22


@dataclass(frozen=True)
class _Around:
    """A token known by what follows a separator; what stands before it has no fixed length."""

    kind: str
    separator: bytes
    after: bytes
    before: re.Pattern[bytes]
    chars: bytes
    most: int


_AROUNDS = (
    _Around(
        "jwt",
        b".",
        rb"(?<=[A-Za-z0-9_-]{10}\.)eyJ[A-Za-z0-9_-]{7,4096}(?:\.[A-Za-z0-9_-]{0,4096})?",
        re.compile(rb".*?(eyJ[A-Za-z0-9_-]{7,})"),
        _WORD,
        4096,
    ),
    _Around(
        "discord-token",
        b".",
        rb"(?<=[A-Za-z0-9_-]{23}\.)[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,40}(?![A-Za-z0-9_-])",
        re.compile(rb"([MNO][A-Za-z0-9_-]{22,28})"),
        _WORD,
        40,
    ),
    _Around(
        "slack-webhook",
        b".",
        rb"(?<=hooks\.)slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/_-]{20,200}",
        re.compile(rb".*?((?:https?://)?hooks)"),
        _ALNUM + b":/",
        16,
    ),
    _Around(
        "discord-webhook",
        b".",
        rb"(?:(?<=discord\.)|(?<=discordapp\.))com/api/(?:v[0-9]{1,2}/)?webhooks/[0-9]{15,22}/[A-Za-z0-9_-]{30,120}",
        re.compile(rb".*?((?:https?://)?(?:[a-z]{2,8}\.)?discord(?:app)?)"),
        _ALNUM + b":/.",
        32,
    ),
    _Around(
        "telegram-token",
        b":",
        rb"(?<=[0-9]{8}:)AA[A-Za-z0-9_-]{33}(?![A-Za-z0-9_-])",
        re.compile(rb"(?:.*[^0-9])?([0-9]{8,10})"),
        _ALNUM,
        16,
    ),
)


# What may follow a head: enough of it, and after an underscore without another but for the second word of some heads.
_BODY_BEGINS = rb"(?=[A-Za-z0-9_-]{12})"
_AFTER_UNDERSCORE = rb"(?=[A-Za-z0-9+/=]{16}|(?:live|test|prod|pat|oat|v1|api|oauth)_)"


@dataclass(frozen=True)
class _Search:
    """A pattern, and for each of its groups (one takes part) what was found."""

    pattern: re.Pattern[bytes]
    groups: tuple[_Head | _Around, ...]


def _separator_search(separator: bytes) -> _Search:
    """A separator between a head and its body, or between the two sides of an ``_Around``."""
    literal = re.escape(separator)
    groups: list[_Head | _Around] = []
    either: list[bytes] = []
    heads = [head for head in _HEADS if head.text.endswith(separator)]
    # All heads of a length at once, as what is looked for backwards must have one length.
    for length in sorted({len(head.text) for head in heads}):
        alike = [head for head in heads if len(head.text) == length]
        rules = [rb"(?<=%s)(%s)" % (re.escape(head.text), head.body) for head in alike]
        either.append(_behind(b"|".join(re.escape(head.text) for head in alike)) + rb"(?:%s)" % b"|".join(rules))
        groups += alike
    if either:
        # One class first, as it turns most separators away; then what follows.
        last = bytes(sorted({head.text[-2] for head in heads}))
        begins = _AFTER_UNDERSCORE if separator == b"_" else _BODY_BEGINS
        either = [rb"(?<=[%s]%s)%s(?:%s)" % (last, literal, begins, b"|".join(either))]
    for around in _AROUNDS:
        if around.separator == separator:
            either.append(rb"(%s)" % around.after)
            groups.append(around)
    return _Search(re.compile(rb"%s(?:%s)" % (literal, b"|".join(either))), tuple(groups))


_SEPARATORS = [(separator, _separator_search(separator)) for separator in (b"_", b"-", b".", b":")]
# What may begin where a token ends, as no letter or digit may stand before it elsewhere.
_GLUED_HEADS = (*_HEADS, *_LITERALS, _Head("jwt", b"eyJ", rb"[A-Za-z0-9_-]{7,512}\.eyJ[A-Za-z0-9_.-]{7,8192}"))
_GLUED = re.compile(b"|".join(rb"(%s%s)" % (re.escape(head.text), head.body) for head in _GLUED_HEADS))


def scan(shadow: Shadow) -> list[Span]:
    """Every token in the text; a place may be named by more than one kind."""
    data = shadow.exact
    found: list[Span] = []
    if not shadow.has_word_of(_SHORTEST_AWS_KEY):
        return found
    longer = shadow.has_word_of(_SHORTEST_WORD)
    for head, pattern in _LITERAL_PATTERNS:
        if head.kind == "aws-access-key" or (longer and (not head.body.startswith(_LONG_HEX) or shadow.has_long_hex)):
            reach = 0
            for match in matches(data, head.text, pattern):
                if match.start() >= reach:
                    reach = _add(found, data, match.start(), match.end(), head.kind)
    if longer:
        for separator, search in _SEPARATORS:
            if separator in data:
                _scan_separator(found, data, search)
    return found


def _scan_separator(found: list[Span], data: bytes, search: _Search) -> None:
    position = 0
    while match := search.pattern.search(data, position):
        at = match.start()
        kind = search.groups[(match.lastindex or 0) - 1]
        if isinstance(kind, _Head):
            position = _add(found, data, at + 1 - len(kind.text), match.end(), kind.kind)
        elif before := kind.before.fullmatch(tail(data, at, kind.chars, kind.most)):
            position = _add(found, data, at - len(before[1]), match.end(), kind.kind)
        else:
            position = at + 1


def _add(found: list[Span], data: bytes, start: int, end: int, kind: str) -> int:
    """Add a token and those that follow without a character between them; where the last one ends."""
    found.append((start, end, kind))
    while data[end : end + 1].isalnum() and (match := _GLUED.match(data, end)):
        found.append((end, match.end(), _GLUED_HEADS[(match.lastindex or 0) - 1].kind))
        end = match.end()
    return end

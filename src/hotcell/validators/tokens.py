"""Find tokens that give themselves away by their form, whatever stands beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from hotcell.validators.secrets import TOKEN_KINDS
from hotcell.validators.shadow import Shadow, Span, matches, tail

_ALNUM = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_WORD = _ALNUM + b"_-"
# No letter or digit before, except the letter of an escape such as \n in a repr.
_EDGE = rb"(?<!(?<!\\)[A-Za-z0-9]%s)"


@dataclass(frozen=True)
class _Body:
    kind: str
    pattern: re.Pattern[bytes]
    word: bool


@dataclass(frozen=True)
class _Around:
    """A token known by what follows a separator; what stands before it has no fixed length."""

    kind: str
    after: re.Pattern[bytes]
    before: re.Pattern[bytes]
    chars: bytes
    most: int


def _literals(*rows: tuple[str, bytes, bytes]) -> list[tuple[str, bytes, re.Pattern[bytes]]]:
    return [(kind, literal, re.compile(literal + _EDGE % literal + rest)) for kind, literal, rest in rows]


_AWS_KEYS = _literals(
    ("aws-access-key", b"AKIA", rb"[A-Z0-9]{16}(?![A-Za-z0-9])"),
    ("aws-access-key", b"ASIA", rb"[A-Z0-9]{16}(?![A-Za-z0-9])"),
)
_LITERALS = _literals(
    ("google-api-key", b"AIza", rb"[A-Za-z0-9_-]{35}"),
    ("databricks-token", b"dapi", rb"[0-9a-f]{32}(?:-[0-9])?(?![A-Za-z0-9])"),
    ("twilio-key", b"SK", rb"[0-9a-f]{32}(?![A-Za-z0-9])"),
    ("twilio-key", b"AC", rb"[0-9a-f]{32}(?![A-Za-z0-9])"),
)
_SHORTEST_AWS_KEY = 20
# Every other token has a longer word; a float such as 1.2345678901234567e-105 has none as long.
_SHORTEST_WORD = 22
_AROUNDS = {
    b".": (
        _Around(
            "jwt",
            re.compile(rb"\.eyJ[A-Za-z0-9_-]{7,4096}(?:\.[A-Za-z0-9_-]{0,4096})?"),
            re.compile(rb".*?(eyJ[A-Za-z0-9_-]{7,})"),
            _WORD,
            4096,
        ),
        _Around(
            "discord-token",
            re.compile(rb"\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,40}(?![A-Za-z0-9_-])"),
            re.compile(rb"([MNO][A-Za-z0-9_-]{22,28})"),
            _WORD,
            40,
        ),
        _Around(
            "slack-webhook",
            re.compile(rb"\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/_-]{20,200}"),
            re.compile(rb".*?((?:https?://)?hooks)"),
            _ALNUM + b":/",
            16,
        ),
        _Around(
            "discord-webhook",
            re.compile(rb"\.com/api/(?:v[0-9]{1,2}/)?webhooks/[0-9]{15,22}/[A-Za-z0-9_-]{30,120}"),
            re.compile(rb".*?((?:https?://)?(?:[a-z]{2,8}\.)?discord(?:app)?)"),
            _ALNUM + b":/.",
            32,
        ),
    ),
    b":": (
        _Around(
            "telegram-token",
            re.compile(rb":AA[A-Za-z0-9_-]{33}(?![A-Za-z0-9_-])"),
            re.compile(rb"(?:.*[^0-9])?([0-9]{8,10})"),
            _ALNUM,
            16,
        ),
    ),
}
_AROUND_FILTER = {
    b".": rb"(?=eyJ|[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27}|slack\.com/|com/api/)",
    b":": rb"(?=AA[A-Za-z0-9_-]{33})",
}
_LONGEST_HEAD = 10
_OVERLAP = 100
# Not a slug such as sk-learn-makes-it-easy: random text has a digit and a capital, or many digits.
_RANDOM = re.compile(rb"(?=[^0-9]*+[0-9])[^A-Z]*+[A-Z]|(?:[^0-9]*+[0-9]){6}")


def _heads() -> dict[bytes, list[_Body]]:
    heads: dict[bytes, list[_Body]] = {}
    for kind in TOKEN_KINDS:
        for head in kind.heads:
            pattern = re.compile(re.escape(head).encode() + kind.body.encode())
            heads.setdefault(head.encode(), []).append(_Body(kind.id, pattern, kind.word))
    return heads


_HEADS = _heads()


def _separator_pattern(separator: bytes) -> re.Pattern[bytes]:
    """Match a separator that has the last two letters of a head before it and enough after it to be a body."""
    endings = sorted({head[-3:-1] for head in _HEADS if head.endswith(separator)})
    literal = re.escape(separator)
    either = rb"(?<=%s%s)" % (b"(?:" + b"|".join(endings) + b")", literal)
    # One class first: it turns most separators away at a third of the price of the alternatives.
    last = b"".join(sorted({ending[1:] for ending in endings}))
    condition = rb"(?<=[%s]%s)%s(?=[A-Za-z0-9_+/-]{12})" % (last, literal, either)
    if separator in _AROUND_FILTER:
        condition = rb"(?:%s|%s)" % (condition, _AROUND_FILTER[separator]) if endings else _AROUND_FILTER[separator]
    return re.compile(literal + condition)


_SEPARATORS = [(separator, _separator_pattern(separator)) for separator in (b"_", b"-", b".", b":")]


def scan(shadow: Shadow) -> Iterator[Span]:
    """Every token in the text; a place may be named by more than one kind."""
    data = shadow.exact
    if not shadow.has_word_of(_SHORTEST_AWS_KEY):
        return
    for kind, literal, pattern in _AWS_KEYS:
        for match in matches(data, literal, pattern):
            yield *match.span(), kind
    if not shadow.has_word_of(_SHORTEST_WORD):
        return
    for kind, literal, pattern in _LITERALS:
        for match in matches(data, literal, pattern):
            yield *match.span(), kind
    for separator, pattern in _SEPARATORS:
        if separator in data:
            yield from _scan_separator(data, separator, pattern)


def _scan_separator(data: bytes, separator: bytes, pattern: re.Pattern[bytes]) -> Iterator[Span]:
    position = 0
    while found := pattern.search(data, position):
        at = found.start()
        span, resume = _token_at(data, at, separator)
        span = span or _around_at(data, at, separator)
        if span:
            yield span
        position = max(found.end(), span[1] if span else resume)


def _token_at(data: bytes, at: int, separator: bytes) -> tuple[Span | None, int]:
    """The token whose head ends here, and from where to go on when there is none."""
    head = tail(data, at, _ALNUM, _LONGEST_HEAD)
    start = at - len(head)
    if head + separator not in _HEADS and data[start - 1 : start] == b"\\":
        start += 1  # The n of a \n that is not part of the head.
        head = head[1:]
    resume = 0
    for body in _HEADS.get(head + separator, ()):
        match = body.pattern.match(data, start)
        if match and (not body.word or _RANDOM.match(match[0])):
            return (start, match.end(), body.kind), resume
        if match:
            # A long slug holds no token either, but one may begin near where the pattern stopped.
            resume = max(resume, match.end() - _OVERLAP)
    return None, resume


def _around_at(data: bytes, at: int, separator: bytes) -> Span | None:
    for around in _AROUNDS.get(separator, ()):
        after = around.after.match(data, at)
        before = after and around.before.fullmatch(tail(data, at, around.chars, around.most))
        if after and before:
            return at - len(before[1]), after.end(), around.kind
    return None

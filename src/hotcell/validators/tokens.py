"""Find tokens that give themselves away by their form, whatever stands beside them.

Nearly every token has a separator early on (``ghp_``, ``xoxb-``, ``hvs.``), so one regular expression per separator
looks at the few characters before it and then at what follows. All of a candidate is judged inside the expression:
hostile text may hold three hundred thousand candidates in a megabyte.
"""

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
# Not a slug such as sk-learn-makes-it-easy: random text has a digit and a capital, or many digits.
_RANDOM = rb"(?:(?=[A-Za-z_.-]{0,64}+[0-9])(?=[a-z0-9_.-]{0,64}+[A-Z])|(?=(?:[A-Za-z_.-]{0,24}+[0-9]){6}))"


@dataclass(frozen=True)
class _Head:
    """One way in which a token of a kind begins."""

    kind: str
    text: bytes
    body: bytes


def _heads() -> list[_Head]:
    return [
        _Head(kind.id, head.encode(), (_RANDOM if kind.word else b"") + kind.body.encode())
        for kind in TOKEN_KINDS
        for head in kind.heads
    ]


_HEADS = _heads()
_LITERALS = (
    _Head("aws-access-key", b"AKIA", rb"[A-Z0-9]{16}(?![A-Za-z0-9])"),
    _Head("aws-access-key", b"ASIA", rb"[A-Z0-9]{16}(?![A-Za-z0-9])"),
    _Head("google-api-key", b"AIza", rb"[A-Za-z0-9_-]{35}"),
    _Head("databricks-token", b"dapi", rb"[0-9a-f]{32}(?:-[0-9])?(?![A-Za-z0-9])"),
    _Head("twilio-key", b"SK", rb"[0-9a-f]{32}(?![A-Za-z0-9])"),
    _Head("twilio-key", b"AC", rb"[0-9a-f]{32}(?![A-Za-z0-9])"),
)
_LITERAL_PATTERNS = [
    (head, re.compile(re.escape(head.text) + _EDGE % re.escape(head.text) + head.body)) for head in _LITERALS
]
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


def _separator_pattern(separator: bytes) -> re.Pattern[bytes]:
    """Match a separator between a head and its body, or between the two sides of an ``_Around``.

    The group that took part is named ``h`` or ``a`` and the index in ``_HEADS`` or ``_AROUNDS``.
    """
    literal = re.escape(separator)
    by_ending: dict[bytes, list[bytes]] = {}
    for index, head in enumerate(_HEADS):
        if head.text.endswith(separator):
            text = re.escape(head.text)
            rule = rb"(?<=%s)%s(?P<h%d>%s)" % (text, _EDGE % text, index, head.body)
            by_ending.setdefault(head.text[-3:-1], []).append(rule)
    # One class first, as it turns most separators away; then two letters; then whole heads.
    last = b"".join(sorted({ending[1:] for ending in by_ending}))
    rules = [rb"(?<=%s%s)(?:%s)" % (ending, literal, b"|".join(rules)) for ending, rules in by_ending.items()]
    either = [rb"(?<=[%s]%s)(?=[A-Za-z0-9_+/-]{12})(?:%s)" % (last, literal, b"|".join(rules))] if rules else []
    either += [rb"(?P<a%d>%s)" % (index, a.after) for index, a in enumerate(_AROUNDS) if a.separator == separator]
    return re.compile(rb"%s(?:%s)" % (literal, b"|".join(either)))


_SEPARATORS = [(separator, _separator_pattern(separator)) for separator in (b"_", b"-", b".", b":")]
_AFTER_TOKEN = (*_HEADS, *_LITERALS, _Head("jwt", b"eyJ", rb"[A-Za-z0-9_-]{7,512}\.eyJ[A-Za-z0-9_.-]{7,8192}"))
_GLUED = re.compile(
    b"|".join(rb"(?P<g%d>%s%s)" % (index, re.escape(head.text), head.body) for index, head in enumerate(_AFTER_TOKEN))
)


def scan(shadow: Shadow) -> Iterator[Span]:
    """Every token in the text; a place may be named by more than one kind."""
    data = shadow.exact
    if not shadow.has_word_of(_SHORTEST_AWS_KEY):
        return
    longer = shadow.has_word_of(_SHORTEST_WORD)
    for head, pattern in _LITERAL_PATTERNS:
        if longer or head.kind == "aws-access-key":
            yield from _scan_literal(data, head, pattern)
    if longer:
        for separator, pattern in _SEPARATORS:
            if separator in data:
                yield from _scan_separator(data, pattern)


def _scan_literal(data: bytes, head: _Head, pattern: re.Pattern[bytes]) -> Iterator[Span]:
    reach = 0
    for match in matches(data, head.text, pattern):
        if match.start() >= reach:
            for span in _with_glued(data, match.start(), match.end(), head.kind):
                reach = span[1]
                yield span


def _scan_separator(data: bytes, pattern: re.Pattern[bytes]) -> Iterator[Span]:
    position = 0
    while match := pattern.search(data, position):
        group = match.lastgroup or ""
        index = int(group[1:])
        if group[0] == "h":
            start, kind = match.start() + 1 - len(_HEADS[index].text), _HEADS[index].kind
        else:
            around = _AROUNDS[index]
            before = around.before.fullmatch(tail(data, match.start(), around.chars, around.most))
            if not before:
                position = match.start() + 1
                continue
            start, kind = match.start() - len(before[1]), around.kind
        for _, position, _ in (spans := [*_with_glued(data, start, match.end(), kind)]):
            pass
        yield from spans


def _with_glued(data: bytes, start: int, end: int, kind: str) -> Iterator[Span]:
    """The token, and those that follow without a character between them."""
    yield start, end, kind
    while data[end : end + 1].isalnum() and (match := _GLUED.match(data, end)):
        yield end, match.end(), _AFTER_TOKEN[int((match.lastgroup or "g0")[1:])].kind
        end = match.end()

"""Where the end of a text may yet become a secret, for a stream that must not wait until a line has ended.

The scanners beside this file find what is whole; here stands, kind by kind, what the beginning of it looks like when it
touches the end of the text. All of that is held back but for a few characters, which do not tell anything: the issuer
of a card, the head of a token. What looks like a plain word is held only until the stream has been silent for a while,
as the name in an address (``christopher@...``) looks like one too.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from hotcell.validators.known import KnownSecrets
from hotcell.validators.named import AUTHORIZATION, KEYWORDS, SIGN
from hotcell.validators.secrets import KINDS, TOKEN_KINDS
from hotcell.validators.shadow import Shadow, tail

LONGEST = 17_000
"""The most characters looked at, so the most that are held: a quoted value of 16,384 beside its name."""
FEW = 7
"""The most characters of a secret that may have gone out before it is known as one; nearly always at most three."""

_ALNUM = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

Rule = Callable[[bytes, bool], int]
"""Takes a line and whether the stream has been silent for a while; gives from where to hold, its length for nothing."""


def _anchored(pattern: bytes, window: int, *literals: bytes) -> Rule:
    """A rule for what ends where the text does, is at most ``window`` long and holds one of the literals."""
    compiled = re.compile(rb"(?:%s)\Z" % pattern)

    def rule(data: bytes, _silent: bool) -> int:
        begin = max(0, len(data) - window)
        if literals and not any(data.find(literal, begin) >= 0 for literal in literals):
            return len(data)
        match = compiled.search(data, begin)
        return match.start() if match else len(data)

    return rule


# --- tokens ------------------------------------------------------------------------------------------------------

_TOKEN_CHARS = _ALNUM + b"_-.:/+=%@~"
_LONGEST_JWT = 12_500
_LONGEST_TOKEN = 1_100
_LONGEST_KEY = 64
_HEADS = sorted({head.encode() for kind in TOKEN_KINDS for head in kind.heads})
_BY_SEPARATOR = [(sign, [head for head in _HEADS if head.endswith(sign)]) for sign in (b"_", b"-", b".")]
_KEY = re.compile(rb"AKIA|ASIA|AIza|dapi[0-9a-f]|(?:SK|AC)[0-9a-f]{2}|(?<![0-9])(?<![0-9]\.)[0-9]{8,10}(?::A|:?\Z)")
_HALF_HEADS = frozenset(
    head[:length] for head in (*_HEADS, b"AKIA", b"ASIA", b"AIza") for length in range(2, len(head))
)
_DISCORD = re.compile(
    rb"(?<![A-Za-z0-9_-])[MNO][A-Za-z0-9_-]{7,28}(?:\.[A-Za-z0-9_-]{0,6}(?:\.[A-Za-z0-9_-]{0,40})?)?\Z"
)
_TITLE = re.compile(rb"[A-Z][a-z]*")
_django = _anchored(rb"django-[!-~]{0,120}", 128, b"django-")
_webhook = _anchored(
    rb"https?:/{0,2}[A-Za-z0-9.-]*|(?:https?://)?(?:[a-z]{2,8}\.)?(?:hooks\.|discord)[A-Za-z0-9/._-]*",
    320,
    *(b"http", b"hooks.", b"discord"),
)


def _token(data: bytes, silent: bool) -> int:
    size = len(data)
    run = size - len(tail(data, size, _TOKEN_CHARS, _LONGEST_JWT))
    short = max(run, size - _LONGEST_TOKEN)
    starts = [data.find(b"eyJ", run)]
    for separator, heads in _BY_SEPARATOR:
        if data.find(separator, short) >= 0:
            starts += [data.find(head, short) for head in heads]
    if key := _KEY.search(data, max(run, size - _LONGEST_KEY)):
        starts.append(key.start())
    if found := [start for start in starts if start >= 0]:
        return min(found)
    word = tail(data, size, _ALNUM, 16)
    return size - len(word) if word in _HALF_HEADS and not (silent and len(word) <= FEW) else size


def _discord(data: bytes, silent: bool) -> int:
    match = _DISCORD.search(data, max(0, len(data) - 80))
    return match.start() if match and not (silent and _TITLE.fullmatch(match[0])) else len(data)


# --- blocks ------------------------------------------------------------------------------------------------------

_block = _anchored(rb"-----B[A-Z0-9 ]{0,64}-{0,5}|PuTTY-[A-Za-z0-9-]{0,30}:?", 80, b"-----B", b"PuTTY-")

# --- named values ------------------------------------------------------------------------------------------------

_ASSIGNED = re.compile(
    rb"(?:%s)%s"
    rb"(?P<value>[bru]?\"(?![,)\]}])(?:[^\"\\\r\n]|\\[^\r\n])*+\\?|[bru]?'(?![,)\]}])(?:[^'\\\r\n]|\\[^\r\n])*+\\?"
    rb"|\\{1,2}(?:[\"'][^\"'\\\r\n]*+)?|[^\s\"'`,;<>()\[\]{}&|\\\x7f]{1,512}+)\Z" % (b"|".join(KEYWORDS), SIGN)
)
_CREDENTIALS = _ALNUM + b"._~+/=:-"
_BEFORE_CREDENTIALS = re.compile(rb"(?:%s|bearer )\Z" % AUTHORIZATION)
_signature = _anchored(rb"sig=[A-Za-z0-9%+/=_-]{1,256}", 260, b"sig=")


def _assigned(data: bytes, _silent: bool) -> int:
    lower = data.lower()
    match = _ASSIGNED.search(lower) if b"=" in lower or b":" in lower else None
    return match.start("value") if match else len(data)


def _credentials(data: bytes, _silent: bool) -> int:
    value = len(data) - len(tail(data, len(data), _CREDENTIALS, 4097))
    before = data[max(0, value - 64) : value].lower()
    return value if before.endswith((b" ", b"\t")) and _BEFORE_CREDENTIALS.search(before) else len(data)


# --- addresses ---------------------------------------------------------------------------------------------------

_LOCAL = _ALNUM + b"._%+-"
_DOMAIN = _ALNUM + b"._-"
_LONGEST_LOCAL = 64
_LONGEST_DOMAIN = 420
_PASSWORD = re.compile(rb"://[^\s/:@\"'<>\[\]?#]{0,128}:(?!\[redacted:)(?P<password>[^\s/\"'<>]{1,420})\Z")
# Words, whole numbers, decimals and what ends in an ellipsis are no beginning of an address that tells anything.
_PLAIN = re.compile(
    rb"[A-Za-z0-9._%%+-]{0,3}|[A-Za-z]{1,%d}\.?|[0-9]{1,%d}%%?|[0-9]*\.[0-9]*(?:e[+-]?[0-9]{0,3})?%%?|.*\.\.|[._%%+-]*"
    % (FEW, FEW)
)
_WORDS = re.compile(rb"[A-Za-z][A-Za-z_-]*\.?")


def _password(data: bytes, _silent: bool) -> int:
    match = _PASSWORD.match(data, max(0, data.rfind(b"://", max(0, len(data) - 560))))
    return match.start("password") if match else len(data)


def _address(data: bytes, _silent: bool) -> int:
    at = len(data) - len(tail(data, len(data), _DOMAIN, _LONGEST_DOMAIN)) - 1
    local = _local(data, at) if at > 0 and data[at : at + 1] == b"@" else b""
    return at - len(local) if local else len(data)


def _word(data: bytes, silent: bool) -> int:
    local = _local(data, len(data))
    if _PLAIN.fullmatch(local) or (silent and (len(local) <= FEW or _WORDS.fullmatch(local))):
        return len(data)
    return len(data) - len(local)


def _local(data: bytes, end: int) -> bytes:
    return tail(data, end, _LOCAL, _LONGEST_LOCAL).lstrip(b".%+-")


# --- numbers -----------------------------------------------------------------------------------------------------

_ISSUER = rb"(?:4[0-9]{3}|5[1-5][0-9]{2}|2[2-7][0-9]{2}|3[04-9][0-9]{2}|6[0-9]{3})"
# Plain, or in groups of which none stands before the first.
_CARD = re.compile(
    rb"(?<![0-9A-Za-z_.])%s(?:[0-9]{0,15}\.?|(?<![0-9][ -]....)(?:[ -][0-9]{1,7}){0,4}[ -]?)\Z" % _ISSUER
)
_REST = rb"[0-9]{1,3}(?:-(?:[0-9]{1,4}-?)?)?"
_number = _anchored(
    b"|".join(
        (
            # A social security number or a telephone number of the USA; another telephone number.
            rb"(?<![0-9A-Za-z-])[0-9]{3}-%s" % _REST,
            rb"(?<![0-9A-Za-z.-])\([2-9][0-9]{2}\) ?%s" % _REST,
            rb"(?<![0-9A-Za-z.-])1[ -](?:\([2-9][0-9]{2}(?:\) ?)?|[2-9][0-9]{2}-)(?:%s)?" % _REST,
            rb"\+(?<![A-Za-z0-9+/=_.)\]]\+)[1-9](?:[ ()-]{0,2}[0-9]){2,14}(?:[ ()-]{0,2}|\.)",
            # A bank account.
            rb"(?<![0-9A-Za-z_.])[A-Z]{2}[0-9]{2}(?:[0-9A-Z]{0,30}|(?: [0-9A-Z]{4}){0,7}(?: [0-9A-Z]{0,4})?)",
        )
    ),
    64,
)


def _card(data: bytes, silent: bool) -> int:
    match = _CARD.search(data, max(0, len(data) - 64))
    return match.start() if match and not (silent and len(match[0]) <= FEW) else len(data)


_GLUED_ROUNDS = 2

# --- all of them -------------------------------------------------------------------------------------------------

_RULES: dict[str, tuple[Rule, ...]] = {
    "tokens": (_token, _discord, _django, _webhook),
    "blocks": (_block,),
    "named": (_assigned, _credentials, _signature),
    "url-password": (_password,),
    "email": (_address,),
    "numbers": (_card, _number),
}


class Unfinished:
    """The rules for some kinds and for what is known to be secret. Immutable."""

    def __init__(self, kinds: frozenset[str], known: KnownSecrets) -> None:
        wanted = kinds | {KINDS[kind].by for kind in kinds}
        self._rules = tuple(rule for name, rules in _RULES.items() if name in wanted for rule in rules)
        self._words = "email" in kinds
        self._known = known

    def start(self, text: str, *, silent: bool) -> int:
        """Where that begins which must wait for more of the text; the length of the text when nothing must.

        ``silent`` is True when nothing has come for so long that a plain word may go out.
        """
        line = max(text.rfind("\n"), text.rfind("\r"), len(text) - LONGEST - 1) + 1
        data = Shadow(text[line:]).exact
        start = min(self._known.unfinished(text) - line, self._first(data, silent))
        if self._words:
            start = min(start, _word(data, silent))
        # What stands right before that may be a secret of its own, as it is once the one behind it is taken out.
        for _ in range(_GLUED_ROUNDS):
            if start <= 0 or start == len(data) or data[start - 1 : start].isspace():
                break
            data = data[:start]
            start = self._first(data, silent)
        return line + start

    def _first(self, data: bytes, silent: bool) -> int:
        return min([rule(data, silent) for rule in self._rules], default=len(data))

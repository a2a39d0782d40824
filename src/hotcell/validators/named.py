"""Find values that stand beside a name which says they are secret: ``password=...``, ``"api_key": "..."``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hotcell.validators.shadow import Shadow, Span, matches, tail

_NAME = b"abcdefghijklmnopqrstuvwxyz0123456789_-."
_LONGEST_NAME = 40
_SCHEME = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SHORTEST_VALUE = 6
_VARIETY = 12
"""Different characters in a value of twenty or more that make it look random: cheaper than its entropy, as telling."""

# The rest of a name, its closing quote or bracket, an assignment sign, and a value: in quotes (also those of a string
# within a string, and the \x1f that stands around the strings of a JSON value), or bare up to a delimiter.
SIGN = rb"(?P<rest>[a-z0-9_.-]{0,24})(?:\\{0,2}[\"'`]\]?)?[ \t]{0,4}(?:=>|:=|={1,2}|:)[ \t]{0,4}"
_VALUE = (
    rb"(?:[bru]?\"(?![,)\]}])(?P<double>(?:[^\"\\\r\n]{1,256}+|\\[^\r\n]){1,64}+)"
    rb"|[bru]?'(?![,)\]}])(?P<single>(?:[^'\\\r\n]{1,256}+|\\[^\r\n]){1,64}+)"
    rb"|\\{1,2}[\"'](?P<escaped>[^\"'\\\r\n]{6,2048})"
    rb"|\x1f(?P<unit>[^\x1f]{6,4096})"
    rb"|(?P<bare>[^\s\"'`,;<>()\[\]{}&|\\\x7f]{6,512}))"
)
# A key or token has a digit; asked first, as it turns most honest text away.
_WITH_DIGIT = rb"(?=[^0-9\r\n]{0,64}+[0-9])"
_PASSWORDS = tuple((keyword, re.compile(keyword + SIGN + _VALUE)) for keyword in (b"pass", b"pwd"))
_KEYWORDS = (b"secret", b"token", b"key")
_KEYS = tuple((keyword, re.compile(keyword + SIGN + _WITH_DIGIT + _VALUE)) for keyword in _KEYWORDS)
KEYWORDS = (b"pass", b"pwd", *_KEYWORDS)
"""One of these stands in every name that says its value is secret."""
AUTHORIZATION = (
    rb"authorization\\{0,2}[\"']?[ \t]{0,4}[:=][ \t]{0,4}\\{0,2}[\"']?(?:bearer|basic|token|digest|apikey)[ \t]{1,4}"
)
"""What stands before the credentials of such a header."""
_AUTHORIZATION = re.compile(AUTHORIZATION + rb"(?P<value>[a-z0-9._~+/=:-]{6,4096})")
_BEARER = re.compile(rb"bearer (?P<value>(?=[a-z._~+/=-]{0,64}[0-9])[a-z0-9._~+/=-]{20,4096})")
_SAS = re.compile(rb"sig=(?P<value>[a-z0-9%+/=_-]{20,256})")

_PASSWORD_NAME = re.compile(
    rb"(?:.*[_.-])?(?:password|passwd|passphrase|pass|pwd|passw)[0-9]?(?:[_.-][a-z0-9]{0,8})?"
    rb"|[a-z]{0,8}(?:password|passwd|pwd)"
)
# What may stand before and after the keyword of an API's key: AWS_SECRET_ACCESS_KEY, bot.token, clientSecretId.
_API_WORDS = tuple(
    word.encode()
    for word in "api access auth secret client private refresh bearer webhook bot app service account".split()
)
_CLOUD_ENDS = (b"privatekeyid", b"accountkey", b"accesskey")
_API_REST = re.compile(rb"[_.-]?(?:key|id|value|secret|token|access[_.-]?key)")
_PLACEHOLDER = (
    rb"\[redacted:|[$<{%]"
    rb"|(?i:os|self|cls|settings|config|getenv|env|process|none|null|true|false|str|optional|undefined)\b"
)
_NOT_A_PASSWORD = re.compile(_PLACEHOLDER)
# Nor a path, a word, a number or a time; digests and UUIDs are told apart by the name.
_NOT_A_KEY = re.compile(_PLACEHOLDER + rb"|\.?/|[^0-9]*+\Z|[0-9_.,+:TZ-]++\Z|(?P<digest>(?:0x)?[0-9a-fA-F-]{8,}+\Z)")
_REFERENCE = re.compile(rb"[A-Za-z_][A-Za-z0-9_]*(?:[.:]+[A-Za-z0-9_]+)*")
_IDENTIFIER = re.compile(rb"[A-Za-z_]+(?:\.[A-Za-z_]+)*")
_BASE64_40 = re.compile(rb"(?=[A-Za-z/+]*+[0-9])[A-Za-z0-9/+]{40}")
_BASE64_88 = re.compile(rb"[A-Za-z0-9/+]{86}==")


def scan(shadow: Shadow) -> Iterator[Span]:
    """Every value beside a telling name; the name stays in the text, only the value is the span."""
    lower = shadow.lower
    if b"=" in lower or b":" in lower:
        yield from _assigned(shadow.exact, lower)
        for match in matches(lower, b"authorization", _AUTHORIZATION):
            yield *match.span("value"), "authorization-header"
    if b"=" in lower:
        for match in matches(lower, b"sig=", _SAS):
            if lower[match.start() - 1 : match.start()] in (b"?", b"&", b";", b" ", b""):
                yield *match.span("value"), "azure-sas"
    if b" " in lower:
        for match in matches(lower, b"bearer ", _BEARER):
            yield *match.span("value"), "authorization-header"


def _assigned(exact: bytes, lower: bytes) -> Iterator[Span]:
    for keyword, pattern in _PASSWORDS:
        for match in matches(lower, keyword, pattern):
            if (span := _value_span(exact, match)) and _is_password(lower, keyword, match, exact[span[0] : span[1]]):
                yield *span, "password"
    for keyword, pattern in _KEYS:
        for match in matches(lower, keyword, pattern):
            if span := _value_span(exact, match):
                yield from _key_span(_name(lower, keyword, match), exact, *span)


def _key_span(name: bytes, exact: bytes, start: int, end: int) -> Iterator[Span]:
    """The value if it is a key, or its part before what is glued to it: behind a Base64 padding, or an address."""
    if kind := _key_kind(name, exact[start:end]):
        yield start, end, kind
        return
    padding = exact.find(b"==", start, end - 2)
    scheme = exact.find(b"://", start, end)
    for part in (exact[start : max(padding, 0) + 2], exact[start : max(scheme, 0)].rstrip(_SCHEME)):
        if kind := _key_kind(name, part):
            yield start, start + len(part), kind
            return


def _value_span(exact: bytes, match: re.Match[bytes]) -> tuple[int, int] | None:
    """Where the value stands, None when it is too short or is code."""
    group = match.lastgroup or "bare"
    start, end = match.span(group)
    if group == "bare":
        if exact[end : end + 1] in (b"(", b"[") and _REFERENCE.fullmatch(exact, start, end):
            return None  # A call or a subscript: code, not a value.
        end = start + len(exact[start:end].rstrip(b".:!?"))
    return (start, end) if end - start >= _SHORTEST_VALUE else None


def _name(lower: bytes, keyword: bytes, match: re.Match[bytes]) -> bytes:
    return tail(lower, match.start(), _NAME, _LONGEST_NAME) + keyword + match["rest"]


def _is_password(lower: bytes, keyword: bytes, match: re.Match[bytes], value: bytes) -> bool:
    name = _name(lower, keyword, match)
    if not _PASSWORD_NAME.fullmatch(name) or _NOT_A_PASSWORD.match(value) or len(set(value)) < 3:
        return False
    if value.lower() in name:
        return False
    if match.lastgroup != "bare":
        return True
    # Unquoted after a colon is mostly prose, and between blanks mostly code: a mere word is no password there.
    sign = lower[match.end("rest") : match.start("bare")]
    return not ((b":" in sign or sign.startswith(b" ")) and _IDENTIFIER.fullmatch(value))


def _key_kind(name: bytes, value: bytes) -> str | None:
    """The kind of a value beside a name (in lower case) that speaks of a key, a token or a secret, or None."""
    if len(value) < 8:
        return None
    compact = name.translate(None, b"_-.")
    if (compact.endswith(_CLOUD_ENDS) or b"aws" in compact) and (kind := _cloud_kind(compact, value)):
        return kind
    other = _NOT_A_KEY.match(value)
    if other and not (other["digest"] and any(word in compact for word in (b"secret", b"apikey", b"token"))):
        return None
    variety = len(set(value))
    if variety < 3 or b"://" in value or name.endswith(value.lower()):
        return None
    if _is_api_name(name):
        return "api-key"
    if len(value) >= 20 and variety >= _VARIETY and value.lower() != value and name.endswith(_KEYWORDS):
        return "high-entropy"
    return None


def _is_api_name(name: bytes) -> bool:
    for keyword in _KEYWORDS:
        before, found, rest = name.rpartition(keyword)
        if not found or (rest and not _API_REST.fullmatch(rest)):
            continue
        separated = before[-1:] in (b"_", b".", b"-")
        alone = not before or (separated and not rest)
        if alone and (keyword != b"key" or (rest and not before)):
            return True
        if (before[:-1] if separated else before).endswith(_API_WORDS):
            return True
    return False


def _cloud_kind(compact: bytes, value: bytes) -> str | None:
    if compact.endswith(b"privatekeyid"):
        return "gcp-service-account" if re.fullmatch(rb"[0-9a-f]{40}", value) else None
    if compact.endswith(_CLOUD_ENDS) and _BASE64_88.fullmatch(value):
        return "azure-storage-key"
    aws = (b"aws" in compact or b"secretaccesskey" in compact) and _BASE64_40.fullmatch(value)
    return "aws-secret-key" if aws else None

"""Find values that stand beside a name which says they are secret: ``password=...``, ``"api_key": "..."``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hotcell.validators.shadow import Shadow, Span, matches, tail

_NAME = b"abcdefghijklmnopqrstuvwxyz0123456789_-."
_LONGEST_NAME = 40
_SHORTEST_VALUE = 6
_VARIETY = 12
"""Different characters in a value of twenty or more that make it look random: cheaper than its entropy, as telling."""

# The rest of a name, its closing quote or bracket, an assignment sign, and a value: in quotes (also those of a string
# within a string, and the \x1f that stands around the strings of a JSON value), or bare up to a delimiter.
_ASSIGNED = (
    rb"(?P<rest>[a-z0-9_.-]{0,24})(?:\\{0,2}[\"'`]\]?)?[ \t]{0,4}(?:=>|:=|={1,2}|:)[ \t]{0,4}(?:"
    rb"[bru]?\"(?![,)\]}])(?P<double>(?:[^\"\\\r\n]{1,256}+|\\[^\r\n]){1,64}+)"
    rb"|[bru]?'(?![,)\]}])(?P<single>(?:[^'\\\r\n]{1,256}+|\\[^\r\n]){1,64}+)"
    rb"|\\{1,2}[\"'](?P<escaped>[^\"'\\\r\n]{6,2048})"
    rb"|\x1f(?P<unit>[^\x1f]{6,4096})"
    rb"|(?P<bare>[^\s\"'`,;<>()\[\]{}&|\\]{6,512}))"
)
_KEYWORDS = tuple(
    (keyword, re.compile(keyword + _ASSIGNED)) for keyword in (b"pass", b"pwd", b"secret", b"token", b"key")
)
_AUTHORIZATION = re.compile(
    rb"authorization\\{0,2}[\"']?[ \t]{0,4}[:=][ \t]{0,4}\\{0,2}[\"']?(?:bearer|basic|token|digest|apikey)[ \t]{1,4}"
    rb"(?P<value>[a-z0-9._~+/=:-]{6,4096})"
)
_BEARER = re.compile(rb"bearer (?P<value>(?=[a-z._~+/=-]{0,64}[0-9])[a-z0-9._~+/=-]{20,4096})")
_SAS = re.compile(rb"sig=(?P<value>[a-z0-9%+/=_-]{20,256})")

_PASSWORD_NAME = re.compile(
    rb"(?:.*[_.-])?(?:password|passwd|passphrase|pass|pwd|passw)[0-9]?(?:[_.-][a-z0-9]{0,8})?"
    rb"|[a-z]{0,8}(?:password|passwd|pwd)"
)
_API_NAME = re.compile(
    rb"(?:.*(?:api|access|auth|secret|client|private|refresh|bearer|webhook|bot|app|service|account)"
    rb"[_.-]?)?(?:secret|token|key)(?:[_.-]?(?:key|id|value|secret|token|access[_.-]?key))?|.*[_.-](?:secret|token)"
)
_WEAK_NAME = re.compile(rb".*(?:key|token|secret)")
_DIGEST_OR_UUID = re.compile(rb"(?:0x)?[0-9a-fA-F-]{8,}")
_NUMBER_OR_TIME = re.compile(rb"[0-9_.,+:TZ-]+")
_NOT_A_VALUE = re.compile(
    rb"\[redacted:|[$<{%]|(?:os|self|cls|settings|config|getenv|env|process|none|null|true|false|str|optional|undefined)\b",
    re.I,
)
_IDENTIFIER = re.compile(rb"[A-Za-z_]+(?:\.[A-Za-z_]+)*")
_BASE64_40 = re.compile(rb"[A-Za-z0-9/+]{40}")
_BASE64_88 = re.compile(rb"[A-Za-z0-9/+]{86}==")


def scan(shadow: Shadow) -> Iterator[Span]:
    """Every value beside a telling name; the name stays in the text, only the value is the span."""
    lower = shadow.lower
    if b"=" in lower or b":" in lower:
        for keyword, pattern in _KEYWORDS:
            for match in matches(lower, keyword, pattern):
                yield from _judge(shadow.exact, lower, keyword, match)
        for match in matches(lower, b"authorization", _AUTHORIZATION):
            yield *match.span("value"), "authorization-header"
    if b"=" in lower:
        for match in matches(lower, b"sig=", _SAS):
            if lower[match.start() - 1 : match.start()] in (b"?", b"&", b";", b" ", b""):
                yield *match.span("value"), "azure-sas"
    if b" " in lower:
        for match in matches(lower, b"bearer ", _BEARER):
            yield *match.span("value"), "authorization-header"


def _judge(exact: bytes, lower: bytes, keyword: bytes, match: re.Match[bytes]) -> Iterator[Span]:
    group = match.lastgroup or "bare"
    start, end = match.span(group)
    value = exact[start:end]
    if group == "bare":
        value = value.rstrip(b".:!?")
        end = start + len(value)
        if exact[end : end + 1] in (b"(", b"["):
            return  # A call or a subscript: code, not a value.
    if len(value) < _SHORTEST_VALUE:
        return
    name = tail(lower, match.start(), _NAME, _LONGEST_NAME) + keyword + match["rest"]
    # Unquoted after a colon is mostly prose, and between blanks mostly code.
    sign = lower[match.end("rest") : start]
    kind = classify(name, value, loose=group == "bare" and (b":" in sign or sign.startswith(b" ")))
    if kind:
        yield start, end, kind


def classify(name: bytes, value: bytes, *, loose: bool = False) -> str | None:
    """The kind of a value beside a name (in lower case), or None.

    ``loose``: as in prose or code, where a mere word is no password.
    """
    if _NOT_A_VALUE.match(value) or len(set(value)) < 3 or value.lower() in name:
        return None
    compact = name.replace(b"_", b"").replace(b"-", b"").replace(b".", b"")
    if compact.endswith(b"privatekeyid") and re.fullmatch(rb"[0-9a-f]{40}", value):
        return "gcp-service-account"
    if compact.endswith((b"accountkey", b"accesskey")) and _BASE64_88.fullmatch(value):
        return "azure-storage-key"
    digits = any(48 <= byte <= 57 for byte in value)
    if (b"aws" in compact or b"secretaccesskey" in compact) and _BASE64_40.fullmatch(value) and digits:
        return "aws-secret-key"
    if _PASSWORD_NAME.fullmatch(name):
        return None if loose and _IDENTIFIER.fullmatch(value) else "password"
    if _NUMBER_OR_TIME.fullmatch(value):
        return None
    if _DIGEST_OR_UUID.fullmatch(value) and not any(word in compact for word in (b"secret", b"apikey", b"token")):
        return None
    if not digits or len(value) < 8 or b"://" in value or value.startswith((b"/", b"./")):
        return None
    if _API_NAME.fullmatch(name) and name != b"key":
        return "api-key"
    if _WEAK_NAME.fullmatch(name) and len(value) >= 20 and len(set(value)) >= _VARIETY and value.lower() != value:
        return "high-entropy"
    return None

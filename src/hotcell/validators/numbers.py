"""Find card numbers, bank accounts, social security and telephone numbers: by their shape, then by their check."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hotcell.validators.shadow import Shadow, Span, matches

# On shapes. Plain digits that are no decimals; then everything in groups, seen at its first or last blank.
_THIRTEEN = b"0" * 13
_PLAIN_CARD = re.compile(rb"[ ,](0{13,19})(?=[ ,]|\.(?!0))")
_GROUPS = re.compile(
    # More groups of four on either side would be a row of a table.
    rb"00 0000(?<!0 0000 0000)"
    rb"(?:(?:(?<=,0000 0000)|(?<=[^0] 0000 0000))(?: 0000 0{1,7}(?! 0000(?!0))(?P<card>)|00 00000(?P<amex>))"
    rb"|(?:(?<=00[ ,]000 0000)|(?<=0, 000 0000))(?P<phone>)|(?<=000 00 0000)(?P<ssn>))(?![0aA])"
)
_IBAN = re.compile(rb"AA00(?<=[ ,]AA00)(?:[0A]{11,30}|(?: [0A]{4}){2,7}(?: [0A]{1,4})?)(?![0aA])")

_SSN = re.compile(rb"(?<![0-9A-Za-z-])(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}(?!-?[0-9A-Za-z])")
_US_PHONE = re.compile(
    rb"(?<![0-9A-Za-z.-])(?:\+?1[ -])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}-)[0-9]{3}-[0-9]{4}(?!-?[0-9A-Za-z])"
)
_PLUS_PHONE = re.compile(rb"\+(?<![A-Za-z0-9+/=_.)\]]\+)[1-9](?:[ ()-]{0,2}[0-9]){7,14}(?![0-9A-Za-z+/=]|\.[0-9])")

# Issuer ranges: (first digits from, to, lengths). Visa, Mastercard, American Express, Discover, Diners, JCB, UnionPay.
_ISSUERS = (
    (4000, 4999, (13, 16, 19)),
    (5100, 5599, (16,)),
    (2221, 2720, (16,)),
    (3400, 3499, (15,)),
    (3700, 3799, (15,)),
    (6011, 6011, (16, 19)),
    (6440, 6599, (16, 19)),
    (3000, 3059, (14,)),
    (3600, 3699, (14,)),
    (3800, 3999, (14,)),
    (3528, 3589, (16,)),
    (6200, 6299, (16, 17, 18, 19)),
)
_CARD_LENGTHS = {first: lengths for low, high, lengths in _ISSUERS for first in range(low, high + 1)}
_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28,
    "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
    "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22,
    "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LI": 21, "LT": 20, "LU": 20,
    "LV": 21, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15, "PK": 24,
    "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SE": 24, "SI": 19, "SK": 24, "SM": 27,
    "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip
_IBAN_FORMS = {
    country.encode(): re.compile(rb"[0-9A-Z](?: ?[0-9A-Z]){%d}(?![0-9A-Za-z])" % (length - 1))
    for country, length in _IBAN_LENGTHS.items()
}
_IBAN_DIGITS = {ord(char): str(int(char, 36)) for char in "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def scan(shadow: Shadow) -> Iterator[Span]:
    """Every number that passes its own check."""
    shape = shadow.shape
    if b"0" not in shape:
        return
    yield from _plain_cards(shadow.exact, shape)
    if b" " in shape:
        yield from _groups(shadow.exact, shape)
    if b"A" in shape:
        yield from _ibans(shadow.exact, shape)
    if b"+" in shadow.exact:
        for match in _PLUS_PHONE.finditer(shadow.exact):
            yield *match.span(), "phone"


def _plain_cards(data: bytes, shape: bytes) -> Iterator[Span]:
    if _THIRTEEN not in shape:
        return
    for before in (b",", b" "):
        for match in matches(shape, before + _THIRTEEN, _PLAIN_CARD):
            start, end = match.start(1) - 1, match.end() - 1  # The shape is one character ahead.
            glued = data[start - 1 : start] == b"-" and data[start - 2 : start - 1].isalnum()
            if is_card(data[start:end]) and not glued:
                yield start, end, "credit-card"


def _groups(data: bytes, shape: bytes) -> Iterator[Span]:
    for match in matches(shape, b"00 0000", _GROUPS):
        end = match.end() - 1
        if match.lastgroup == "ssn":
            if _SSN.match(data, end - 11):
                yield end - 11, end, "ssn"
        elif match.lastgroup == "phone":
            phone = _US_PHONE.search(data, max(0, end - 20), end + 2)
            if phone and phone.end() == end:
                yield *phone.span(), "phone"
        else:
            start = match.start() - 3
            text = data[start:end]
            if not (b" " in text and b"-" in text) and is_card(text):
                yield start, end, "credit-card"


def is_card(text: bytes) -> bool:
    """True for digits (blanks and hyphens ignored) of a known issuer and length with a valid Luhn check digit."""
    digits = text.translate(None, b" -")
    if len(digits) not in _CARD_LENGTHS.get(int(digits[:4]), ()):
        return False
    odd = sum(digits[-1::-2]) - 48 * len(digits[-1::-2])
    return len(set(digits)) > 1 and (odd + sum(_DOUBLED[digit] for digit in digits[-2::-2])) % 10 == 0


_DOUBLED = {48 + digit: sum(divmod(2 * digit, 10)) for digit in range(10)}


def _ibans(data: bytes, shape: bytes) -> Iterator[Span]:
    for match in matches(shape, b"AA00", _IBAN):
        start = match.start() - 1  # The shape is one character ahead.
        end = iban_end(data, start, match.end() - 1)
        if end:
            yield start, end, "iban"


def iban_end(data: bytes, start: int, limit: int) -> int:
    """Where the account number that starts here ends, 0 when it is none. Blanks between groups are allowed."""
    form = _IBAN_FORMS.get(data[start : start + 2])
    match = form.match(data, start, limit) if form else None
    if not match:
        return 0
    compact = match[0].replace(b" ", b"")
    digits = "".join([_IBAN_DIGITS[byte] for byte in compact[4:] + compact[:4]])
    return match.end() if int(digits) % 97 == 1 else 0

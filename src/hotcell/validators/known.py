"""Find values that are known to be secret, as they are and in the forms that are easily made of them."""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote, quote_plus

from hotcell.validators.shadow import Span

SHORTEST_SECRET = 4
"""Shorter values are left alone: they would stand in every text by chance."""
_SHORTEST_FORM = 6
_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_"


@dataclass(frozen=True)
class _Form:
    text: str
    kind: str
    spill: bool = False
    """True when a character on either side holds bits of the secret, as in base64."""

    @property
    def first_line(self) -> int:
        """How long what stands before the first line end is; the length of all when there is none."""
        ends = [self.text.find(end) for end in "\r\n" if end in self.text]
        return min(ends, default=len(self.text))


class KnownSecrets:
    """The forms of all known secrets. Immutable."""

    def __init__(self, secrets: Mapping[str, str] | Iterable[str]) -> None:
        named = secrets.items() if isinstance(secrets, Mapping) else (("", value) for value in secrets)
        forms: dict[str, _Form] = {}
        hexes: dict[bytes, str] = {}
        for name, value in named:
            if len(value) < SHORTEST_SECRET:
                continue
            kind = _kind(name)
            for form in _forms(value, kind):
                forms.setdefault(form.text, form)
            if len(value.encode("utf-8", "surrogatepass")) >= 3:
                hexes.setdefault(value.encode("utf-8", "surrogatepass").hex().encode(), kind)
        self._forms = tuple(forms.values())
        self._hexes = tuple(hexes.items())
        self.longest = max(
            [len(form.text) + 2 for form in self._forms] + [len(text) for text, _ in self._hexes], default=0
        )
        self._crossing = tuple(form for form in self._forms if form.first_line < len(form.text))

    def __bool__(self) -> bool:
        return bool(self._forms)

    def digest(self, key: bytes) -> str:
        """A hash of all of them, keyed with ``key``; empty when there are none."""
        if not self._forms:
            return ""
        told = json.dumps([(form.text, form.kind) for form in self._forms])
        return hmac.digest(key, told.encode(), "sha256").hex()

    def scan(self, text: str) -> Iterator[Span]:
        """Every place where a form stands."""
        for form in self._forms:
            position = text.find(form.text)
            while position >= 0:
                start, end = position, position + len(form.text)
                if form.spill:
                    start -= text[start - 1 : start] in _BASE64 and start > 0
                    end += text[end : end + 1] in _BASE64 and end < len(text)
                yield start, end, form.kind
                position = text.find(form.text, position + 1)
        lower = text.encode("ascii", "replace").lower() if self._hexes else b""
        for digits, kind in self._hexes:
            position = lower.find(digits)
            while position >= 0:
                yield position, position + len(digits), kind
                position = lower.find(digits, position + 1)

    def unfinished(self, text: str, *, crossing: bool = False) -> int:
        """Where the end of the text may be the beginning of a form; the length of the text when it is of none.

        ``crossing`` asks only for the forms that hold a line end.
        """
        starts = [_beginning(form, text) for form in (self._crossing if crossing else self._forms)]
        if self._hexes and not crossing:
            lower = text[-self.longest :].lower()
            starts += [len(text) - len(lower) + _suffix(digits.decode(), lower, 3) for digits, _ in self._hexes]
        return min(starts, default=len(text))

    def mask(self, content: bytes) -> tuple[bytes, dict[str, int]]:
        """Binary content with every known secret (UTF-8 and UTF-16) overwritten by as many ``*``; the count by kind."""
        counts: dict[str, int] = {}
        for form in self._forms:
            for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
                needle = form.text.encode(encoding, "surrogatepass")
                found = content.count(needle)
                if found:
                    content = content.replace(needle, b"*" * len(needle))
                    counts[form.kind] = counts.get(form.kind, 0) + found
        return content, counts


def _beginning(form: _Form, text: str) -> int:
    # A first line that is over may not go, however short, as the next one is judged without it.
    few = min(3, len(form.text) // 3, form.first_line)
    start = _suffix(form.text, text, few)
    return start - 1 if form.spill and 0 < start < len(text) and text[start - 1] in _BASE64 else start


def _suffix(form: str, text: str, few: int) -> int:
    """Where the longest end of the text that the form begins with begins, if it has more than ``few`` characters."""
    position = max(0, len(text) - len(form) + 1)
    while (position := text.find(form[: few + 1], position)) >= 0:
        if form.startswith(text[position:]):
            return position
        position += 1
    return len(text)


def _kind(name: str) -> str:
    safe = re.sub(r"[^A-Za-z0-9_.-]", "-", name)[:64]
    return f"known-secret/{safe}" if safe else "known-secret"


def _forms(value: str, kind: str) -> Iterator[_Form]:
    data = value.encode("utf-8", "surrogatepass")
    yield _Form(value, kind)
    plain = {value[::-1], json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1]}
    plain |= {quote(data, safe=""), quote(data), quote_plus(data)}
    for form in sorted(plain - {value}):
        yield _Form(form, kind)
    for shift in range(3):
        # What does not depend on the neighbours: the whole characters that the secret's own bits fill.
        first = (8 * shift + 5) // 6
        last = 8 * (shift + len(data)) // 6
        whole = bytes(shift) + data + bytes(-(shift + len(data)) % 3)
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            form = encode(whole).decode()[first:last]
            if len(form) >= _SHORTEST_FORM:
                yield _Form(form, kind, spill=True)

"""Types that cross the wire as text, and how they are read back. ``worker/values.py`` writes them."""

from __future__ import annotations

import binascii
import datetime
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

_EXPONENT = 4_300
"""Python refuses to write an int of more digits, and int() of a Decimal with a larger exponent takes for ever."""


@dataclass(frozen=True)
class Rule:
    """How one type is read."""

    shown: str
    """What a message asks for."""
    schema: Mapping[str, Any]
    parse: Callable[[Any], Any]
    """Raises ValueError or ArithmeticError."""
    accepts: tuple[type, ...] = (str,)


def _decimal(value: str | int) -> Decimal:
    number = Decimal(value)
    if not number.is_finite() or abs(number.adjusted()) > _EXPONENT:
        raise ValueError("out of range")
    return number


def _base64(value: str) -> bytes:
    return binascii.a2b_base64(value, strict_mode=True)


def _text(form: str) -> dict[str, Any]:
    return {"type": "string", "format": form}


TEXTS: dict[Any, Rule] = {
    datetime.datetime: Rule("a date and time as ISO 8601 text", _text("date-time"), datetime.datetime.fromisoformat),
    datetime.date: Rule("a date as ISO 8601 text", _text("date"), datetime.date.fromisoformat),
    datetime.time: Rule("a time as ISO 8601 text", _text("time"), datetime.time.fromisoformat),
    uuid.UUID: Rule("a UUID as text", _text("uuid"), uuid.UUID),
    Decimal: Rule("a decimal number as text", _text("decimal"), _decimal, (str, int)),
    bytes: Rule("Base64 text", {"type": "string", "contentEncoding": "base64"}, _base64),
}

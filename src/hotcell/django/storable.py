"""Making what comes from outside fit for a row: no secrets in a context, nothing that a database refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from hotcell.validators.output import Redactor

_SECRET_NAME = re.compile(
    r"passw|passphrase|secret|token|api_?key|access_?key|private_?key|credential|authori[sz]ation|cookie|session_?id",
    re.IGNORECASE,
)
_NUL = "\N{SYMBOL FOR NULL}"


def text(value: str | bytes) -> str:
    """Text that any database takes: PostgreSQL has no NUL, and UTF-8 no half of a surrogate pair."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    return value.replace("\0", _NUL).encode("utf-8", "backslashreplace").decode()


def data(value: Any) -> Any:
    """JSON data that any database takes; what is no JSON data becomes its ``repr``."""
    try:
        return _clean(_plain(value))
    except (TypeError, ValueError, RecursionError) as error:
        return {"not kept": f"{type(error).__name__}: {error}"[:200]}


def _plain(value: Any) -> Any:
    try:
        return json.loads(json.dumps(value, default=repr, allow_nan=False))
    except ValueError:  # a number that JSON has no word for
        return json.loads(json.dumps(_named_numbers(value), default=repr))


def context(value: Mapping[str, Any], redactor: Redactor) -> dict[str, Any]:
    """Variables as they may be kept: without the values of secret-looking names, and without secrets by pattern."""
    kept: dict[str, Any] = redactor.redact_value(_without_secret_names(data(value)), "context")[0]
    return kept


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return text(value)
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {text(key): _clean(item) for key, item in value.items()}
    return value


def _named_numbers(value: Any) -> Any:
    if isinstance(value, float) and value - value != 0:
        return repr(value)
    if isinstance(value, list | tuple):
        return [_named_numbers(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _named_numbers(item) for key, item in value.items()}
    return value


def _without_secret_names(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_secret_names(item) for item in value]
    if isinstance(value, dict):
        return {
            key: "[redacted:named]" if _SECRET_NAME.search(key) and item else _without_secret_names(item)
            for key, item in value.items()
        }
    return value

"""What a host tool came to, as data that may go into a cell; and as much of it as a record keeps.

**What an exception says inside the cell.** The message of a ``ToolError``, and of Python's own kinds of exception, such
as ``ValueError("no such city")``, crosses as it is: whoever raises them writes for the caller. An error of the system's
crosses without its file name. Of every other exception (a database driver's, an HTTP client's, any subclass) only the
type's name crosses, as its message may hold a password or a path of the host. A traceback never crosses. All of it is
in the log.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hotcell.worker import values
from hotcell.worker.tools import ToolError
from hotcell.worker.tracebacks import encodable, safe_text, type_name

_log = logging.getLogger("hotcell")
_MESSAGE_CHARS = 2_000
_TYPE_CHARS = 100
_RECORD_CHARS = 1_000
_RECORD_ITEMS = 32
# Exactly these: a subclass is somebody's own, and str() of it may say more than they thought of.
_TELLING: tuple[type[BaseException], ...] = (
    *(Exception, ArithmeticError, AssertionError, IndexError, KeyError, LookupError, NotImplementedError),
    *(OverflowError, RuntimeError, TypeError, ValueError, ZeroDivisionError),
)
_SYSTEM: tuple[type[BaseException], ...] = (
    *(OSError, ConnectionError, FileExistsError, FileNotFoundError, PermissionError, TimeoutError),
)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What became of a call."""

    outcome: str
    """As in ``ToolCall.outcome``."""
    value: Any = None
    """JSON data."""
    kind: str = ""
    """The type of the exception that the code sees; empty when there is none."""
    message: str = ""

    @property
    def error(self) -> str:
        """For a record."""
        return f"{self.kind}: {self.message}" if self.kind else ""

    def encode(self, identity: int | None) -> bytes:
        """The payload of a RETURN frame."""
        body: dict[str, Any] = {"id": identity}
        if self.kind:
            body["error"] = {"type": self.kind, "message": self.message}
        else:
            body["value"] = self.value
        return json.dumps(body, ensure_ascii=False, allow_nan=False).encode()


def refused(kind: str, message: str) -> Answer:
    """It was never called."""
    return Answer(outcome="refused", kind=kind, message=encodable(message[:_MESSAGE_CHARS]))


def timed_out(name: str, seconds: float) -> Answer:
    """It did not come back in time."""
    return Answer(outcome="timeout", kind="TimeoutError", message=f"{name}() took longer than {seconds:.3g} s.")


def returned(name: str, value: Any, most_bytes: int) -> Answer:
    """It returned, by the rules of ``worker/values.py``; NaN becomes None."""
    try:
        return Answer(outcome="ok", value=values.to_data(value, most_bytes, nan_is_none=True))
    except ValueError as error:
        what, problem = "ValueError", f"{safe_text(error)}, which is too large"
    except TypeError as error:
        what, problem = "TypeError", f"{safe_text(error)}, which is not JSON data"
    except BaseException as error:  # noqa: BLE001  # a property of the value's own
        what, problem = "ToolError", f"a {type_name(value)}, which raised {type_name(error)} when it was looked at"
    _log.warning("Tool %s returned %s", name, problem)
    return Answer(outcome="error", kind=what, message=encodable(f"{name}() returned {problem}."[:_MESSAGE_CHARS]))


def raised(name: str, error: BaseException) -> Answer:
    """It raised; see above for what of that may be told."""
    kind, message = type_name(error)[:_TYPE_CHARS], _telling(error)
    if not isinstance(error, ToolError):
        _log.warning("Tool %s raised %s", name, kind, exc_info=error)
    if message is None:
        message = f"{name}() failed on the host with {kind}."
    return Answer(outcome="error", kind=encodable(kind), message=encodable(message[:_MESSAGE_CHARS]))


def _telling(error: BaseException) -> str | None:
    """Its message, when that was written for the caller; else None."""
    if type(error) in _SYSTEM:
        number = getattr(error, "errno", None)
        return safe_text(error) if number is None else os.strerror(number) if type(number) is int else None
    if type(error) is KeyError and len(error.args) == 1 and type(error.args[0]) is str:
        return error.args[0]  # str() puts quotes around it
    return safe_text(error) if type(error) in _TELLING or isinstance(error, ToolError) else None


def shortened(data: Any) -> Any:
    """A copy of the JSON data, or the beginning of its text when that is long."""
    text = json.dumps(data, ensure_ascii=False)
    if len(text) <= _RECORD_CHARS:
        return json.loads(text)
    return f"{text[:_RECORD_CHARS]}... ({len(text) - _RECORD_CHARS} characters more)"


def shortened_items(data: Mapping[str, Any]) -> dict[str, Any]:
    """The same for each item, and not for many."""
    items = list(data.items())[:_RECORD_ITEMS]
    return {name[:_TYPE_CHARS]: shortened(value) for name, value in items}

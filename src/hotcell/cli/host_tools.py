"""``--tool``: functions of the caller that code in a cell may call. They run out here, with the caller's rights."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from hotcell.cli.exits import UsageError
from hotcell.terminal import clean

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from hotcell.tools import Toolbox


class _Clean(logging.Formatter):
    """Text that a terminal shows rather than obeys."""

    def format(self, record: logging.LogRecord) -> str:
        return clean(super().format(record))


def load(asked: Iterable[tuple[str, str, str]]) -> Toolbox | None:
    """The functions by name, imported now; None when none is asked for. Raises UsageError and ConfigurationError."""
    found = {}
    for name, module, function in asked:
        if name in found:
            raise UsageError(f"--tool {name}: there are two of that name")
        found[name] = _function(name, module, function)
    if not found:
        return None
    from hotcell.tools import Toolbox

    if logging.lastResort:  # what a tool raises is told to who wrote it, and may hold what the code passed in
        logging.lastResort.setFormatter(_Clean())
    return Toolbox(found)


def _function(name: str, module: str, function: str) -> Callable[..., Any]:
    import importlib

    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)  # last, so that a file of that directory takes nobody's place
    asked = f"--tool {name}={module}:{function}"
    try:
        loaded = importlib.import_module(module)
    except Exception as error:  # the module is the caller's, and may raise whatever it likes
        raise UsageError(f"{asked}: cannot import {module!r}: {type(error).__name__}: {error}") from error
    if not hasattr(loaded, function):
        place = getattr(loaded, "__file__", None) or "built in"
        raise UsageError(f"{asked}: module {module!r} ({place}) has no {function!r}")
    found: Callable[..., Any] = getattr(loaded, function)
    return found

"""The module a cell runs in: curated builtins, a guarded ``import``, and the caller's variables.

This is advice with teeth: it turns an honest mistake into a clear message. It is not the wall. Only the cell's own
frames see these builtins; the libraries it imports keep the real ones and import what they need.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from types import ModuleType
from typing import Any, NoReturn

from hotcell.worker import displays

_REAL_IMPORT = builtins.__import__
_REAL_INPUT = builtins.input
_NAMES_SHOWN = 40


def make_module(
    rules: Mapping[str, Any], context: Mapping[str, Any], filename: str, *, own_builtins: bool = False
) -> ModuleType:
    """A fresh ``__main__`` with the builtins that ``rules`` (see ``Policy.namespace_rules``) leave.

    They are the one dict of this process, changed in place: copying it would touch every builtin, and in a fresh fork
    each page touched is a page fault. A process that runs more than one cell asks for ``own_builtins``.
    """
    module = ModuleType("__main__")
    namespace = module.__dict__
    # Scripts use __file__ to find the folder they are in, and inspect needs it to find the source of a class.
    namespace["__file__"] = filename
    namespace["__builtins__"] = names = dict(_CURATED) if own_builtins else _CURATED
    policy = rules.get("policy", "current")
    for name in rules.get("builtins_denied") or ():
        names[name] = _refusal(name, policy)
    # The import statement looks this name up, so it is guarded, never refused.
    names["__import__"] = make_import(rules)
    namespace.update(context)
    return module


def leave(code: object = None) -> NoReturn:
    """End the cell, as ``sys.exit`` does."""
    raise SystemExit(code)


def read_line(prompt: object = "") -> str:
    """``input``, with a message that helps when there is nobody to answer."""
    try:
        return _REAL_INPUT(prompt)
    except EOFError:
        message = "input() has nothing to read: stdin is empty here. Pass values in as context variables."
        raise EOFError(message) from None


_CURATED: dict[str, Any] = {
    **builtins.__dict__,
    "exit": leave,
    "quit": leave,
    "input": read_line,
    "display": displays.display,
}


def _refusal(name: str, policy: str) -> Callable[..., NoReturn]:
    def refused(*_args: object, **_kwargs: object) -> NoReturn:
        raise PermissionError(f"{name}() is not available here: the {policy} policy denies it.")

    refused.__name__ = refused.__qualname__ = name
    return refused


def make_import(rules: Mapping[str, Any]) -> Callable[..., Any]:
    """The ``__import__`` of the cell's own frames. Raises ImportError for a module the rules do not permit."""
    allowed = rules.get("imports_allowed")
    if allowed is None and not rules.get("imports_denied"):
        return _REAL_IMPORT
    return _ImportGuard(rules).import_module


def _names(value: str | Collection[str]) -> frozenset[str]:
    """From the wire they come as one text: a hundred strings cost time in each cell, also where nothing is imported."""
    return frozenset(value.split() if isinstance(value, str) else value)


class _ImportGuard:
    """Allows or denies a module with all its submodules; what is denied wins."""

    def __init__(self, rules: Mapping[str, Any]) -> None:
        self._rules = rules
        self._policy = rules.get("policy", "current")
        self._facades: dict[str, ModuleType] = {}

    # Made when the first import comes; many cells have none.
    @functools.cached_property
    def _allowed(self) -> frozenset[str] | None:
        allowed = self._rules.get("imports_allowed")
        return None if allowed is None else _names(allowed)

    @functools.cached_property
    def _denied(self) -> frozenset[str]:
        return _names(self._rules.get("imports_denied") or ())

    def import_module(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002  # the names builtins.__import__ has
        locals: Mapping[str, Any] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        """Same signature as ``builtins.__import__``."""
        if type(name) is not str:
            raise TypeError("the module name must be a str")
        if level:  # A cell is in no package, so the real function has the right message.
            return _REAL_IMPORT(name, globals, locals, fromlist or (), level)
        if fromlist:
            return self._import_from(name, fromlist)
        if not self._permits(name):
            self._refuse(name)
        module = _REAL_IMPORT(name)
        root = name.partition(".")[0]
        return module if root == name or self._permits(root) else self._facade(name)

    def _import_from(self, name: str, fromlist: Sequence[str]) -> Any:
        wanted = [f"{name}.{item}" for item in fromlist]
        if self._permits(name):
            for item in wanted:
                if item in self._denied:
                    self._refuse(item)
            return _REAL_IMPORT(name, None, None, fromlist)
        if not all(map(self._permits, wanted)):
            self._refuse(name)
        module = _REAL_IMPORT(name, None, None, fromlist)
        part = ModuleType(name)
        for item in fromlist:
            setattr(part, item, getattr(module, item))
        return part

    def _permits(self, name: str) -> bool:
        permitted = self._allowed is None
        while name:
            if name in self._denied:
                return False
            permitted = permitted or (self._allowed is not None and name in self._allowed)
            name = name.rpartition(".")[0]
        return permitted

    def _facade(self, name: str) -> ModuleType:
        """``import os.path`` binds ``os``; where only ``os.path`` is allowed, a stand-in with that one attribute."""
        parts = name.split(".")
        root = node = self._facades.setdefault(parts[0], ModuleType(parts[0]))
        for depth, part in enumerate(parts[1:], 2):
            path = ".".join(parts[:depth])
            if self._permits(path):
                setattr(node, part, sys.modules.get(path) or importlib.import_module(path))
                break
            following = self._facades.setdefault(path, ModuleType(path))
            setattr(node, part, following)
            node = following
        return root

    def _refuse(self, name: str) -> NoReturn:
        message = f"Importing {name!r} is not allowed by the {self._policy} policy."
        if self._allowed is not None:
            message += f" Allowed modules: {_listing(self._allowed - self._denied)}."
        raise ImportError(message, name=name)


def _listing(names: Collection[str]) -> str:
    ordered = sorted(names)
    shown = ", ".join(ordered[:_NAMES_SHOWN]) or "none"
    return shown if len(ordered) <= _NAMES_SHOWN else f"{shown} and {len(ordered) - _NAMES_SHOWN} more"

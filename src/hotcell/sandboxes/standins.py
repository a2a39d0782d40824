"""Stand-ins for modules, for cells that share a process with the application.

What a cell assigns to a stand-in stays there. So does what it changes of a module's own lists, dicts and the like, of
which it gets copies, and the state of the ``random`` module. A module's **classes and functions are the real ones**:
what is assigned to one of those is changed for everybody.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


class StandIns:
    """The stand-ins of one cell, made when a module is first imported."""

    def __init__(self, guarded_import: Callable[..., Any]) -> None:
        """``guarded_import`` has the signature of ``builtins.__import__``; what it refuses stays refused."""
        self._guarded_import = guarded_import
        self._made: dict[int, tuple[ModuleType, ModuleType]] = {}

    def import_module(self, *args: Any, **kwargs: Any) -> ModuleType:
        """Same signature as ``builtins.__import__``."""
        return self._stand_in(self._guarded_import(*args, **kwargs))

    def _stand_in(self, module: ModuleType) -> ModuleType:
        # The module is kept beside its stand-in, as an id may be used again after its object has gone.
        if id(module) not in self._made:
            self._made[id(module)] = module, self._make(module)
        return self._made[id(module)][1]

    def _make(self, module: ModuleType) -> ModuleType:
        """An empty module that takes each public attribute over when it is first asked for."""
        stand_in = ModuleType(module.__name__, module.__doc__)
        source = _with_own_generator(module) if module is sys.modules.get("random") else module

        def take_over(name: str) -> Any:
            hidden = name.startswith("_") and name != "__all__"
            value = None if hidden else getattr(source, name)
            if hidden or (isinstance(value, ModuleType) and not self._permits(module, value)):
                raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
            value = self._stand_in(value) if isinstance(value, ModuleType) else _own(value)
            setattr(stand_in, name, value)
            return value

        # In its namespace, as the language has it for modules; code under the strict policy cannot name it.
        public = [name for name in dir(source) if not name.startswith("_")]
        stand_in.__dict__.update(__getattr__=take_over, __dir__=lambda: public)
        return stand_in

    def _permits(self, module: ModuleType, member: ModuleType) -> bool:
        """A module that another one merely uses is given only where the cell might import it itself."""
        if sys.modules.get(module.__name__) is not module:
            return True  # The import guard put this one together, of what it permits.
        try:
            self._guarded_import(member.__name__, None, None, ("__name__",))
        except ImportError:
            return False
        return True


def _with_own_generator(module: ModuleType) -> ModuleType:
    """The functions of ``random`` are methods of one generator for all: for a cell, of one of its own."""
    shared, own = getattr(module.seed, "__self__", module), module.Random()
    copy = ModuleType(module.__name__)
    for name, value in vars(module).items():
        mine = getattr(value, "__self__", None) is shared
        setattr(copy, name, getattr(own, value.__name__) if mine else value)
    return copy


def _own(value: Any) -> Any:
    """A copy of what can be changed in place and knows how to copy itself: a list, a dict, a decimal.Context."""
    # Asked of its class, as typing.List hands on every attribute of list.
    copy = None if isinstance(value, type) else getattr(type(value), "copy", None)
    return copy(value) if callable(copy) else value

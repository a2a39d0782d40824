"""The live sessions of one ``hotcell session``, by name: ``main``, its copies ``main.1``, ``main.2``, and theirs."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from hotcell.cli.exits import UsageError

if TYPE_CHECKING:
    from hotcell.sessions import Session

FIRST = "main"
_MOST = 64


@dataclass
class Branch:
    """One of them."""

    name: str
    session: Session
    cells: int = 0
    """How many have run in it, and in what it is a copy of: the number of the last one."""
    is_fresh: bool = True
    """True until its first cell has run."""
    was_fresh: bool = True
    """The same, of its checkpoint."""


class Branches:
    """One is in use. A context manager, which ends them all."""

    def __init__(self, open_session: Callable[[], Session]) -> None:
        self._open = open_session
        self.current = Branch(FIRST, open_session())
        self._all = {FIRST: self.current}

    def __iter__(self) -> Iterator[Branch]:
        return iter(self._all.values())

    def fork(self, count: int) -> list[str]:
        """Copies of the one in use; their names. Raises UsageError and HotcellError."""
        if not 1 <= count <= _MOST - len(self._all):
            raise UsageError(f"%fork {count}: give a number from 1; at most {_MOST} sessions live at once")
        source = self.current
        free = (name for number in itertools.count(1) if (name := f"{source.name}.{number}") not in self._all)
        made = [
            Branch(name, session, source.cells, source.is_fresh)
            for session, name in zip(source.session.fork(count), free, strict=False)
        ]
        self._all.update({branch.name: branch for branch in made})
        return [branch.name for branch in made]

    def checkpoint(self) -> None:
        """Of the one in use. Raises HotcellError."""
        self.current.session.checkpoint()
        self.current.was_fresh = self.current.is_fresh

    def rollback(self) -> None:
        """Of the one in use. Raises HotcellError."""
        self.current.session.rollback()
        self.current.is_fresh = self.current.was_fresh

    def use(self, name: str) -> None:
        """Go on in that one. Raises UsageError."""
        self.current = self._named(name)

    def close(self, name: str) -> None:
        """End that one. Raises UsageError."""
        branch = self._named(name)
        if branch is self.current:
            raise UsageError(f"{name} is in use: go to another one first, with %use NAME")
        del self._all[name]
        branch.session.close()

    def reset(self) -> None:
        """A new session in the place, and under the name, of the one in use."""
        session = self._open()
        self.current.session.close()
        self.current.session, self.current.cells, self.current.is_fresh = session, 0, True

    def _named(self, name: str) -> Branch:
        if name not in self._all:
            raise UsageError(f"no session is called {name!r}: there are {', '.join(self._all)}")
        return self._all[name]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.ExitStack() as stack:  # all of them, also when one raises
            for branch in self:
                stack.callback(branch.session.close)
